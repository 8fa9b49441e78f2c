import os, xmlrpc.client
headers = [("Authorization", "Bearer " + os.environ["TOKEN"])]
bank = xmlrpc.client.ServerProxy("http://127.0.0.1:" + os.environ["PORT"], headers=headers)
print(bank.deposit({"account": "xmlrpc", "amount": 5}))
