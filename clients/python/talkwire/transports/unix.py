"""`unix:` Unix domain sockets: by name, by absolute path, or abstract (`@x`)."""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import threading
from typing import Optional, Tuple, Union

from .. import names
from ..errors import TalkwireError
from ..wire import Listener, Peer, SocketWire, Wire, check_peer, socket_peer
from .registry import Options

_MAX_PATH = 107
_SUN_PATH = 108  # of `struct sockaddr_un`
_umask_lock = threading.Lock()  # umask belongs to the process, not to a thread


def socket_path(rest: str) -> Union[str, bytes]:
    """Where the socket is; abstract ones begin with NUL. Raises INVALID_ADDRESS."""
    if rest.startswith("@"):
        path: Union[str, bytes] = b"\0" + os.fsencode(rest[1:])
    elif rest.startswith("/"):
        path = rest
    else:
        path = f"{names.runtime_dir()}/{names.check_name(rest)}.sock"
    if not rest or "\0" in rest or len(os.fsencode(path)) > _MAX_PATH:
        raise TalkwireError("INVALID_ADDRESS", f"a socket's path has 1 to {_MAX_PATH} bytes: {rest!r}")
    return path


def filled(name: bytes) -> bytes:
    """An abstract name as Node 20 says it: filled up with zeros, which makes it another one for the kernel."""
    return name.ljust(_SUN_PATH, b"\0")


def listen(rest: str, options: Options) -> Listener:
    """Claims the address and binds it with mode 0600."""
    return UnixListener(rest, f"unix:{rest}", options)


def _bind(path: Union[str, bytes]) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        with _umask_lock:
            before = os.umask(0o177)
            try:
                sock.bind(path)
            finally:
                os.umask(before)
        sock.listen(1024)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise TalkwireError("ADDRESS_IN_USE", f"{os.fsdecode(path)!r} is in use") from error
        raise
    return sock


def _clear_stale(path: str) -> None:
    """Removes a socket that nobody listens on. Anything else in the way is ADDRESS_IN_USE."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if stat.S_ISSOCK(found.st_mode):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
            probe.setblocking(False)
            if probe.connect_ex(path) == errno.ECONNREFUSED:
                os.unlink(path)
                return
    raise TalkwireError("ADDRESS_IN_USE", f"{path} exists and is not an abandoned socket")


class UnixListener(Listener):
    """At the socket of `unix:` and what follows, under an address of its own. Raises ADDRESS_IN_USE, INVALID_ADDRESS."""

    def __init__(self, rest: str, address: str, options: Options) -> None:
        self._allow = options.allow
        self.address = address
        self._twin: Optional[socket.socket] = None
        path = socket_path(rest)
        if isinstance(path, bytes):
            self._sock, self._path = _bind(path), None
            self._listen_twice(filled(path))
            return
        self.claim = names.claim(names.path_claim_name(path) if rest.startswith("/") else rest)
        try:
            _clear_stale(path)
            self._sock, self._path = _bind(path), path
            self._inode = os.lstat(path).st_ino
        except BaseException:
            self.claim.release()
            raise

    def _listen_twice(self, name: bytes) -> None:
        """Under both forms of an abstract name: whoever waits is seen through one descriptor."""
        try:
            self._twin = _bind(name)
        except BaseException:
            self._sock.close()
            raise
        self._both = select.epoll()
        for sock in (self._sock, self._twin):
            self._both.register(sock, select.EPOLLIN)

    def _wire(self, sock: socket.socket, peer: Peer) -> Wire:
        return SocketWire(sock, peer)

    def fileno(self) -> int:
        return self._sock.fileno() if self._twin is None else self._both.fileno()

    def _accepted(self) -> Optional[socket.socket]:
        for listener in (self._sock, self._twin):
            try:
                if listener is not None:
                    return listener.accept()[0]
            except (BlockingIOError, ConnectionAbortedError):
                continue
        return None

    def accept(self) -> Optional[Wire]:
        sock = self._accepted()
        if sock is None:
            return None
        try:
            peer = socket_peer(sock, self.address)
            self._admit(peer)
            return self._wire(sock, peer)
        except BaseException:
            sock.close()
            raise

    def _admit(self, peer: Peer) -> None:
        """Raises UNAUTHENTICATED."""
        if self._allow is None:
            return check_peer(peer)
        try:
            allowed = self._allow(peer)
        except Exception as error:
            import logging

            logging.getLogger("talkwire").exception("allow() failed, and so nobody was let in")
            raise TalkwireError("UNAUTHENTICATED", "allow() failed") from error
        if not allowed:
            raise TalkwireError("UNAUTHENTICATED", f"{peer} is not allowed in")

    def close(self) -> None:
        self._sock.close()
        if self._twin is not None:
            self._both.close()
            self._twin.close()
        if self._path is not None:
            self._unlink(self._path)

    def _unlink(self, path: str) -> None:
        try:
            if os.lstat(path).st_ino == self._inode:
                os.unlink(path)
        except FileNotFoundError:
            pass


def connect(rest: str, options: Options) -> Wire:
    """Connects; blocks only while the listener's backlog is full."""
    return SocketWire(*connected(rest, f"unix:{rest}", options))


def connect_to(sock: socket.socket, path: Union[str, bytes]) -> None:
    """Also who listens at the other form of an abstract name. Raises OSError."""
    try:
        sock.connect(path)
    except ConnectionRefusedError:
        if not isinstance(path, bytes):
            raise
        sock.connect(filled(path))


def connected(rest: str, address: str, options: Options) -> Tuple[socket.socket, Peer]:
    """A connection to the socket of `unix:` and what follows, of an address. Raises PEER_NOT_FOUND, UNAUTHENTICATED."""
    path = socket_path(rest)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(options.timeout)
        connect_to(sock, path)
        peer = socket_peer(sock, address)
        check_peer(peer)
    except OSError as error:
        sock.close()
        raise TalkwireError("PEER_NOT_FOUND", f"nobody serves {address} ({error.strerror or error})") from error
    except BaseException:
        sock.close()
        raise
    return sock, peer
