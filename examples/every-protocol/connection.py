import os
from multiprocessing.connection import Client
with Client(os.environ["PYMP"], "AF_UNIX") as bank:
    bank.send(("deposit", ({"account": "pymp", "amount": 5},), {}))
    print(bank.recv())
