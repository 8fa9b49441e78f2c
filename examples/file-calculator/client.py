"""A client that knows only the file: client.py /path/calc.json COMMAND ARGS"""

import json
import sys
import time
import uuid

from filelock import FileLock

path, command, args = sys.argv[1:]
lock = FileLock(path + ".lock")
key = str(uuid.uuid4())


def read():
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def write(state):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(state, file)


with lock:
    state = read()
    state["commands"][key] = {"command": command, "args": json.loads(args)}
    write(state)

while True:
    with lock:
        state = read()
        entry = state["commands"][key]
        if "result" in entry or "error" in entry:
            del state["commands"][key]
            write(state)
            break
    time.sleep(0.01)

if "error" in entry:
    error = entry["error"]
    print(error["data"]["code"], json.dumps(error["data"].get("details")))
else:
    print(entry["result"])
