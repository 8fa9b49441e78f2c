"""The same words for asyncio: `await aio.serve(…)`, `await aio.connect(…)`, `await client.add(2, 5)`.

Everything runs in the event loop. Handlers may be `async def`, async
generators, or plain functions (which block the loop as long as they run).
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import deque
from typing import Any, AsyncIterator, Callable, Deque, Dict, List, Optional, Sequence, Set, Tuple, Union

from . import names
from .client import _wanted, open_wire
from .errors import TalkwireError
from .limits import Limits
from .methods import method_table
from .remote import call_params
from .service import addresses_to_listen, announce_service
from .session import Handshake, Incoming, Outgoing, Session
from .transports.registry import Options, listen as listen_on
from .wire import Listener, Peer, Wire

_BUDGET = 64  # payloads handled before the loop gets its turn
_FAREWELL = 1.0


class _Signal:
    """Wakes the coroutines that wait for a change of a call."""

    __slots__ = ("_futures",)

    def __init__(self) -> None:
        self._futures: List["asyncio.Future[None]"] = []

    def notify(self) -> None:
        futures, self._futures = self._futures, []
        for future in futures:
            if not future.done():
                future.set_result(None)

    async def wait(self, timeout: Optional[float] = None) -> None:
        future = asyncio.get_running_loop().create_future()
        self._futures.append(future)
        if timeout is None:
            await future
        else:
            await asyncio.wait([future], timeout=timeout)


class _NoLock:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        pass


class Connection(Session):
    """A session on a wire in an event loop."""

    def __init__(
        self, wire: Wire, *, on_end: Optional[Callable[["Connection"], None]] = None, **session: Any
    ) -> None:
        super().__init__(peer=wire.peer, **session)
        self.loop = asyncio.get_running_loop()
        self._wire = wire
        self._on_end = on_end
        self._queue: Deque[List[Any]] = deque()
        self._queued = 0
        self._reading = True
        self._half_closed = False
        self._tasks: Set["asyncio.Future[Any]"] = set()
        self._changed = _Signal()  # the queue, the calls in flight, or the end
        self._heard = time.monotonic()
        self._timers: List[asyncio.TimerHandle] = []
        self.ends_service = False
        wire.prepare_for_loop()
        self.loop.add_reader(wire.fileno(), self._readable)
        if not self.connector:
            self._timers.append(self.loop.call_later(self.limits.handshake, self._check_handshake))
        if self.limits.heartbeat:
            self._beat()

    # -- reading

    def _readable(self) -> None:
        try:
            count = self._wire.receive(self.decoder.get_buffer())
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            return self._lost(f"the connection broke: {error.strerror or error}")
        if count == 0:
            return self._peer_ended()
        self._heard = time.monotonic()
        self.decoder.received(count)
        self._handle_received()

    def _handle_received(self) -> None:
        """What has arrived whole, a budget at a time: a flood of tiny messages leaves the loop to others."""
        try:
            for _ in range(_BUDGET):
                payload = self.decoder.next() if self.ended is None else None
                if payload is None:
                    return self._resume_reading()
                self.receive(payload)
        except TalkwireError as error:
            if not self.connector or self.full:
                self._reply_error(None, error, None)
            return self._break(error)
        self._pause_reading()
        self.loop.call_soon(self._handle_received)

    def _pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            self.loop.remove_reader(self._wire.fileno())

    def _resume_reading(self) -> None:
        if not self._reading and self.ended is None and not self._half_closed:
            self._reading = True
            self.loop.add_reader(self._wire.fileno(), self._readable)

    def _peer_ended(self) -> None:
        clean = not self.decoder.pending
        if clean and not self.full and self.busy and not self._wire.hung_up():
            self._half_closed = self.closing = True
            self._pause_reading()
            self._spawn(self._finish_after_calls())
        elif clean and (self.peer_closing or self.closing or not self.connector):
            self._finish(TalkwireError("CONNECTION_CLOSED", "the peer has closed the connection"))
        else:
            self._lost("the peer has gone" if clean else "the peer has gone in the middle of a message")

    async def _finish_after_calls(self) -> None:
        await self._until(lambda: not self.busy, self.limits.drain)
        await self._until(lambda: not self._queue, _FAREWELL)
        self._finish(TalkwireError("CONNECTION_CLOSED", "the peer has closed the connection"))

    # -- writing

    def _transmit(self, parts: List[Any], size: int, patient: bool) -> None:
        if self.ended is not None:
            raise TalkwireError(self.ended.code, self.ended.text, outcome="not-sent")
        if self._queue:
            if not patient and self._queued > self.limits.max_queue:
                return self._lost("the peer does not read")
            return self._enqueue(parts)
        try:
            rest = self._wire.send(parts)
        except OSError:
            self._lost("the peer has gone")
            raise TalkwireError("CONNECTION_LOST", "the peer has gone", outcome="not-sent") from None
        if rest:
            self._enqueue(rest)
            self.loop.add_writer(self._wire.write_fileno(), self._writable)

    def _enqueue(self, parts: List[Any]) -> None:
        owned = b"".join(parts)  # the sender may change its arrays as soon as we return
        self._queue.append([owned])
        self._queued += len(owned)

    def _writable(self) -> None:
        while self._queue:
            first = self._queue[0]
            before = sum(len(part) for part in first)
            try:
                rest = self._wire.send(first)
            except OSError:
                return self._lost("the peer has gone")
            left = sum(len(part) for part in rest)
            self._queued -= before - left
            if rest:
                self._queue[0] = rest
                break
            self._queue.popleft()
        else:
            self.loop.remove_writer(self._wire.write_fileno())
        self._changed.notify()

    def _has_room(self) -> bool:
        return self._queued < self.limits.max_queue

    async def room(self) -> None:
        """Waits while more is queued than one stream window: a slow reader slows its writer."""
        while self._queued > self.limits.window and self.ended is None:
            await self._changed.wait()

    # -- the end

    def _lost(self, text: str) -> None:
        self._finish(TalkwireError("CONNECTION_LOST", text))

    def _break(self, error: TalkwireError) -> None:
        self._wire.end_sending()
        self._finish(error)

    def _finish(self, error: TalkwireError) -> None:
        if self.ended is not None:
            return
        self.end(error)
        for timer in self._timers:
            timer.cancel()
        self.loop.remove_reader(self._wire.fileno())
        if self._queue:
            self.loop.remove_writer(self._wire.write_fileno())
            self._queue.clear()
        self._wire.abort()
        if self._wire.on_close is None:
            self._wire.close()
            self._closed()
        else:
            self._spawn(self._close_with_child())
        self._changed.notify()
        if self._on_end is not None:
            self._on_end(self)

    async def _close_with_child(self) -> None:
        await self.loop.run_in_executor(None, self._wire.close)
        self._closed()

    def _closed(self) -> None:
        self._timers.clear()

    async def _until(self, ready: Callable[[], bool], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while not ready() and self.ended is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            await self._changed.wait(left)
        return True

    async def close(self, timeout: Optional[float] = None) -> None:
        """Drains, then ends."""
        limit = self.limits.drain if timeout is None else timeout
        first, self.closing = not self.closing, True
        if self.ended is None and first and self.full:
            self._notify("$/close", "{}")
        if not self.peer_closing:
            self.stop_streams()
        me = asyncio.current_task()
        await self._until(lambda: not self.calls_out and all(c.task is me for c in self.calls_in.values()), limit)
        await self._until(lambda: not self._queue, limit)
        if self.full:
            # What left the peer before it knew is still to be refused: an end that overtakes that leaves it guessing.
            await self._until(lambda: self.peer_closing, _FAREWELL)
            await self._until(lambda: not self._queue, limit)
        if self.ended is None:
            self._wire.end_sending()
            await self._until(lambda: False, _FAREWELL)
        self._finish(TalkwireError("CONNECTION_CLOSED", "the connection is closed"))
        others = [task for task in self._tasks if task is not me]
        if others:
            await asyncio.wait(others, timeout=limit)

    def abort(self) -> None:
        self._finish(TalkwireError("CONNECTION_CLOSED", "the connection was aborted"))

    def _idle(self) -> None:
        self._changed.notify()

    def _peer_wants_to_close(self) -> None:
        self._changed.notify()
        self._spawn(self.close())

    def _check_handshake(self) -> None:
        if not self.greeted:
            self._lost("the peer sent no whole message in time")

    def _beat(self) -> None:
        interval = self.limits.heartbeat / 1000
        silent = time.monotonic() - self._heard
        if silent >= 2 * interval:
            return self._lost("the peer is silent")
        if silent >= interval and self.full:
            self._notify("$/ping", "{}")
        self._timers = [self.loop.call_later(interval / 2, self._beat)]

    # -- running

    def _spawn(self, work: Any) -> "asyncio.Task[Any]":
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _execute(self, call: Incoming) -> None:
        method = call.method
        if not method.streams and not method.wants_ctx and call.input is None and not inspect.iscoroutinefunction(method.function):
            self._run_plain(call)
        else:
            call.task = self._spawn(_run(self, call))

    def _run_plain(self, call: Incoming) -> None:
        stopped = call.stop_reason(started=False)
        if stopped is not None:
            return self._answer_error(call, stopped)
        try:
            result = call.method.function(*call.args, **(call.kwargs or {}))
        except Exception as error:
            return call.fail(error)
        if inspect.isawaitable(result) or hasattr(result, "__anext__") or hasattr(result, "__next__"):
            call.task = self._spawn(_finish_call(self, call, result))
        else:
            call.respond(result)

    def _cancelled(self, call: Incoming) -> None:
        if call.task is not None:
            call.task.cancel()

    def is_cancellation(self, error: BaseException) -> bool:
        return isinstance(error, asyncio.CancelledError)

    def _deliver(self, event: str, payload: Any) -> None:
        for listener in list(self.listeners.get(event, [])):
            self._run_callback(listener.function, payload)

    def _run_callback(self, function: Callable[[Any], Any], value: Any) -> None:
        try:
            result = function(value)
            if inspect.isawaitable(result):
                self._spawn(_guarded(result))
        except Exception:
            _log("an event handler failed")

    def _new_lock(self) -> Any:
        return _NoLock()

    def _new_signal(self) -> _Signal:
        return _Signal()

    # -- calling

    async def result(self, call: Outgoing, timeout: Optional[float] = None) -> Any:
        """The call's result; cancelling the task, or `timeout` s, cancels the call."""
        try:
            deadline = None if timeout is None else time.monotonic() + timeout
            while not call.done:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    self.cancel(call, TalkwireError("DEADLINE_EXCEEDED", f"{call.method} took longer than {timeout} s"))
                    break
                await call.signal.wait(left)
        except asyncio.CancelledError:
            self.cancel(call)
            raise
        if call.error is not None:
            raise call.error
        return call.value

    def _call_reference(self, method: str, params: List[Any]) -> Any:
        return self.result(self.open(method, params))

    def _release_reference(self, number: int, count: int) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._send_release, number, count)

    def _send_release(self, number: int, count: int) -> None:
        if self.ended is None and self.full:
            self._notify("$/release", f'{{"refs":[[{number},{count}]]}}')


def _log(text: str) -> None:
    import logging

    logging.getLogger("talkwire").exception(text)


async def _guarded(work: Any) -> None:
    try:
        await work
    except Exception:
        _log("an event handler failed")


async def _run(connection: Connection, call: Incoming) -> None:
    """Runs a handler that needs a task."""
    stopped = call.stop_reason(started=False)
    if stopped is not None:
        return connection._answer_error(call, stopped)
    named = dict(call.kwargs or {})
    if call.method.wants_ctx:
        named["ctx"] = Context(connection, call)
    args = call.args if call.input is None else [Input(connection, call)]
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
        return
    if connection.ended is None:
        late = call.late()
        if late is None:
            call.respond(result)
        else:
            connection._answer_error(call, late)


async def _before_deadline(call: Incoming, work: Any) -> Any:
    remaining = call.remaining()
    if remaining is None:
        return await work
    try:
        return await asyncio.wait_for(work, max(0.0, remaining))
    except asyncio.TimeoutError:
        raise TalkwireError("DEADLINE_EXCEEDED", f"{call.method.name} did not end in time") from None


async def _iterate(source: Any) -> AsyncIterator[Any]:
    if hasattr(source, "__anext__"):
        async for value in source:
            yield value
    else:
        for value in source:
            yield value
            await asyncio.sleep(0)


async def _stream_out(connection: Connection, call: Incoming, source: Any) -> None:
    credit = call.credit
    if call.signal is None:
        call.signal = connection._new_signal()
    call.streaming = True
    try:
        async for value in _iterate(source):
            while credit is not None and not credit.ready() and call.stop_reason() is None:
                await call.signal.wait(call.remaining())
            stopped = call.stop_reason()
            if stopped is not None:
                raise stopped
            size = connection.send_value("$/item", call.id, value)
            if credit is not None:
                credit.change(-size)
            await connection.room()
    finally:
        await _close_source(source)


async def _close_source(source: Any) -> None:
    if hasattr(source, "aclose"):
        await source.aclose()
    elif hasattr(source, "close"):
        source.close()


class Input:
    """The items that the caller streams to a handler: `async for`."""

    def __init__(self, connection: Connection, call: Incoming) -> None:
        self._connection, self._call = connection, call

    def __aiter__(self) -> "Input":
        return self

    async def __anext__(self) -> Any:
        items = self._call.input
        assert items is not None
        while not items.ready() and self._call.stop_reason() is None:
            await self._call.signal.wait(self._call.remaining())
        if len(items):
            value, credit = items.take()
            self._connection.give_credit("$/inputCredit", self._call.id, credit)
            return value
        stopped = self._call.stop_reason()
        if stopped is not None:
            raise stopped
        if items.error is not None:
            raise items.error
        raise StopAsyncIteration


class Context:
    """What a handler knows of its call."""

    def __init__(self, connection: Connection, call: Incoming) -> None:
        self._connection, self._call = connection, call

    @property
    def peer(self) -> Peer:
        return self._connection.peer

    @property
    def metadata(self) -> Dict[str, str]:
        return self._call.metadata

    @property
    def deadline(self) -> Optional[float]:
        return self._call.deadline

    def remaining(self) -> Optional[float]:
        return self._call.remaining()

    def cancelled(self) -> bool:
        return self._call.stop_reason() is not None

    def progress(self, value: Any) -> None:
        self._connection.send_progress(self._call, value)

    @property
    def caller(self) -> "Remote":
        return Remote(self._connection, self._call)


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


class Remote:
    """The other side: `await remote.add(2, 5)`."""

    def __init__(self, connection: Connection, parent: Optional[Incoming] = None) -> None:
        self._connection, self._parent = connection, parent

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self._connection.peer_streams:
            return lambda *args, **named: self._open_stream(name, args, named)
        return lambda *args, **named: self._call(name, args, named)

    async def call(
        self,
        method: str,
        *args: Any,
        timeout: Optional[float] = None,
        metadata: Optional[Dict[str, str]] = None,
        on_progress: Optional[Callable[[Any], Any]] = None,
        **named: Any,
    ) -> Any:
        """As the blocking `call`. Cancelling the task cancels the call."""
        return await self._call(method, args, named, timeout, metadata, on_progress)

    async def _call(
        self,
        method: str,
        args: Tuple[Any, ...],
        named: Dict[str, Any],
        timeout: Optional[float] = None,
        metadata: Optional[Dict[str, str]] = None,
        on_progress: Optional[Callable[[Any], Any]] = None,
    ) -> Any:
        args, source = _split_input(args)
        outgoing, timeout = await self._open(method, call_params(args, named), timeout, metadata, on_progress, source, False)
        parent = self._parent
        if parent is not None:
            parent.children.add(outgoing)
            if parent.cancelled:  # meanwhile, so that nobody saw the child
                self._connection.cancel(outgoing)
        try:
            if source is not None:
                self._connection._spawn(_pump(self._connection, outgoing, source))
            return await self._connection.result(outgoing, timeout)
        finally:
            if parent is not None:
                parent.children.discard(outgoing)

    async def _open(
        self, method: str, params: Any, timeout: Any, metadata: Any, on_progress: Any, source: Any, stream: bool
    ) -> Tuple[Outgoing, Optional[float]]:
        if self._parent is not None:
            stopped = self._parent.stop_reason()
            if stopped is not None:
                raise stopped
            limits = [t for t in (timeout, self._parent.remaining()) if t is not None]
            timeout = min(limits) if limits else None
        await self._connection.room()
        return self._connection.open(
            method, params, timeout=timeout, metadata=metadata, on_progress=on_progress,
            stream=stream, input=source is not None,
        ), timeout  # fmt: skip

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
        return await self._open_stream(method, args, named, timeout, metadata, on_progress)

    async def _open_stream(
        self,
        method: str,
        args: Tuple[Any, ...],
        named: Dict[str, Any],
        timeout: Optional[float] = None,
        metadata: Optional[Dict[str, str]] = None,
        on_progress: Optional[Callable[[Any], Any]] = None,
    ) -> Stream:
        args, source = _split_input(args)
        outgoing, timeout = await self._open(method, call_params(args, named), timeout, metadata, on_progress, source, True)
        if source is not None:
            self._connection._spawn(_pump(self._connection, outgoing, source))
        return Stream(self._connection, outgoing, None if timeout is None else time.monotonic() + timeout)

    async def notify(self, method: str, *args: Any, **named: Any) -> None:
        await self._connection.room()
        self._connection.notify(method, call_params(args, named))

    async def on(self, event: str, function: Callable[[Any], Any]) -> Subscription:
        subscription = Subscription(self, event, function)
        held = self._connection.listeners.setdefault(event, [])
        held.append(subscription)
        if len(held) == 1:
            await self.call("rpc.on", {"event": event})
        return subscription

    async def _off(self, subscription: Subscription) -> None:
        held = self._connection.listeners.get(subscription.event, [])
        if subscription in held:
            held.remove(subscription)
            if not held:
                del self._connection.listeners[subscription.event]
                if self._connection.ended is None and not self._connection.closing:
                    await self.call("rpc.off", {"event": subscription.event})


async def _pump(connection: Connection, call: Outgoing, source: Any) -> None:
    credit = call.credit
    assert credit is not None
    try:
        async for value in _iterate(source):
            while not credit.ready() and not call.done:
                await call.signal.wait()
            if call.done:
                return
            credit.change(-connection.send_value("$/input", call.id, value))
            await connection.room()
        if not call.done:
            connection.end_input(call.id)
    except Exception as error:
        if connection.ended is None:
            connection.end_input(call.id, TalkwireError("CANCELLED", "the input stream failed"))
            connection.cancel(call, TalkwireError("INPUT_FAILED", f"the input stream failed: {error!r}", outcome="maybe-ran"))
    finally:
        await _close_source(source)


class Client(Remote):
    """A connection to a service; `async with`, or `await close()`."""

    async def close(self, timeout: Optional[float] = None) -> None:
        await self._connection.close(timeout)

    def abort(self) -> None:
        self._connection.abort()

    def emit(self, event: str, payload: Any = None) -> None:
        self._connection.publish(event, payload)

    @property
    def peer(self) -> Peer:
        return self._connection.peer

    @property
    def closed(self) -> bool:
        return self._connection.ended is not None

    async def wait(self) -> None:
        """Until the connection has ended."""
        while self._connection.ended is None:
            await self._connection._changed.wait()

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


async def _shake_hands(connection: Connection, steps: Handshake, timeout: float) -> None:
    try:
        method, params = next(steps)
        while True:
            on_result = connection._hello_answered if method == "rpc.hello" else None
            try:
                answer = await connection.result(connection.open(method, params, on_result=on_result), timeout)
            except TalkwireError as error:
                method, params = steps.throw(error)
            else:
                method, params = steps.send(answer)
    except StopIteration:
        return


async def connect(
    target: str,
    *,
    serve: Any = None,
    start: Optional[Sequence[str]] = None,
    authkey: Optional[bytes] = None,
    timeout: float = 5.0,
    framing: str = "length",
    hello: bool = True,
    limits: Optional[Limits] = None,
) -> Client:
    """As `talkwire.connect`; what may block happens on another thread."""
    options = Options(authkey, timeout=timeout)
    wire = await asyncio.get_running_loop().run_in_executor(None, open_wire, target, options, start)
    connection = Connection(
        wire,
        connector=True,
        methods=method_table(serve) if serve is not None else {},
        contract=None,
        limits=limits or Limits(),
        framing=framing,
    )
    auth = None
    if authkey is not None:
        from .auth import ClientAuth

        auth = ClientAuth(authkey)
    try:
        if hello or auth is not None:
            await _shake_hands(connection, connection.handshake(_wanted(target), auth), timeout)
    except BaseException:
        connection.abort()
        raise
    return Client(connection)


class Service:
    """A running service; `async with`, or `await close()`."""

    def __init__(self, contract: str, handlers: Any, authkey: Optional[bytes], limits: Limits) -> None:
        self.contract = contract
        self.name = names.check_name(contract.partition("/")[0])
        self._methods = method_table(handlers)
        self._limits = limits
        self._authkey = authkey
        self._loop = asyncio.get_running_loop()
        self._connections: Set[Connection] = set()
        self._subscribers: Dict[str, Set[Session]] = {}
        self._listeners: List[Listener] = []
        self._claims: List[names.Claim] = []
        self._parting: Set["asyncio.Future[Any]"] = set()  # what connections that have ended still finish
        self._closing = False
        self._closed = asyncio.Event()

    @property
    def addresses(self) -> List[str]:
        return [listener.address for listener in self._listeners]

    def _listen(self, addresses: Sequence[str], options: Options, announce: bool) -> None:
        for address in addresses:
            listener = listen_on(address, options)
            self._listeners.append(listener)
        self._claims = announce_service(self.name, self.contract, self._listeners, announce)
        for listener in self._listeners:
            self._loop.add_reader(listener.fileno(), self._accept, listener)

    def _accept(self, listener: Listener) -> None:
        try:
            wire = listener.accept()
        except TalkwireError:
            return  # a peer that may not talk to us
        except OSError:
            _log(f"cannot accept at {listener.address}")
            self._loop.remove_reader(listener.fileno())
            self._loop.call_later(0.1, self._rearm, listener)
            return
        if wire is not None:
            self._adopt(wire, listener)

    def _rearm(self, listener: Listener) -> None:
        if not self._closing:
            self._loop.add_reader(listener.fileno(), self._accept, listener)

    def _adopt(self, wire: Wire, listener: Listener) -> None:
        if len(self._connections) >= self._limits.max_connections:
            return wire.close()
        auth = None
        if self._authkey is not None and listener.address != "stdio:":
            from .auth import ServerAuth

            auth = ServerAuth(self._authkey)
        connection = Connection(
            wire, on_end=self._gone, connector=False, methods=self._methods, contract=self.contract,
            limits=self._limits, auth=auth, subscribe=self._subscribe,
        )  # fmt: skip
        connection.ends_service = listener.address == "stdio:"
        self._connections.add(connection)

    def _gone(self, connection: Connection) -> None:
        self._connections.discard(connection)
        for task in connection._tasks:
            self._parting.add(task)
            task.add_done_callback(self._parting.discard)
        for event in connection.subscribed:
            self._subscribers.get(event, set()).discard(connection)
        if connection.ends_service and not self._closing:
            self._closer = self._loop.create_task(self.close())

    def _subscribe(self, session: Session, event: str, on: bool) -> None:
        held = self._subscribers.setdefault(event, set())
        held.add(session) if on else held.discard(session)
        if not held:
            del self._subscribers[event]

    def emit(self, event: str, payload: Any = None) -> None:
        """Sends an event to its subscribers; a slow one loses events and is told how many."""
        for session in list(self._subscribers.get(event, ())):
            session.publish(event, payload)

    def clients(self) -> List[Remote]:
        return [Remote(connection) for connection in self._connections]

    async def wait(self) -> None:
        """Until the service is closed."""
        await self._closed.wait()

    async def close(self, timeout: Optional[float] = None) -> None:
        """Takes no new calls, lets those in flight finish, ends."""
        if self._closing:
            await self._closed.wait()
            return
        self._closing = True
        self._stop_listening()
        await asyncio.gather(*(connection.close(timeout) for connection in list(self._connections)))
        others = self._parting - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=timeout)
        self._release()
        self._closed.set()

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            self._loop.remove_reader(listener.fileno())
            listener.close()

    def _release(self) -> None:
        for listener in self._listeners:
            listener.release()
        for claim in self._claims:
            claim.release()

    async def __aenter__(self) -> "Service":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


async def serve(
    contract: Union[str, Any],
    handlers: Any,
    *,
    listen: Union[str, Sequence[str], None] = None,
    authkey: Optional[bytes] = None,
    insecure: bool = False,
    announce: bool = False,
    limits: Optional[Limits] = None,
) -> Service:
    """As `talkwire.serve`, in the running event loop."""
    name = contract if isinstance(contract, str) else contract.name
    service = Service(name, handlers, authkey, limits or Limits())
    try:
        service._listen(addresses_to_listen(listen, service.name), Options(authkey, insecure), announce)
    except BaseException:
        service._stop_listening()
        service._release()
        raise
    return service
