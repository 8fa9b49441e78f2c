"""The second connection of two peers, on which only descriptors travel (spec/descriptors.md)."""

from __future__ import annotations

import json
import os
import secrets
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any, Dict, NamedTuple, Optional, Union

from .descriptor import Descriptors
from .errors import TalkwireError
from .session import Session
from .wire import SocketWire, Wire

if TYPE_CHECKING:
    from .connection import Connection


class ChannelSession(Session):
    """A session that may have a channel. `channels`: those of the service, if it takes descriptors."""

    _wire: Wire

    def __init__(
        self, *, wire: Wire, channels: Optional["Channels"] = None, framing: Optional[str] = None, **session: Any
    ) -> None:
        super().__init__(peer=wire.peer, framing=wire.framing or framing, **session)
        self._channels = channels
        self.channel_ready = False

    def bring_channel(self, channel: socket.socket) -> None:
        self.descriptors = Descriptors(channel, int(self.limits.max_descriptors), self._refuse_descriptors)

    def abort(self) -> None:
        raise NotImplementedError

    def _channel_taken(self) -> None:
        """(client) Wakes whoever waits for `channel_ready`."""
        raise NotImplementedError

    def _refuse_descriptors(self, error: TalkwireError) -> None:
        self._reply_error(None, error, None)
        self._break(error)

    def _offer_channel(self) -> Optional[str]:
        return None if self._channels is None else self._channels.offer(self)

    def _channel(self, params: Any) -> None:
        if self.connector:
            self.channel_ready = True
            self._channel_taken()
        elif self._channels is None:
            self.abort()
        else:
            self._channels.accept(self, params.get("token") if type(params) is dict else None)


class Offer(NamedTuple):
    """What the service wants to be shown, at which path."""

    path: Union[str, bytes]
    message: bytes


def offer_of(session: ChannelSession) -> Offer:
    """(client, after hello) Raises UNSUPPORTED."""
    from .transports.unix import socket_path

    token = session.channel_token
    if token is None:
        raise TalkwireError("UNSUPPORTED", "the service takes no descriptors: serve with descriptors=True, too, on unix:")
    text = json.dumps({"jsonrpc": "2.0", "method": "$/channel", "params": {"token": token}}).encode()
    return Offer(socket_path(session.peer.address.partition(":")[2]), struct.pack(">I", len(text)) + text)


def unopened(error: OSError) -> TalkwireError:
    return TalkwireError("PEER_NOT_FOUND", f"the channel for descriptors cannot be opened: {error}")


def untaken(timeout: float) -> TalkwireError:
    return TalkwireError("DEADLINE_EXCEEDED", f"the channel for descriptors was not taken within {timeout} s")


def open_channel(connection: "Connection", timeout: float) -> None:
    """(client, after hello) Makes the channel that the service offered. Blocks. Raises UNSUPPORTED, DEADLINE_EXCEEDED."""
    from .transports.unix import connect_to

    offer = offer_of(connection)
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        channel.settimeout(timeout)
        connect_to(channel, offer.path)
        channel.sendall(offer.message)
    except OSError as error:
        channel.close()
        raise unopened(error) from error
    connection.bring_channel(channel)
    if not connection.wait(lambda: connection.channel_ready, connection.channel_signal, timeout):
        raise untaken(timeout)


def check_descriptors(address: str) -> None:
    """Raises UNSUPPORTED."""
    if address.partition(":")[0] != "unix":
        raise TalkwireError("UNSUPPORTED", f"{address} carries no descriptors; take unix:")


class Channels:
    """Which connection of a service waits for which channel."""

    def __init__(self) -> None:
        self._waiting: Dict[str, ChannelSession] = {}
        self._lock = threading.Lock()

    def offer(self, connection: ChannelSession) -> str:
        token = secrets.token_hex(32)
        with self._lock:
            self._waiting[token] = connection
        return token

    def accept(self, side: ChannelSession, token: Any) -> None:
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

    def _claim(self, side: ChannelSession, token: Any) -> Optional[ChannelSession]:
        with self._lock:
            connection = self._waiting.get(token) if type(token) is str else None
            if connection is None or connection.ended is not None:
                return None
            if (connection.peer.pid, connection.peer.uid) != (side.peer.pid, side.peer.uid):
                return None
            return self._waiting.pop(token)

    def forget(self, connection: ChannelSession) -> None:
        with self._lock:
            for token in [token for token, each in self._waiting.items() if each is connection]:
                del self._waiting[token]
