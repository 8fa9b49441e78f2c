import json, os, socket
with socket.create_connection(("127.0.0.1", int(os.environ["PORT"]))) as s:
    call = {"jsonrpc": "2.0", "id": 1, "method": "deposit", "params": {"account": "lines", "amount": 5}}
    s.sendall(json.dumps(call).encode() + b"\n")
    print(json.loads(s.makefile().readline())["result"])
