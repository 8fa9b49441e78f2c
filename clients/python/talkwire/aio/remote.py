"""What asyncio code holds in its hands: callers, streams, subscriptions."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from ..descriptor import close_given, close_received
from ..errors import TalkwireError
from ..remote import PLAIN, CallOptions, call_params, left
from ..session import Incoming, Outgoing
from .connection import Connection
from .sources import close_source, iterate


class Stream:
    """`async for` over a call's output; `aclose()` cancels what is left."""

    def __init__(self, connection: Connection, outgoing: Outgoing, deadline: Optional[float]) -> None:
        self._connection, self._outgoing, self._deadline = connection, outgoing, deadline

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> Any:
        call = self._outgoing
        items = call.items
        assert items is not None
        try:
            while not items.ready():
                left = None if self._deadline is None else self._deadline - time.monotonic()
                if left is not None and left <= 0:
                    self._connection.cancel(call, TalkwireError("DEADLINE_EXCEEDED", f"{call.method} took too long"))
                    break
                await call.signal.wait(left)
        except asyncio.CancelledError:
            await self.aclose()
            raise
        if len(items):
            value, credit = items.take()
            self._connection.give_credit("$/credit", call.id, credit)
            return value
        if call.error is not None and call.error.code != "STREAM_CLOSED":
            raise call.error
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._connection.cancel(self._outgoing, TalkwireError("STREAM_CLOSED", "the stream was closed here"))
        if self._outgoing.items is not None and self._connection.descriptors is not None:
            close_received(self._outgoing.items.clear())

    async def __aenter__(self) -> "Stream":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()


class Subscription:
    """Events at a function or coroutine function, until `await close()`."""

    def __init__(self, remote: "Remote", event: str, function: Callable[[Any], Any]) -> None:
        self.event, self.function, self.lost = event, function, 0
        self._remote = remote

    async def close(self) -> None:
        await self._remote._off(self)


def _split_input(args: Tuple[Any, ...]) -> Tuple[Tuple[Any, ...], Any]:
    if len(args) == 1 and (hasattr(args[0], "__anext__") or hasattr(args[0], "__next__")):
        return (), args[0]
    return args, None


class Opened(NamedTuple):
    """A call that was sent, and where."""

    connection: Connection
    outgoing: Outgoing
    deadline: Optional[float]


class Remote:
    """The other side: `await remote.add(2, 5)`."""

    def __init__(self, connection: Connection, parent: Optional[Incoming] = None) -> None:
        self._connection, self._parent = connection, parent

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._connection.peer.address}>"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self._connection.peer_streams:
            return lambda *args, **named: self._open_stream(name, args, named, PLAIN)
        return lambda *args, **named: self._call(name, args, named, PLAIN)

    async def call(
        self,
        method: str,
        *args: Any,
        timeout: Optional[float] = None,
        metadata: Optional[Dict[str, str]] = None,
        on_progress: Optional[Callable[[Any], Any]] = None,
        idempotent: bool = False,
        **named: Any,
    ) -> Any:
        """As the blocking `call`. Cancelling the task cancels the call."""
        return await self._call(method, args, named, CallOptions(timeout, metadata, on_progress, idempotent))

    async def _call(self, method: str, args: Tuple[Any, ...], named: Dict[str, Any], options: CallOptions) -> Any:
        args, source = _split_input(args)
        params = call_params(args, named)
        until = None if options.timeout is None else time.monotonic() + options.timeout
        while True:
            opened = await self._open(method, params, source, options._replace(timeout=left(until)), False)
            try:
                return await self._await(opened)
            except TalkwireError as error:
                # An input stream has been used up: it cannot be sent again.
                if source is not None or not self._again(opened.connection, error, options.idempotent):
                    raise

    def _again(self, connection: Connection, error: TalkwireError, idempotent: bool) -> bool:
        """Is a call that failed so made once more, on another connection?"""
        return False

    async def _await(self, opened: "Opened") -> Any:
        connection, outgoing, deadline = opened
        parent = self._parent
        if parent is not None:
            parent.children.add(outgoing)
            if parent.cancelled:  # meanwhile, so that nobody saw the child
                connection.cancel(outgoing)
        try:
            return await connection.result(outgoing, left(deadline))
        finally:
            if parent is not None:
                parent.children.discard(outgoing)

    async def _open(self, method: str, params: Any, source: Any, options: CallOptions, stream: bool) -> "Opened":
        """Sends the request; what is in `source` follows."""
        timeout = options.timeout if self._parent is None else self._parent.time_for(options.timeout)
        connection = self._connection
        await connection.room()
        outgoing = connection.open(
            method, params, timeout=timeout, metadata=options.metadata, on_progress=options.on_progress,
            stream=stream, input=source is not None,
        )  # fmt: skip
        if source is not None:
            connection._spawn(_pump(connection, outgoing, source))
        return Opened(connection, outgoing, None if timeout is None else time.monotonic() + timeout)

    async def stream(
        self,
        method: str,
        *args: Any,
        timeout: Optional[float] = None,
        metadata: Optional[Dict[str, str]] = None,
        on_progress: Optional[Callable[[Any], Any]] = None,
        **named: Any,
    ) -> Stream:
        """`async for item in await remote.stream('watch', …)`. An (async) iterator as argument is sent meanwhile."""
        return await self._open_stream(method, args, named, CallOptions(timeout, metadata, on_progress))

    async def _open_stream(self, method: str, args: Tuple[Any, ...], named: Dict[str, Any], options: CallOptions) -> Stream:
        args, source = _split_input(args)
        opened = await self._open(method, call_params(args, named), source, options, True)
        return Stream(opened.connection, opened.outgoing, opened.deadline)

    async def notify(self, method: str, *args: Any, **named: Any) -> None:
        await self._connection.room()
        self._connection.notify(method, call_params(args, named))

    async def on(self, event: str, function: Callable[[Any], Any]) -> Subscription:
        if not callable(function):
            raise TypeError("on(event, function) takes a function")
        subscription = Subscription(self, event, function)
        held = self._connection.listeners.setdefault(event, [])
        held.append(subscription)
        if len(held) == 1:
            try:
                await self.call("rpc.on", {"event": event}, idempotent=True)
            except BaseException:
                self._forget(subscription)
                raise
        return subscription

    def _forget(self, subscription: Subscription) -> bool:
        """True if it was the last one of its event."""
        listeners = self._connection.listeners
        held = listeners.get(subscription.event, [])
        if subscription not in held:
            return False
        held.remove(subscription)
        if not held:
            del listeners[subscription.event]
        return not held

    async def _off(self, subscription: Subscription) -> None:
        if self._forget(subscription) and self._connection.is_open:
            await self.call("rpc.off", {"event": subscription.event})


async def _pump(connection: Connection, call: Outgoing, source: Any) -> None:
    credit = call.credit
    assert credit is not None
    try:
        async for value in iterate(source):
            while not credit.ready() and not call.done:
                await call.signal.wait()
            if call.done:
                return close_given(value)
            connection.send_value("$/input", call.id, value, credit)
            await connection.room()
        if not call.done:
            connection.end_input(call.id)
    except Exception as error:
        if connection.ended is None:
            connection.end_input(call.id, TalkwireError("CANCELLED", "the input stream failed"))
            connection.cancel(call, TalkwireError("INPUT_FAILED", f"the input stream failed: {error!r}", outcome="maybe-ran"))
    finally:
        await close_source(source)
