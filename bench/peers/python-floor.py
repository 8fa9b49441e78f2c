"""A hand-written server: one connection, one loop. The client is python-floor.mjs."""
import json
import socket
import struct
import sys

try:
    import numpy as np
except ImportError:
    np = None

FUNCTIONS = {"add": lambda a, b: a + b}


def receive(connection, buffer, size):
    view = memoryview(buffer)
    filled = 0
    while filled < size:
        count = connection.recv_into(view[filled:size])
        if count == 0:
            return False
        filled += count
    return True


def main():
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen()
    listener.settimeout(30)  # whoever started this may be gone before it connects
    print("ready", flush=True)
    connection, _ = listener.accept()
    connection.setblocking(True)
    head = bytearray(5)
    content = bytearray(1 << 16)
    while receive(connection, head, 5):
        length, kind = struct.unpack("<IB", head)
        length -= 1
        if length > len(content):
            content = bytearray(length)
        if not receive(connection, content, length):
            break
        if kind == 1:
            call = json.loads(content[:length])
            result = FUNCTIONS[call["method"]](*call["params"])
        else:
            result = float(np.frombuffer(content, np.float64, length // 8).sum())
        reply = json.dumps({"result": result}).encode()
        connection.sendall(struct.pack("<IB", len(reply) + 1, 1) + reply)


main()
