import os, requests, zeep
session = requests.Session()
session.headers["Authorization"] = "Bearer " + os.environ["TOKEN"]
wsdl = "http://127.0.0.1:" + os.environ["PORT"] + "/bank?wsdl"
bank = zeep.Client(wsdl, transport=zeep.transports.Transport(session=session))
print(bank.service.deposit(account="soap", amount=5))
