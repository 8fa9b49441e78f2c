"""A session on a wire in an event loop."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import deque
from contextlib import suppress
from typing import Any, Callable, Deque, List, Optional, Set

from ..channel import ChannelSession
from ..descriptor import close_received
from ..errors import TalkwireError
from ..session import Incoming, Outgoing
from ..wire import Wire

_BUDGET = 64  # payloads handled before the loop gets its turn
_BEATS = 4  # in an interval of the heartbeat
_FAREWELL = 1.0  # seconds that closing waits for the peer's $/close, and then for its end of stream


class Signal:
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


class Connection(ChannelSession):
    """A session on a wire in an event loop."""

    def __init__(
        self,
        wire: Wire,
        *,
        execute: Callable[["Connection", Incoming], None],
        on_end: Optional[Callable[["Connection"], None]] = None,
        **session: Any,
    ) -> None:
        super().__init__(wire=wire, **session)
        self.loop = asyncio.get_running_loop()
        self._wire = wire
        self._handle = execute
        self._on_end = on_end
        self._queue: Deque[List[Any]] = deque()
        self._queued = 0
        self._reading = True
        self._half_closed = False
        self._tasks: Set["asyncio.Future[Any]"] = set()
        self._changed = Signal()  # the queue, the calls in flight, or the end
        self._heard = time.monotonic()
        self._beats = 0  # since the peer was asked for a sign of life
        self._timers: List[asyncio.TimerHandle] = []
        self.ends_service = False
        wire.prepare_for_loop()
        self.loop.add_reader(wire.fileno(), self._readable)
        self.loop.call_soon(self._read_pending)
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
        except TalkwireError as error:
            return self._break(error)
        except OSError as error:
            return self._lost(f"the connection broke: {error.strerror or error}")
        if count == 0:
            return self._peer_ended()
        self._heard, self._beats = time.monotonic(), 0
        self.decoder.received(count)
        self._handle_received()
        if self._reading and self._wire.pending:
            self.loop.call_soon(self._read_pending)

    def _read_pending(self) -> None:
        if self._reading and self.ended is None and self._wire.pending:
            self._readable()

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
            self.loop.call_soon(self._read_pending)

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
            self._wire.add_writer(self.loop, self._writable)

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
            self._wire.remove_writer(self.loop)
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
            self._wire.remove_writer(self.loop)
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
            with suppress(TalkwireError):  # it may have just ended: nothing is left to drain
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
        if time.monotonic() - self._heard >= interval:
            # Beats are counted, for the clock also runs while this process stands still, and the answer lies unread.
            self._beats += 1
            if self._beats == 1 and self.full:
                self._notify("$/ping", "{}")
            elif self._beats > _BEATS:
                return self._lost("the peer is silent")
        self._timers = [self.loop.call_later(interval / _BEATS, self._beat)]

    def _channel_taken(self) -> None:
        self._changed.notify()

    async def channel_taken(self, timeout: float) -> bool:
        """Whether the service has the channel, within so many seconds."""
        return await self._until(lambda: self.channel_ready, timeout) and self.channel_ready

    # -- running

    def _spawn(self, work: Any) -> "asyncio.Task[Any]":
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _execute(self, call: Incoming) -> None:
        self._handle(self, call)

    def _cancelled(self, call: Incoming) -> None:
        if call.task is not None:
            call.task.cancel()

    def is_cancellation(self, error: BaseException) -> bool:
        return isinstance(error, asyncio.CancelledError)

    def _deliver(self, event: str, payload: Any) -> None:
        self._run_all([listener.function for listener in self.listeners.get(event, [])], payload)

    def _run_callback(self, function: Callable[[Any], Any], value: Any) -> None:
        self._run_all([function], value)

    def _run_all(self, functions: List[Callable[[Any], Any]], value: Any) -> None:
        """Descriptors that came with it are closed when all are done."""
        running = []
        for function in functions:
            try:
                result = function(value)
                if inspect.isawaitable(result):
                    running.append(self._spawn(_guarded(result)))
            except Exception:
                log_failure("an event handler failed")
        if self.descriptors is None:
            return
        if running:
            self._spawn(_close_after(running, value))
        else:
            close_received(value)

    def _new_lock(self) -> Any:
        return _NoLock()

    def _new_signal(self) -> Signal:
        return Signal()

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
            close_received(call.value)  # it may have been answered in the same turn
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


def log_failure(text: str) -> None:
    import logging

    logging.getLogger("talkwire").exception(text)


async def _close_after(running: List["asyncio.Task[Any]"], value: Any) -> None:
    await asyncio.wait(running)
    close_received(value)


async def _guarded(work: Any) -> None:
    try:
        await work
    except Exception:
        log_failure("an event handler failed")
