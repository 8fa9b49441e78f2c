"""`fifo:/path`: two named pipes, one client at a time. Implements spec/fifo.md."""

from __future__ import annotations

import errno
import os
import select
import stat
import threading
import time
from typing import Any, List, Optional, Tuple, Union

from .. import names
from ..errors import TalkwireError
from ..wire import Listener, Peer, PipeWire, Wire
from .registry import Options

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
_WRITE = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
_RETRY = 0.01  # seconds between looks at a server that is still busy with the client before


def _paths(rest: str) -> Tuple[str, str, str]:
    """(c2s, s2c, claim). Raises INVALID_ADDRESS."""
    if not rest.startswith("/") or "\0" in rest:
        raise TalkwireError("INVALID_ADDRESS", f"fifo: needs an absolute path, not {rest!r}")
    return f"{rest}.c2s", f"{rest}.s2c", names.path_claim_name(rest)


def _remove(path: str) -> None:
    """Removes a FIFO of ours. Anything else in the way is ADDRESS_IN_USE."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISFIFO(found.st_mode) or found.st_uid != os.getuid():
        raise TalkwireError("ADDRESS_IN_USE", f"{path} exists and is not a named pipe of ours")
    os.unlink(path)


class _FifoListener(Listener):
    """Its descriptor is an epoll that holds the pipe to read from, while no client has it."""

    def __init__(self, rest: str) -> None:
        self.address = f"fifo:{rest}"
        self._c2s, self._s2c, name = _paths(rest)
        self.claim = names.claim(name)
        self._client_claim = f"{name}.client"
        self._epoll = select.epoll()
        self._fd = -1
        self._closed = False
        self._lock = threading.Lock()  # a session may end on one thread while another closes us
        try:
            self._make()
        except BaseException:
            self.close()
            self.release()
            raise

    def _make(self) -> None:
        """New pipes: whatever an earlier client still holds open has nothing to do with them."""
        _remove(self._c2s)
        _remove(self._s2c)
        os.mkfifo(self._s2c, 0o600)
        os.mkfifo(self._c2s, 0o600)
        self._fd = os.open(self._c2s, _READ)
        self._epoll.register(self._fd, select.EPOLLIN)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def accept(self) -> Optional[Wire]:
        if self._fd < 0 or not self._epoll.poll(0):
            return None
        fd, self._fd = self._fd, -1
        self._epoll.unregister(fd)
        try:
            write = os.open(self._s2c, _WRITE)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            self.renew()  # the client has gone already
            os.close(fd)
            return None
        return _ServerWire(fd, write, self._peer(), self)

    def _peer(self) -> Peer:
        entry = names.look(self._client_claim) or {}
        pid = entry.get("pid")
        return Peer(self.address, pid if type(pid) is int else None, os.getuid(), os.getgid())

    def renew(self) -> None:
        """Ready for the next client."""
        with self._lock:
            if not self._closed:
                self._make()

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if self._fd >= 0:
            os.close(self._fd)
        self._epoll.close()
        _remove(self._c2s)
        _remove(self._s2c)


class _ServerWire(PipeWire):
    def __init__(self, read_fd: int, write_fd: int, peer: Peer, listener: _FifoListener) -> None:
        super().__init__(read_fd, write_fd, peer)
        self._listener: Optional[_FifoListener] = listener

    def end_sending(self) -> None:
        # First the new pipes, then the end of the old: a client that sees the end finds the new ones.
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            listener.renew()
        super().end_sending()


class _ClientWire(PipeWire):
    """Before the server has opened its end, reading says 'end of file' though nothing has ended."""

    _begun = False

    def receive(self, buffer: memoryview, wait: float = 0.0) -> int:
        if not self._begun:
            if not self.wait_readable(wait):
                raise BlockingIOError
            self._begun = True
        return super().receive(buffer, wait)

    def wait_readable(self, timeout: Optional[float]) -> bool:
        """True also when the server has gone, which only the other pipe may know."""
        poller = select.poll()
        poller.register(self._read, select.POLLIN)
        if self._write >= 0:
            poller.register(self._write, 0)
        ready: List[Any] = poller.poll(100 if timeout is None else min(timeout, 0.1) * 1000)
        return bool(ready)


def listen(rest: str, options: Options) -> Listener:
    return _FifoListener(rest)


def connect(rest: str, options: Options) -> Wire:
    """Waits up to `options.timeout` s while the server parts from the client before."""
    c2s, s2c, name = _paths(rest)
    held = names.claim(f"{name}.client")
    try:
        read, write = _open_both(c2s, s2c, name, rest, time.monotonic() + options.timeout)
    except BaseException:
        held.release()
        raise
    wire = _ClientWire(read, write, _server_peer(name, rest))
    wire.on_close = held.release
    return wire


def _server_peer(name: str, rest: str) -> Peer:
    pid = (names.look(name) or {}).get("pid")
    return Peer(f"fifo:{rest}", pid if type(pid) is int else None, os.getuid(), os.getgid())


def _open_both(c2s: str, s2c: str, name: str, rest: str, deadline: float) -> Tuple[int, int]:
    while True:
        found = _look(c2s, s2c, name, rest)
        if not isinstance(found, TalkwireError):
            return found
        if time.monotonic() >= deadline:
            raise found
        time.sleep(_RETRY)


def _look(c2s: str, s2c: str, name: str, rest: str) -> Union[Tuple[int, int], TalkwireError]:
    """Both descriptors, or why it is too early. Raises what waiting does not cure."""
    opened: List[int] = []
    try:
        if _try_open(c2s, s2c, opened):
            return opened.pop(0), opened.pop()
    except OSError as error:
        if error.errno not in (errno.ENXIO, errno.ENOENT):
            raise
        if names.is_dead(names.look(name)):
            raise TalkwireError("PEER_NOT_FOUND", f"nobody serves fifo:{rest}") from error
        return TalkwireError("PEER_NOT_FOUND", f"the server of fifo:{rest} is between two clients and makes no new pipes")
    finally:
        for fd in opened:
            os.close(fd)
    return TalkwireError("PEER_NOT_FOUND", f"the server of fifo:{rest} is still busy with another client")


def _try_open(c2s: str, s2c: str, opened: List[int]) -> bool:
    """False: the server is not ready for us yet."""
    opened.append(os.open(s2c, _READ))
    try:
        if os.read(opened[0], 1):
            return False
    except BlockingIOError:
        return False  # it still writes to the client before
    opened.append(os.open(c2s, _WRITE))
    return _same(opened[0], s2c) and _same(opened[1], c2s)


def _same(fd: int, path: str) -> bool:
    ours = os.fstat(fd)
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if not stat.S_ISFIFO(ours.st_mode) or ours.st_uid != os.getuid() or ours.st_mode & 0o077:
        raise TalkwireError("PERMISSION_DENIED", f"{path} must be a named pipe that only we can use")
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)
