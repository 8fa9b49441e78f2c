"""The adapter: a function that Talkwire serves on one side, the old program's frames on the other."""

import os
import subprocess
import sys
import threading

from talkwire import declared_error

_script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cleaner.py")
_cleaner = subprocess.Popen([sys.executable, _script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
_one_at_a_time = threading.Lock()


def clean(text: str) -> str:
    body = text.encode("utf-8")
    if len(body) > 9999:
        raise declared_error("TooLong", {"bytes": len(body), "most": 9999})
    with _one_at_a_time:
        _cleaner.stdin.write(b"X%04d%s" % (len(body), body))
        _cleaner.stdin.flush()
        header = _cleaner.stdout.read(5)
        return _cleaner.stdout.read(int(header[1:])).decode("utf-8")
