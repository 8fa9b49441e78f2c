import os
import thriftpy2
from thriftpy2.rpc import make_client
bank_thrift = thriftpy2.load("bank.thrift", module_name="bank_thrift")
bank = make_client(bank_thrift.bank, unix_socket=os.environ["THRIFT"])
print(bank.deposit("thrift", 5.0))
