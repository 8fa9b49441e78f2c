"""Byte streams to one peer. A wire never blocks, except in the `wait_…` methods."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any, Callable, List, Optional

from .errors import TalkwireError

if TYPE_CHECKING:
    import asyncio

_IOV = 512  # pieces of one gathering write; the kernel takes 1024
_UCRED = struct.Struct("3i")


class Peer:
    """Who is at the other end: `pid`, `uid`, `gid`, `identity` (its certificate's name; None where the wire does not tell), `address`."""

    __slots__ = ("pid", "uid", "gid", "address", "identity", "authenticated")

    def __init__(
        self, address: str, pid: Optional[int] = None, uid: Optional[int] = None, gid: Optional[int] = None
    ) -> None:
        self.address = address
        self.pid, self.uid, self.gid = pid, uid, gid
        self.identity: Optional[str] = None
        self.authenticated = False

    def __repr__(self) -> str:
        return f"Peer(address={self.address!r}, pid={self.pid}, uid={self.uid}, gid={self.gid})"


def _poll(fd: int, events: int, timeout: Optional[float]) -> bool:
    poller = select.poll()
    poller.register(fd, events)
    return bool(poller.poll(None if timeout is None else max(0.0, timeout * 1000)))


class Wire:
    """A duplex byte stream on one or two file descriptors."""

    peer: Peer
    #: runs once after the descriptors are closed: releases claims, reaps a child
    on_close: Optional[Callable[[], None]] = None
    #: of what it carries, where the peer need not say it
    framing: Optional[str] = None
    #: what it most likely means when the peer ends the connection before it has answered
    unanswered: Optional[str] = None

    def fileno(self) -> int:
        """The descriptor to wait on for reading."""
        raise NotImplementedError

    @property
    def pending(self) -> bool:
        """Have bytes arrived that the descriptor does not announce any more?"""
        return False

    def write_fileno(self) -> int:
        return self.fileno()

    def receive(self, buffer: memoryview, wait: float = 0.0) -> int:
        """Bytes received; 0 at the end. Waits up to `wait` s (sockets), then BlockingIOError. OSError: lost."""
        raise NotImplementedError

    def send(self, parts: List[Any]) -> List[Any]:
        """Writes what fits and returns the rest. OSError: lost."""
        raise NotImplementedError

    def prepare_for_loop(self) -> None:
        """For event loops: nothing here blocks from now on."""

    def add_writer(self, loop: "asyncio.AbstractEventLoop", ready: Callable[[], None]) -> None:
        """For event loops: calls `ready` while there may be room, until `remove_writer`."""
        loop.add_writer(self.write_fileno(), ready)

    def remove_writer(self, loop: "asyncio.AbstractEventLoop") -> None:
        loop.remove_writer(self.write_fileno())

    def wait_readable(self, timeout: Optional[float]) -> bool:
        return _poll(self.fileno(), select.POLLIN, timeout)

    def wait_writable(self, timeout: Optional[float]) -> bool:
        return _poll(self.write_fileno(), select.POLLOUT, timeout)

    def hung_up(self) -> bool:
        """Has the peer gone altogether, and not only ended its sending?"""
        raise NotImplementedError

    def end_sending(self) -> None:
        """Lets the peer read everything and then the end."""
        raise NotImplementedError

    def abort(self) -> None:
        """Ends both directions now and wakes whoever waits."""
        raise NotImplementedError

    def close(self) -> None:
        """Closes the descriptors. Nobody may be using them."""
        self._close()
        callback, self.on_close = self.on_close, None
        if callback is not None:
            callback()

    def _close(self) -> None:
        raise NotImplementedError


def _advance(parts: List[Any], sent: int) -> List[Any]:
    """What is left of `parts` after `sent` bytes."""
    for index, part in enumerate(parts):
        size = part.nbytes if isinstance(part, memoryview) else len(part)
        if sent < size:
            return [memoryview(part).cast("B")[sent:] if sent else part, *parts[index + 1 :]]
        sent -= size
    return []


class SocketWire(Wire):
    """A connected stream socket. Owner of the socket."""

    def __init__(self, sock: socket.socket, peer: Peer) -> None:
        self.peer = peer
        self._sock = sock
        self._idle: Optional[float] = None
        self._stays = False
        sock.setblocking(True)

    def fileno(self) -> int:
        return self._sock.fileno()

    def prepare_for_loop(self) -> None:
        self._sock.setblocking(False)

    def receive(self, buffer: memoryview, wait: float = 0.0) -> int:
        if wait <= 0.0:
            return self._sock.recv_into(buffer, 0, socket.MSG_DONTWAIT)
        if wait != self._idle:
            # The kernel's own time limit: unlike settimeout() it costs no poll() for each call.
            self._idle = wait
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(wait), int(wait % 1 * 1e6)))
        return self._sock.recv_into(buffer)

    def send(self, parts: List[Any]) -> List[Any]:
        try:
            if len(parts) == 1:
                sent = self._sock.send(parts[0], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            else:
                flags = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
                sent = self._sock.sendmsg(parts[:_IOV], (), flags)
        except BlockingIOError:
            return parts
        return _advance(parts, sent)

    def hung_up(self) -> bool:
        poller = select.poll()
        poller.register(self._sock.fileno(), 0)
        return bool(poller.poll(0))

    def end_sending(self) -> None:
        self._shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        self._shutdown(socket.SHUT_RDWR)

    def leave_open(self) -> None:
        """The socket has another owner: closing says nothing to the peer."""
        self._stays = True

    def _shutdown(self, how: int) -> None:
        if self._stays:
            return
        try:
            self._sock.shutdown(how)
        except OSError:
            pass  # the peer was faster: it is already shut down

    def _close(self) -> None:
        self._sock.close()


class PipeWire(Wire):
    """Two one-way descriptors (pipes, FIFOs, stdin and stdout). Owner of both."""

    def __init__(self, read_fd: int, write_fd: int, peer: Peer) -> None:
        self.peer = peer
        self._read, self._write = read_fd, write_fd
        self._aborted = False
        self._lock = threading.Lock()  # two threads may end it; a descriptor closed twice may be somebody else's
        for fd in (read_fd, write_fd):
            os.set_blocking(fd, False)
            os.set_inheritable(fd, False)

    def fileno(self) -> int:
        return self._read

    def write_fileno(self) -> int:
        return self._write

    def receive(self, buffer: memoryview, wait: float = 0.0) -> int:
        # A pipe cannot be woken from outside, so an abort is seen at the latest after `wait`.
        if self._aborted:
            return 0
        try:
            return os.readv(self._read, [buffer])
        except BlockingIOError:
            if wait <= 0.0 or not self.wait_readable(wait):
                raise
        return 0 if self._aborted else os.readv(self._read, [buffer])

    def wait_readable(self, timeout: Optional[float]) -> bool:
        return super().wait_readable(0.1 if timeout is None else min(timeout, 0.1))

    def wait_writable(self, timeout: Optional[float]) -> bool:
        if self._aborted:
            raise BrokenPipeError("aborted")
        return super().wait_writable(0.1 if timeout is None else min(timeout, 0.1))

    def send(self, parts: List[Any]) -> List[Any]:
        if self._aborted or self._write < 0:
            raise BrokenPipeError("the wire is closed")
        try:
            sent = os.writev(self._write, parts[:_IOV])
        except BlockingIOError:
            return parts
        return _advance(parts, sent)

    def hung_up(self) -> bool:
        return self._write < 0 or _poll(self._write, 0, 0.0)

    def end_sending(self) -> None:
        with self._lock:
            if self._write >= 0:
                os.close(self._write)
                self._write = -1

    def abort(self) -> None:
        self._aborted = True

    def _close(self) -> None:
        self.end_sending()
        with self._lock:
            if self._read >= 0:
                os.close(self._read)
                self._read = -1


class Listener:
    """Something that peers connect to. `fileno()` becomes readable when `accept()` has something."""

    address: str
    claim: Any = None  # the `names.Claim` that guards the address, if one does

    def fileno(self) -> int:
        raise NotImplementedError

    def accept(self) -> Optional[Wire]:
        """The next peer, or None if there is none (any more). Never blocks."""
        raise NotImplementedError

    def close(self) -> None:
        """Stops listening. Connections live on, and so does the claim: nobody else takes the name while they drain."""
        raise NotImplementedError

    def release(self) -> None:
        """Gives the address free, after `close()`."""
        if self.claim is not None:
            self.claim.release()


def socket_peer(sock: socket.socket, address: str) -> Peer:
    """The peer of a Unix socket, as the kernel knows it."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(raw)
    return Peer(address, pid, uid, gid)


def check_peer(peer: Peer) -> None:
    """Raises UNAUTHENTICATED unless the peer runs as us or as root."""
    if peer.uid not in (os.getuid(), 0):
        raise TalkwireError("UNAUTHENTICATED", f"the peer at {peer.address} runs as the user {peer.uid}")
