"""`tcp://host:port`. Reaching beyond this machine takes an authkey or `insecure=True`."""

from __future__ import annotations

import ipaddress
import socket
from typing import Optional, Tuple

from ..errors import TalkwireError
from ..wire import Listener, Peer, SocketWire, Wire
from .registry import Options


def host_port(rest: str, scheme: str = "tcp") -> Tuple[str, int]:
    """From `//host:port` or `//[v6]:port`. Raises INVALID_ADDRESS."""
    host, colon, port = rest[2:].rpartition(":")
    if not rest.startswith("//") or not colon or not host or not port.isdigit() or int(port) > 65535:
        raise TalkwireError("INVALID_ADDRESS", f"an address like {scheme}://127.0.0.1:7000 is wanted, not {scheme}:{rest}")
    return host.strip("[]"), int(port)


def _resolve(host: str, port: int) -> Tuple[int, Tuple[str, int]]:
    family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return family, where[:2]  # type: ignore[return-value]


def is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


def tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def check_reach(scheme: str, rest: str, authenticated: bool) -> None:
    """Raises PERMISSION_DENIED for an address that others can reach, without authentication."""
    if not authenticated and not is_loopback(_resolve(*host_port(rest, scheme))[1][0]):
        raise TalkwireError(
            "PERMISSION_DENIED",
            f"{scheme}:{rest} can be reached from other machines: give both sides an authkey, or say insecure=True (--insecure)",
        )


def open_listener(scheme: str, rest: str) -> socket.socket:
    """Raises ADDRESS_IN_USE."""
    family, where = _resolve(*host_port(rest, scheme))
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(where)
        sock.listen(1024)
    except OSError as error:
        sock.close()
        raise TalkwireError("ADDRESS_IN_USE", f"cannot listen on {scheme}:{rest} ({error.strerror})") from error
    return sock


def listen(rest: str, options: Options) -> Listener:
    """Listens; port 0 takes a free one, see the listener's `address`."""
    check_reach("tcp", rest, options.authkey is not None or options.insecure)
    return TcpListener(open_listener("tcp", rest))


class TcpListener(Listener):
    scheme = "tcp"

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        host, port = sock.getsockname()[:2]
        self.address = f"{self.scheme}://[{host}]:{port}" if ":" in host else f"{self.scheme}://{host}:{port}"

    def fileno(self) -> int:
        return self._sock.fileno()

    def accept(self) -> Optional[Wire]:
        try:
            sock, where = self._sock.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return None
        tune(sock)
        return self._wire(sock, Peer(f"{self.scheme}://{where[0]}:{where[1]}"))

    def _wire(self, sock: socket.socket, peer: Peer) -> Wire:
        return SocketWire(sock, peer)

    def close(self) -> None:
        self._sock.close()


def connect(rest: str, options: Options) -> Wire:
    """Connects within `options.timeout` seconds."""
    host, port = host_port(rest)
    try:
        sock = socket.create_connection((host, port), timeout=options.timeout)
    except OSError as error:
        raise TalkwireError("PEER_NOT_FOUND", f"nobody serves tcp:{rest} ({error.strerror or error})") from error
    tune(sock)
    return SocketWire(sock, Peer(f"tcp:{rest}"))
