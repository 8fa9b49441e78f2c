"""A report, in Python: python3 report.py. Standard library only; the same contract, the same core."""

import os

import talkwire

core_file = os.path.join(os.path.dirname(os.path.abspath(__file__)), "core.mjs")

with talkwire.connect("tasks/1", start=["node", core_file]) as core:
    tasks = core.list()
    done = sum(task["done"] for task in tasks)
    print(f"{done} of {len(tasks)} done, says process {core.about()['pid']}")
    try:
        core.finish(id=99)
    except talkwire.TalkwireError as error:
        print(f"task 99: {error.code}, {error.details}")
