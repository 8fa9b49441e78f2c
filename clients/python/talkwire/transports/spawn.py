"""`spawn:command args` starts a child and talks to it over a socket pair (`TALKWIRE_FD`)."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import threading

from ..errors import TalkwireError
from ..wire import Listener, Peer, SocketWire, Wire
from .registry import Options

_PATIENCE = 2.0  # seconds that a child gets to end by itself, and again after SIGTERM


def listen(rest: str, options: Options) -> Listener:
    raise TalkwireError("INVALID_ADDRESS", "spawn: is for connecting; the child listens on stdio:")


def connect(rest: str, options: Options) -> Wire:
    """Starts the child. It ends when the wire does; closing waits for it, up to some seconds."""
    command = shlex.split(rest)
    if not command:
        raise TalkwireError("INVALID_ADDRESS", "spawn: needs a command")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    environment = {**os.environ, "TALKWIRE_FD": str(theirs.fileno())}
    if threading.current_thread() is threading.main_thread():
        # PR_SET_PDEATHSIG looks at the thread that forked: with another one the child would die too early.
        environment["TALKWIRE_PARENT"] = str(os.getpid())
    try:
        child = subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
    except OSError as error:
        ours.close()
        raise TalkwireError("START_FAILED", f"cannot start {command[0]!r}: {error.strerror}") from error
    finally:
        theirs.close()
    wire = SocketWire(ours, Peer(f"spawn:{rest}", pid=child.pid, uid=os.getuid(), gid=os.getgid()))
    wire.on_close = lambda: _reap(child)
    return wire


def _reap(child: "subprocess.Popen[bytes]") -> None:
    for end in (child.terminate, child.kill):
        try:
            child.wait(_PATIENCE)
            return
        except subprocess.TimeoutExpired:
            end()
    child.wait()
