"""`stdio:` the wire to the process that started us.

With `TALKWIRE_FD` it is that duplex socket, and stdout stays free for printing.
Without, it is stdin and stdout, and printing goes to stderr.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
from typing import Optional

from ..errors import TalkwireError
from ..wire import Listener, Peer, PipeWire, SocketWire, Wire, socket_peer
from .registry import Options

_fd_of_parent: Optional[int] = None
_taken = False


def adopt_parent_fd() -> bool:
    """Is there a `TALKWIRE_FD`? Takes it out of the environment and away from our own children."""
    global _fd_of_parent
    text = os.environ.pop("TALKWIRE_FD", None)
    if text is not None:
        if not text.isdigit():
            raise TalkwireError("INVALID_INPUT", f"TALKWIRE_FD is not a number: {text!r}")
        _fd_of_parent = int(text)
        os.set_inheritable(_fd_of_parent, False)
    _die_with_parent()
    return _fd_of_parent is not None


def is_given() -> bool:
    """Whether whoever started us gave us a wire, and nobody has taken it."""
    text = os.environ.get("TALKWIRE_FD", "")
    if _taken or not text.isdigit() or int(text) < 3:
        return False
    try:
        return stat.S_ISSOCK(os.fstat(int(text)).st_mode)
    except OSError:
        return False


def _die_with_parent() -> None:
    """Asks the kernel for SIGTERM when the parent named in `TALKWIRE_PARENT` ends."""
    text = os.environ.pop("TALKWIRE_PARENT", None)
    if text is None or not sys.platform.startswith("linux"):
        return
    import ctypes
    import signal

    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGTERM, 0, 0, 0)
    if text.isdigit() and os.getppid() != int(text):
        os.kill(os.getpid(), signal.SIGTERM)  # it ended before we asked


def parent_wire() -> Wire:
    """The wire to the parent; there is one only."""
    global _taken
    if _taken:
        raise TalkwireError("ADDRESS_IN_USE", "stdio: is already in use in this process")
    adopt_parent_fd()
    _taken = True
    if _fd_of_parent is not None:
        sock = socket.socket(fileno=_fd_of_parent)
        if sock.family == socket.AF_UNIX:
            return SocketWire(sock, socket_peer(sock, "stdio:"))
        return SocketWire(sock, Peer("stdio:"))
    return _take_stdin_stdout()


def _take_stdin_stdout() -> Wire:
    sys.stdout.flush()
    read, write = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return PipeWire(read, write, Peer("stdio:", pid=os.getppid(), uid=os.getuid(), gid=os.getgid()))


class _StdioListener(Listener):
    """Has exactly one peer; its descriptor is a pipe that is readable until that peer was taken."""

    address = "stdio:"

    def __init__(self) -> None:
        self._wire: Optional[Wire] = parent_wire()
        self._ready, self._write = os.pipe()
        os.write(self._write, b"1")

    def fileno(self) -> int:
        return self._ready

    def accept(self) -> Optional[Wire]:
        wire, self._wire = self._wire, None
        if wire is not None:
            os.read(self._ready, 1)
        return wire

    def close(self) -> None:
        os.close(self._ready)
        os.close(self._write)
        if self._wire is not None:
            self._wire.close()


def listen(rest: str, options: Options) -> Listener:
    return _StdioListener()


def connect(rest: str, options: Options) -> Wire:
    return parent_wire()
