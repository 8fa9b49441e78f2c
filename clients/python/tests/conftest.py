import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import traceback
import shutil
from pathlib import Path

import pytest

import talkwire

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def runtime_dir(monkeypatch):
    """A runtime directory with a short path: sockets take 107 bytes."""
    path = tempfile.mkdtemp(prefix="tw-")
    monkeypatch.setenv("TALKWIRE_RUNTIME_DIR", path)
    monkeypatch.setenv("PYTHONPATH", str(HERE.parent))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def served():
    """serve(handlers, **options) -> (service, client); both are closed afterwards."""
    opened = []

    def start(handlers, name="svc", client=None, **options):
        service = talkwire.serve(name, handlers, **options)
        opened.append(service)
        connection = talkwire.connect(service.addresses[0], authkey=options.get("authkey"), **(client or {}))
        opened.append(connection)
        return service, connection

    yield start
    for thing in reversed(opened):
        thing.close()


@pytest.fixture
def child():
    """child(code) starts a Python process that prints one line when it is ready; killed afterwards."""
    started = []

    def start(code, *args, ready=True):
        process = subprocess.Popen(
            [sys.executable, "-c", code, *args], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
        )
        started.append(process)
        if ready:
            assert process.stdout.readline(), "the child did not start"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stdin.close()


class Raw:
    """A peer without a library."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(path)
        self.file = self.sock.makefile("rb")

    def send(self, data):
        self.sock.sendall(data)

    def line(self, message):
        self.send(json.dumps(message).encode() + b"\n")

    def read_line(self):
        text = self.file.readline()
        return json.loads(text) if text else None

    def frame(self, message):
        payload = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.send(struct.pack(">I", len(payload)) + payload)

    def read_frame(self):
        head = self.file.read(4)
        if len(head) < 4:
            return None
        return json.loads(self.file.read(struct.unpack(">I", head)[0]))

    def hello(self, **changes):
        self.frame(request(1, "rpc.hello", {"wire": 1, "codecs": ["json"], "attachments": True,
                                            "window": 524288, "maxMessage": 1 << 26, **changes}))
        return self.read_frame()

    def close(self):
        self.file.close()
        self.sock.close()


def request(id, method, params=None, **more):
    message = {"jsonrpc": "2.0", "id": id, "method": method, **more}
    if params is not None:
        message["params"] = params
    return message


@pytest.fixture
def raw(runtime_dir):
    """raw(name) connects without a library."""
    opened = []

    def connect(name="svc"):
        peer = Raw(os.path.join(runtime_dir, f"{name}.sock"))
        opened.append(peer)
        return peer

    yield connect
    for peer in opened:
        peer.close()


@pytest.fixture(autouse=True)
def nothing_leaks():
    """Every test ends with the descriptors and threads it began with."""
    import threading
    import time

    def state():
        return len(os.listdir("/proc/self/fd")), {t for t in threading.enumerate()}

    fds, threads = state()
    yield
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        now_fds, now_threads = state()
        left = {t for t in now_threads - threads if t.name.startswith("talkwire")}
        if now_fds <= fds and not left:
            return
        for thread in left:
            time.sleep(0.002)  # a thread that is only just starting cannot be joined
    frames = sys._current_frames()
    for thread in left:
        traceback.print_stack(frames.get(thread.ident))
    assert not left and now_fds <= fds, f"left over: {left}, descriptors {fds} -> {now_fds}"
