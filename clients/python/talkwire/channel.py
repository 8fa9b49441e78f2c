"""The second connection of two peers, on which only descriptors travel (spec/descriptors.md)."""

from __future__ import annotations

import json
import os
import secrets
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any, Dict, Optional

from .descriptor import Descriptors
from .errors import TalkwireError
from .wire import SocketWire

if TYPE_CHECKING:
    from .connection import Connection


def open_channel(connection: "Connection", timeout: float) -> None:
    """(client, after hello) Makes the channel that the service offered. Blocks. Raises UNSUPPORTED, DEADLINE_EXCEEDED."""
    from .transports.unix import socket_path

    token = connection.channel_token
    if token is None:
        raise TalkwireError("UNSUPPORTED", "the service takes no descriptors: serve with descriptors=True, too, on unix:")
    text = json.dumps({"jsonrpc": "2.0", "method": "$/channel", "params": {"token": token}}).encode()
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        channel.settimeout(timeout)
        channel.connect(socket_path(connection.peer.address.partition(":")[2]))
        channel.sendall(struct.pack(">I", len(text)) + text)
    except OSError as error:
        channel.close()
        raise TalkwireError("PEER_NOT_FOUND", f"the channel for descriptors cannot be opened: {error}") from error
    connection.bring_channel(channel)
    if not connection.wait(lambda: connection.channel_ready, connection.channel_signal, timeout):
        raise TalkwireError("DEADLINE_EXCEEDED", f"the channel for descriptors was not taken within {timeout} s")


def check_descriptors(address: str) -> None:
    """Raises UNSUPPORTED."""
    if address.partition(":")[0] != "unix":
        raise TalkwireError("UNSUPPORTED", f"{address} carries no descriptors; take unix:")


class Channels:
    """Which connection of a service waits for which channel."""

    def __init__(self) -> None:
        self._waiting: Dict[str, "Connection"] = {}
        self._lock = threading.Lock()

    def offer(self, connection: "Connection") -> str:
        token = secrets.token_hex(32)
        with self._lock:
            self._waiting[token] = connection
        return token

    def accept(self, side: "Connection", token: Any) -> None:
        """A connection that shows a token becomes the channel of its connection, if one process made both."""
        connection = self._claim(side, token)
        wire = side._wire
        if connection is None or not isinstance(wire, SocketWire):
            return side.abort()
        channel = socket.socket(fileno=os.dup(wire.fileno()))
        wire.leave_open()
        side.abort()
        connection.bring_channel(channel)
        connection._notify("$/channel", "{}")

    def _claim(self, side: "Connection", token: Any) -> Optional["Connection"]:
        with self._lock:
            connection = self._waiting.get(token) if type(token) is str else None
            if connection is None or connection.ended is not None:
                return None
            if (connection.peer.pid, connection.peer.uid) != (side.peer.pid, side.peer.uid):
                return None
            return self._waiting.pop(token)

    def forget(self, connection: "Connection") -> None:
        with self._lock:
            for token in [token for token, each in self._waiting.items() if each is connection]:
                del self._waiting[token]
