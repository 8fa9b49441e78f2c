"""Every way this client talks: address scheme -> module with `listen` and `connect`."""

from __future__ import annotations

import importlib
from typing import Any, Callable, Optional, Tuple

from ..errors import TalkwireError
from ..names import check_name
from ..wire import Listener, Peer, Wire

SCHEMES = {
    "unix": "unix",
    "tcp": "tcp",
    "tls": "tls",
    "stdio": "stdio",
    "spawn": "spawn",
    "fifo": "fifo",
    "shm": "shm",
}


class Options:
    """What a transport may need to know."""

    def __init__(
        self,
        authkey: Optional[bytes] = None,
        insecure: bool = False,
        timeout: float = 5.0,
        tls: Any = None,
        allow: Optional[Callable[[Peer], bool]] = None,
    ) -> None:
        if authkey is not None and not isinstance(authkey, (bytes, bytearray)):
            raise TypeError("an authkey is bytes, such as secret.encode()")
        if authkey is not None and len(authkey) < 16:
            raise ValueError("an authkey has at least 16 bytes")
        self.authkey = authkey
        self.insecure = insecure
        self.timeout = timeout
        self.tls = tls
        self.allow = allow


def split(address: str) -> Tuple[str, str]:
    """(scheme, rest). Raises INVALID_ADDRESS for an unknown scheme; a bare name has the scheme ''."""
    scheme, colon, rest = address.partition(":")
    if not colon:
        check_name(address.partition("/")[0])
        return "", address
    if scheme not in SCHEMES:
        raise TalkwireError("INVALID_ADDRESS", f"unknown address {address!r}; known here: " + ", ".join(f"{s}:" for s in SCHEMES))
    return scheme, rest


def _module(scheme: str) -> Any:
    return importlib.import_module(f"{__package__}.{SCHEMES[scheme]}")


def listen(address: str, options: Options) -> Listener:
    """Listens, or raises ADDRESS_IN_USE, PERMISSION_DENIED, INVALID_ADDRESS, OSError."""
    scheme, rest = split(address)
    listener: Listener = _module(scheme).listen(rest, options)
    return listener


def connect(address: str, options: Options) -> Wire:
    """A wire to the peer, or PEER_NOT_FOUND, UNAUTHENTICATED, INVALID_ADDRESS. May block up to `options.timeout`."""
    scheme, rest = split(address)
    wire: Wire = _module(scheme).connect(rest, options)
    return wire
