"""The second connection of two peers, on which only descriptors travel, from an event loop (spec/descriptors.md)."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Union

from ..channel import offer_of, unopened, untaken
from ..transports.unix import filled

if TYPE_CHECKING:
    from .connection import Connection


async def open_channel(connection: "Connection", timeout: float) -> None:
    """(client, after hello) Makes the channel that the service offered. Raises UNSUPPORTED, DEADLINE_EXCEEDED."""
    offer = offer_of(connection)
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        await asyncio.wait_for(_show(channel, offer.path, offer.message), timeout)
    except BaseException as error:
        channel.close()
        if isinstance(error, asyncio.TimeoutError):
            raise untaken(timeout) from None
        if isinstance(error, OSError):
            raise unopened(error) from error
        raise
    connection.bring_channel(channel)
    if not await connection.channel_taken(timeout):
        raise connection.ended or untaken(timeout)


async def _show(channel: socket.socket, path: Union[str, bytes], message: bytes) -> None:
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_connect(channel, path)
    except ConnectionRefusedError:
        if not isinstance(path, bytes):
            raise
        await loop.sock_connect(channel, filled(path))
    await loop.sock_sendall(channel, message)
