"""Running handlers in the loop: `async def`, async generators, plain functions."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from ..context import CallContext
from ..descriptor import close_all, close_given
from ..errors import TalkwireError
from ..session import END, Incoming
from .connection import Connection
from .remote import Remote
from .sources import close_source, iterate


def execute(connection: Connection, call: Incoming) -> None:
    """Answers the call; what takes a while gets a task."""
    method = call.method
    if method.streams or method.wants_ctx or call.input is not None or inspect.iscoroutinefunction(method.function):
        call.task = connection._spawn(_run(connection, call))
    else:
        _run_plain(connection, call)


def _run_plain(connection: Connection, call: Incoming) -> None:
    stopped = call.stop_reason(started=False)
    if stopped is not None:
        return connection._answer_error(call, stopped)
    try:
        result = call.method.function(*call.args, **(call.kwargs or {}))
    except Exception as error:
        return call.fail(error)
    if inspect.isawaitable(result) or hasattr(result, "__anext__") or hasattr(result, "__next__"):
        call.task = connection._spawn(_finish_call(connection, call, result))
    else:
        call.respond(result)


async def _run(connection: Connection, call: Incoming) -> None:
    """Runs a handler that needs a task."""
    stopped = call.stop_reason(started=False)
    if stopped is not None:
        return connection._answer_error(call, stopped)
    named = dict(call.kwargs or {})
    if call.method.wants_ctx:
        named["ctx"] = Context(connection, call)
    args = call.args if call.input is None else [Input(call)]
    try:
        result = call.method.function(*args, **named)
    except Exception as error:
        return call.fail(error)
    await _finish_call(connection, call, result)


async def _finish_call(connection: Connection, call: Incoming, result: Any) -> None:
    try:
        if inspect.isawaitable(result):
            result = await _before_deadline(call, result)
        if hasattr(result, "__anext__") or hasattr(result, "__next__"):
            await _stream_out(connection, call, result)
            result = None
    except (Exception, asyncio.CancelledError) as error:
        if connection.ended is None:
            call.fail(error)
        close_all(call.descriptors)
        return
    late = call.late() if connection.ended is None else connection.ended
    if late is None:
        return call.respond(result)
    close_given(result)
    close_all(call.descriptors)
    if connection.ended is None:
        connection._answer_error(call, late)


async def _before_deadline(call: Incoming, work: Any) -> Any:
    remaining = call.remaining()
    if remaining is None:
        return await work
    try:
        return await asyncio.wait_for(work, max(0.0, remaining))
    except asyncio.TimeoutError:
        raise TalkwireError("DEADLINE_EXCEEDED", f"{call.method.name} did not end in time") from None


async def _stream_out(connection: Connection, call: Incoming, source: Any) -> None:
    credit = call.credit
    if call.signal is None:
        call.signal = connection._new_signal()
    call.streaming = True
    try:
        async for value in iterate(source):
            while credit is not None and not credit.ready() and call.stop_reason() is None:
                await call.signal.wait(call.remaining())
            stopped = call.stop_reason()
            if stopped is not None:
                close_given(value)
                raise stopped
            connection.send_value("$/item", call.id, value, credit)
            await connection.room()
    finally:
        await close_source(source)


class Input:
    """The items that the caller streams to a handler: `async for`."""

    def __init__(self, call: Incoming) -> None:
        self._call = call

    def __aiter__(self) -> "Input":
        return self

    async def __anext__(self) -> Any:
        items = self._call.input
        assert items is not None
        while not items.ready() and self._call.stop_reason() is None:
            await self._call.signal.wait(self._call.remaining())
        value = self._call.next_input()
        if value is END:
            raise StopAsyncIteration
        return value


class Context(CallContext):
    """What a handler knows of its call: give it a parameter named `ctx`."""

    @property
    def caller(self) -> Remote:
        """Calls the other side back; such calls end with this one."""
        return Remote(self._connection, self._call)
