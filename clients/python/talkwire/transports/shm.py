"""`shm:` two rings in shared memory, and a Unix socket beside them: spec/shm.md. The side that connects makes the memory."""

from __future__ import annotations

import os
import socket
from typing import Any

from .. import names
from ..atomics import atomics
from ..errors import TalkwireError
from ..memory import SharedMemory, has_fixed_size
from ..ring import needs_order
from ..wire import Listener, Peer, Wire
from .registry import Options
from .shm_line import Line
from .shm_wire import ShmWire
from .unix import UnixListener, connected

_VERSION = 1
_CAPACITY = 256 * 1024  # bytes of each ring
_LEAST, _MOST = 2 * (4096 + 1024), 64 * 1024 * 1024  # bytes of memory; nobody makes us map more


def _check_machine() -> None:
    """Raises UNSUPPORTED, MISSING_PACKAGE."""
    needs_order()
    atomics()


def _socket_of(rest: str) -> str:
    """What stands behind `unix:`; paths and abstract names are its own. Raises INVALID_ADDRESS."""
    return rest if rest[:1] in ("/", "@") else f"{names.runtime_dir()}/{names.check_name(rest)}.shm"


def listen(rest: str, options: Options) -> Listener:
    """Listens. Raises ADDRESS_IN_USE, INVALID_ADDRESS, UNSUPPORTED, MISSING_PACKAGE."""
    _check_machine()
    return _ShmListener(_socket_of(rest), f"shm:{rest}", options)


class _ShmListener(UnixListener):
    def _wire(self, sock: socket.socket, peer: Peer) -> Wire:
        wire = ShmWire(Line(sock), peer)
        wire.expect(lambda note: memory_of(note, peer))
        return wire


def memory_of(note: Any, peer: Peer) -> SharedMemory:
    """The descriptor is another process's: it is opened anew, if it is of memory that cannot change its size.

    Raises UNSUPPORTED, INVALID_MESSAGE, PERMISSION_DENIED, INVALID_MEMORY.
    """
    version, number = note.get("shm"), note.get("descriptor")
    if version != _VERSION:
        raise TalkwireError("UNSUPPORTED", f"shm: version {version} is spoken there, version {_VERSION} here; take unix:")
    if type(number) is not int or number < 0:
        raise TalkwireError("INVALID_MESSAGE", "the descriptor is no number")
    try:
        fd = os.open(f"/proc/{peer.pid}/fd/{number}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise TalkwireError(
            "PERMISSION_DENIED", f"the memory of process {peer.pid} cannot be opened: {error.strerror}; take unix:"
        ) from error
    size = os.fstat(fd).st_size
    if not has_fixed_size(fd) or not _LEAST <= size <= _MOST or size % 16:
        os.close(fd)
        raise TalkwireError(
            "INVALID_MEMORY", f"descriptor {number} has {size} bytes; it should be memory of fixed size, from {_LEAST} to {_MOST} bytes"
        )
    return SharedMemory(None, fd, False)


def connect(rest: str, options: Options) -> Wire:
    """Connects; blocks only while the listener's backlog is full. Raises PEER_NOT_FOUND, UNAUTHENTICATED, UNSUPPORTED, MISSING_PACKAGE."""
    _check_machine()
    address = f"shm:{rest}"
    sock, peer = connected(_socket_of(rest), address, options)
    wire = ShmWire(Line(sock), peer)
    try:
        memory = SharedMemory.anonymous(2 * (4096 + _CAPACITY))
        wire.begin(memory, "client")
        wire.line.say({"shm": _VERSION, "descriptor": memory.fd})
    except BaseException:
        wire.close()
        raise
    return wire
