"""What is under an asyncio client: a connection, and when that is lost the next one."""

from __future__ import annotations

import asyncio
import logging
from typing import Awaitable, Callable, Optional

from ..errors import TalkwireError
from ..reconnecting import HOPELESS, Reconnect, closed_error, late_error, not_sent
from .connection import Connection

Dial = Callable[[bool, Callable[[Connection], None]], Awaitable[Connection]]


class Link:
    """`dial(start, on_end)` makes a connection that has shaken hands; `start`: the service may be started."""

    connection: Connection

    def __init__(self, dial: Dial, reconnect: Optional[Reconnect]) -> None:
        self._dial = dial
        self._reconnect = reconnect
        self._attempt: Optional["asyncio.Task[None]"] = None
        self._wanted = False  # a call waits, and not only a subscription
        self._closing = asyncio.Event()
        self._changed = asyncio.Event()  # the connection has ended, or an attempt has

    async def open(self) -> None:
        """The first connection: one attempt, its error is the caller's."""
        self.connection = await self._dial(True, self._lost)

    async def ready(self, timeout: Optional[float]) -> Connection:
        """As for the blocking client."""
        if not self.connection.is_open and self._reconnect is not None:
            try:
                await asyncio.wait_for(self._reconnected(), timeout)
            except asyncio.TimeoutError:
                raise late_error(timeout or 0.0) from None
        return self.connection

    async def _reconnected(self) -> None:
        while not self.connection.is_open:
            self._wanted = True
            try:
                await asyncio.shield(self._begin())  # others may wait for the same attempt
            except TalkwireError as error:
                raise not_sent(error) from error

    def _begin(self) -> "asyncio.Task[None]":
        if self._closing.is_set():
            raise closed_error()
        if self._attempt is None:
            self._attempt = asyncio.get_running_loop().create_task(self._reopen())
            self._attempt.add_done_callback(self._attempted)
        return self._attempt

    def _attempted(self, attempt: "asyncio.Task[None]") -> None:
        self._attempt = None
        self._changed.set()
        error = None if attempt.cancelled() else attempt.exception()
        if error is None:
            if not self.connection.is_open:
                self._lost(self.connection)  # it has ended in the moment between
        elif self.connection.listeners and not self._closing.is_set():
            logging.getLogger("talkwire").error("events stay away: the service did not come back: %s", error)

    async def _reopen(self) -> None:
        assert self._reconnect is not None
        last = closed_error()
        for pause in self._reconnect.pauses():
            try:
                return await self._adopt(await self._dial(self._wanted, self._lost))
            except TalkwireError as error:
                last = error
                if error.code in HOPELESS or self._closing.is_set():
                    break
            try:
                await asyncio.wait_for(self._closing.wait(), pause)
                break
            except asyncio.TimeoutError:
                pass
        raise closed_error() if self._closing.is_set() else last

    async def _adopt(self, connection: Connection) -> None:
        connection.listeners = self.connection.listeners
        try:
            for event in list(connection.listeners):
                await connection.result(connection.open("rpc.on", {"event": event}))
        except BaseException:
            connection.abort()
            raise
        self._wanted = False
        if self._closing.is_set():
            return await connection.close()
        self.connection = connection

    def _lost(self, connection: Connection) -> None:
        """Subscriptions are a standing wish: they heal without waiting for a call, but start no service."""
        self._changed.set()
        if self.lasts and self.__dict__.get("connection") is connection and connection.listeners:
            self._begin()

    @property
    def lasts(self) -> bool:
        """Is a lost connection made again?"""
        return self._reconnect is not None and not self._closing.is_set()

    @property
    def ended(self) -> bool:
        """Is there no connection, and will there be none unless somebody calls?"""
        return self.connection.ended is not None and (not self.lasts or self._attempt is None)

    async def wait(self) -> None:
        """Until `ended`."""
        while not self.ended:
            self._changed.clear()
            await self._changed.wait()

    async def close(self, timeout: Optional[float]) -> None:
        self._closing.set()
        if self._attempt is not None:
            await asyncio.wait([self._attempt])
        await self.connection.close(timeout)
        self._changed.set()

    def abort(self) -> None:
        self._closing.set()
        self.connection.abort()
