"""A session on a wire, with threads. Who reads, who writes, who waits.

**Reading** is a role that one thread holds at a time. A server's reader runs
short handlers itself: no hand-over, no latency. A thread that waits for an
answer takes the role if nobody has it, so a client's call reads its own
response. A handler that waits keeps reading, and what arrives meanwhile runs on
other threads. A handler that merely takes long loses the role: the keeper
notices within two ticks (5 to 10 ms) and another thread reads on.

**Writing** is a role too: one thread writes, others queue (bounded). Whoever
must wait for the peer to read gives up reading first.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from typing import Any, Callable, Deque, List, Optional, Tuple

from . import keeper as keeper_module
from .codec_json import dumps, ordinary, scan, suspicious, to_utf8
from .channel import ChannelSession
from .descriptor import close_received
from .errors import TalkwireError
from .pool import pool
from .framing import ENVELOPE, LENGTH, frame
from .methods import Method
from .session import INLINE, Incoming, Outgoing, Session
from .wire import Wire

_get_ident = threading.get_ident
_IDLE = 0.2  # seconds that a reader waits before it parks the connection
_REAP = 10.0  # seconds that closing waits for a child to end and for the last reader to let go
_BEATS = 4  # in an interval of the heartbeat
_FAREWELL = 1.0  # seconds that closing waits for the peer's $/close, and then for its end of stream

_FAILED = object()

_alive: "weakref.WeakSet[Connection]" = weakref.WeakSet()


class Signal:
    """What threads that do not read wait on."""

    __slots__ = ("_locks",)

    def __init__(self) -> None:
        self._locks: Deque[Any] = deque()

    def notify(self) -> None:
        locks = self._locks
        while locks:
            try:
                locks.popleft().release()
            except IndexError:
                return  # another thread notified at the same time

    def enlist(self) -> Any:
        """A held lock that the next `notify()` releases. The caller then looks once more before it waits."""
        lock = threading.Lock()
        lock.acquire()
        self._locks.append(lock)
        return lock


class Connection(ChannelSession):
    """See the module. `execute` runs one incoming call to its answer, `answer` gives it what its handler returned."""

    def __init__(
        self,
        wire: Wire,
        *,
        execute: Callable[[Incoming], None],
        answer: Callable[[Incoming, Any], None],
        on_end: Optional[Callable[["Connection"], None]] = None,
        **session: Any,
    ) -> None:
        super().__init__(wire=wire, **session)
        self.channel_signal = Signal()
        self._wire = wire
        self._handle = execute
        self._answer_value = answer
        self._on_end = on_end
        self._role = threading.Lock()
        self._reader = 0  # ident of the thread that reads, 0 for nobody
        self._nested = 0
        self._waiting = 0  # threads that wait for another one to read
        self._parked = False
        self._settled = False  # an answer arrived since the reader last looked
        self._half_closed = False  # the peer sends nothing more, but reads
        self._running = False  # the reader is inside a handler
        self._serial = 0
        self._is_watched = False
        self._out_lock = threading.Lock()
        self._out = threading.Condition(self._out_lock)  # for waiting; `with` the bare lock is much faster
        self._queue: Deque[Any] = deque()
        self._queued = 0
        self._writing = False
        self._flushing = 0  # threads in flush()
        self._aborted = False  # the wire has had its last word
        self._closed_fds = False
        self._gone = False
        self.ends_service = False  # the parent's wire: its end is the end of the service
        self._teardown_error: Optional[TalkwireError] = None
        self._ending = threading.RLock()  # held while every call is told of the end
        self._idle_signal = Signal()
        self._end_signal = Signal()
        self._events: Deque[Tuple[str, Any]] = deque()
        self._events_running = False
        self._heard = time.monotonic()
        self._beats = 0  # since the peer was asked for a sign of life
        self._keeper = keeper_module.enter()
        self._timer: Optional[keeper_module.Timer] = None
        _alive.add(self)
        if not self.connector:
            self._timer = self._keeper.at(self._heard + self.limits.handshake, self._check_handshake)
        if self.limits.heartbeat:
            self._keeper.at(self._heard + self.limits.heartbeat / 1000, self._beat)

    # -- the role of the reader

    def start(self) -> None:
        """Begins to listen to the peer, without a thread as long as it says nothing."""
        with self._role:
            self._park()

    def _park(self) -> None:
        """(role lock held) Lets the keeper wait for bytes."""
        self._reader = 0
        if self.ended is None:
            self._parked = True
            if self._wire.pending:
                self._unparked()
            else:
                self._keeper.arm(self._wire.fileno(), self._unparked)

    def _unparked(self) -> None:
        pool().submit(self._read_on, urgent=True)

    def _take(self) -> bool:
        """(role lock held) This thread reads, if nobody else does."""
        if self._reader or self._closed_fds or self._half_closed:
            return False
        self._reader = _get_ident()
        self._serial += 1
        self._parked = False  # a one-shot registration that fires now finds the role taken
        return True

    def _leave(self) -> None:
        """Gives the role up; whoever waits gets a new reader, else the keeper parks the connection soon."""
        with self._role:
            self._reader = 0
            urgent = self._waiting or self.decoder.pending or self.ended is not None
        if urgent:
            pool().submit(self._read_on, urgent=True)
        elif not self._is_watched:
            self._watch()

    def _step_aside(self) -> None:
        """This thread is about to block for something else than reading: another one reads on."""
        with self._role:
            if self._reader != _get_ident():
                return
            self._reader = 0
            self._running = False
        pool().submit(self._read_on, urgent=True)

    def _read_on(self) -> None:
        """A thread of the pool: reads until it loses the role or the connection is quiet."""
        with self._role:
            if not self._take():
                return
            self._nested = 1 if pool().crowded else 0
        me = _get_ident()
        try:
            while self._reader == me and self.ended is None:
                if not self._read_once(_IDLE):
                    if self._retire_reader(me):
                        break
                elif self._settled and not self.calls_out and not self.decoder.pending:
                    self._leave_to_callers(me)
        except Exception:
            if self.ended is None:
                self._lost("an unexpected error here")
                raise
        finally:
            self._after_reading(me)

    def _leave_to_callers(self, me: int) -> None:
        """A client that calls again at once reads its answer itself: that saves two switches."""
        self._settled = False
        if not self.connector:
            return
        with self._role:
            if self._reader == me and not self._waiting:
                self._reader = 0
        if not self._is_watched:
            self._watch()

    def _retire_reader(self, me: int) -> bool:
        with self._role:
            if self._reader == me and not self._waiting:
                self._park()
                return True
        return False

    def _after_reading(self, me: int) -> None:
        with self._role:
            if self._reader == me:
                self._reader = 0
        if self.ended is not None:
            self._close_fds()

    def _read_once(self, wait: float) -> bool:
        """(reader) Handles one payload, or receives once. False: nothing came within `wait` s."""
        try:
            payload = self.decoder.next()
            if payload is not None:
                self._receive_one(payload)
                return True
            count = self._wire.receive(self.decoder.get_buffer(), wait)
        except BlockingIOError:
            return False
        except TalkwireError as error:
            self._unreadable(error)
            return True
        except OSError as error:
            self._lost(f"the connection broke: {error.strerror or error}")
            return True
        if count == 0:
            self._peer_ended()
        else:
            self.decoder.received(count)
            if self.limits.heartbeat:
                self._heard, self._beats = time.monotonic(), 0
        return True

    def _receive_one(self, payload: memoryview) -> None:
        try:
            if not self._nested and self._serve_inline(payload):
                return
            self.receive(payload)
        except TalkwireError:
            if self.ended is None:
                raise
            # otherwise the peer went while it was being answered

    def _unreadable(self, error: TalkwireError) -> None:
        if self.ended is not None:
            return
        try:
            if not self.connector or self.full:
                self._reply_error(None, error, None)
        finally:
            self._break(error)

    def begin_idle(self) -> None:
        """(client, after the handshake) From now on somebody listens even when nobody calls."""
        if not self._is_watched:
            self._watch()

    # -- waiting

    def wait(self, ready: Callable[[], bool], signal: Signal, timeout: Optional[float] = None) -> bool:
        """Waits until `ready()`; what makes it true notifies `signal`. False: `timeout` s passed, or the end.

        Reads meanwhile if nobody else does.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        me = _get_ident()
        while not ready():
            if self.ended is not None:
                with self._ending:  # the end is known before every call has been told
                    return ready()
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                return False
            lock = None
            with self._role:
                mine = self._reader == me
                took = not mine and self._take()
                if not mine and not took:
                    lock = signal.enlist()
                    self._waiting += 1
                was_running, self._running = (self._running, False) if mine else (False, self._running)
            if lock is not None:
                self._wait_for_reader(ready, lock, remaining)
            elif took:
                self._read_as_caller(ready, deadline)
            else:
                self._read_nested(ready, deadline, was_running)
        return True

    def _wait_for_reader(self, ready: Callable[[], bool], lock: Any, remaining: Optional[float]) -> None:
        try:
            if not ready() and self.ended is None:
                lock.acquire(True, -1 if remaining is None else remaining)
        finally:
            with self._role:
                self._waiting -= 1

    def _read_as_caller(self, ready: Callable[[], bool], deadline: Optional[float]) -> None:
        self._nested = 1
        try:
            self._read_until(ready, deadline)
        finally:
            self._leave()

    def _read_nested(self, ready: Callable[[], bool], deadline: Optional[float], was_running: bool) -> None:
        self._nested += 1
        try:
            self._read_until(ready, deadline)
        finally:
            with self._role:
                if self._reader == _get_ident():
                    self._nested -= 1
                    self._running = was_running
                    self._serial += 1

    def _read_until(self, ready: Callable[[], bool], deadline: Optional[float]) -> None:
        # Looks up every _IDLE s: another thread may have made it ready, by cancelling a call.
        me = _get_ident()
        while not ready() and self._reader == me and self.ended is None:
            if deadline is not None:
                wait = deadline - time.monotonic()
                if wait <= 0:
                    return
                if not self.decoder.pending and not self._wire.wait_readable(wait):
                    continue
            self._read_once(_IDLE)

    # -- the keeper's questions

    def _watch(self) -> None:
        self._is_watched = True
        self._keeper.watch(self)

    def tick(self, seen: int) -> Tuple[int, bool]:
        """(keeper) -> (serial, busy). Gives a connection that nobody reads, or a slow handler, a new reader."""
        promote = False
        with self._role:
            serial = self._serial
            if self.ended is not None or self._half_closed:
                return serial, False
            if self._running and serial == seen:
                self._reader, self._running, promote = 0, False, True
            elif not self._reader and not self._parked:
                if self._waiting or self.decoder.pending:
                    promote = True
                elif serial == seen:
                    self._park()
            busy = self._running or promote
        if promote:
            pool().submit(self._read_on, urgent=True)
        return serial, busy

    def unwatch(self) -> bool:
        """(keeper) Stops the ticks unless there is something to watch after all."""
        self._is_watched = False
        if self._running or (not self._reader and not self._parked and self.ended is None):
            self._is_watched = True
            return False
        return True

    def _check_handshake(self) -> None:
        if not self.greeted:
            self._lost("the peer sent no whole message in time")

    def _beat(self) -> None:
        if self.ended is not None:
            return
        interval = self.limits.heartbeat / 1000
        if time.monotonic() - self._heard >= interval:
            # Beats are counted, for the clock also runs while this process stands still, and the answer lies unread.
            self._beats += 1
            if self._beats == 1 and self.full:
                self._notify("$/ping", "{}")
            elif self._beats > _BEATS:
                return self._lost("the peer is silent")
        self._keeper.at(time.monotonic() + interval / _BEATS, self._beat)

    # -- writing

    def _transmit(self, parts: List[Any], size: int, patient: bool) -> None:
        mine = False
        try:
            with self._out_lock:
                if self.ended is not None:
                    raise TalkwireError(self.ended.code, self.ended.text, outcome="not-sent")
                mine = not self._writing
                self._writing = True
            if not mine:
                return self._enqueue(parts, size, patient)
            try:
                rest = self._wire.send(parts)
            except OSError as error:
                raise self._write_failed(error) from error
            if not rest:
                with self._out_lock:
                    if not self._queue:
                        self._writing = False
                        if self._flushing:
                            self._out.notify_all()
                        return
            self._write_on(rest, patient)
        except Exception:
            raise
        except BaseException:
            if mine:
                self._interrupted()
            raise

    def _interrupted(self) -> None:
        """Ctrl-C while this thread wrote: how much of the message has left cannot be known, so nothing may follow it."""
        with self._out:
            self._writing = False
        self._lost("Ctrl-C came in the middle of a message")

    def _enqueue(self, parts: List[Any], size: int, patient: bool) -> None:
        owned = [b"".join(parts)] if len(parts) > 1 else parts
        limit = self.limits.max_queue
        if patient and self._queued + size > limit and self._queued:
            self._step_aside()
        with self._out:
            while patient and self._queued + size > limit and self._queued and self.ended is None:
                self._out.wait()
            if self.ended is not None:
                raise TalkwireError(self.ended.code, self.ended.text, outcome="not-sent")
            overflow = not patient and self._queued > limit
            if not overflow:
                if self._writing:
                    self._queue.append(owned)
                    self._queued += size
                    return
                self._writing = True
        if overflow:
            return self._lost("the peer does not read")
        self._write_on(owned, patient)

    def _write_on(self, rest: List[Any], patient: bool) -> None:
        """(writer) Writes `rest` and what is queued: here if `patient`, else on another thread."""
        if not patient:
            pool().submit(self._write_all, [b"".join(rest)], urgent=True)
            return
        self._write_all(rest)

    def _write_all(self, rest: List[Any]) -> None:
        try:
            while True:
                while rest:
                    if self.ended is not None and self._closed_fds:
                        return
                    rest = self._wire.send(rest)
                    if rest:
                        self._step_aside()
                        self._wire.wait_writable(None)
                with self._out:
                    if not self._queue:
                        self._writing = False
                        self._out.notify_all()
                        return
                    rest = self._queue.popleft()
                    self._queued -= sum(len(part) for part in rest)
                    self._out.notify_all()
        except (OSError, ValueError) as error:
            self._write_failed(error)
        except BaseException:
            self._interrupted()
            raise

    def _write_failed(self, error: Exception) -> TalkwireError:
        with self._out:
            self._writing = False
        self._lost("the peer has gone")
        reason = self.ended or TalkwireError("CONNECTION_LOST", str(error))
        return TalkwireError(reason.code, reason.text, outcome="not-sent")

    def _has_room(self) -> bool:
        return self._queued < self.limits.max_queue

    def flush(self, timeout: float) -> bool:
        """Waits until everything queued was given to the system."""
        with self._out:
            self._flushing += 1
            try:
                return self._out.wait_for(lambda: not self._writing or self.ended is not None, timeout)
            finally:
                self._flushing -= 1

    # -- the end

    def _lost(self, text: str) -> None:
        self._finish(TalkwireError("CONNECTION_LOST", text))

    def _break(self, error: TalkwireError) -> None:
        if self.ended is None:
            self.flush(0.2)
            self._wire.end_sending()
            self._finish(error)

    def _peer_ended(self) -> None:
        clean = not self.decoder.pending
        if clean and not self.full and self.busy and not self._wire.hung_up():
            # A plain peer may end its sending and still wait for answers (`printf … | socat`).
            return self._half_close()
        if clean and not self.busy:
            self.flush(_FAREWELL)
        if clean and (self.peer_closing or self.closing or not self.connector):
            self._finish(TalkwireError("CONNECTION_CLOSED", "the peer has closed the connection"))
        else:
            self._lost("the peer has gone" if clean else "the peer has gone in the middle of a message")

    def _half_close(self) -> None:
        with self._role:
            self._reader, self._half_closed = 0, True
        self.closing = True
        for call in list(self.calls_out.values()):
            self.settle(call, None, TalkwireError("CONNECTION_LOST", "the peer sends nothing more", outcome="maybe-ran"))
        pool().submit(self._finish_after_calls, urgent=True)

    def _finish_after_calls(self) -> None:
        lock = self._idle_signal.enlist()
        if self.busy:
            lock.acquire(True, self.limits.drain)
        self.flush(_FAREWELL)
        self._finish(TalkwireError("CONNECTION_CLOSED", "the peer has closed the connection"))

    def _finish(self, error: TalkwireError) -> None:
        """Settles everything; the descriptors are closed by the last thread that uses them."""
        with self.lock:
            if self._teardown_error is not None:
                return
            self._teardown_error = error
        with self._ending:
            self.end(error)
        self._wire.abort()
        self._aborted = True
        with self._out:
            self._out.notify_all()
        self._idle_signal.notify()
        self._end_signal.notify()
        if self._timer is not None:
            self._timer.cancel()
        with self._role:
            idle = self._reader == 0
        if idle and self._wire.on_close is None:
            self._close_fds()
        elif idle:
            pool().submit(self._close_fds, urgent=True)  # waits for a child to end
        if self._on_end is not None:
            self._on_end(self)

    def _close_fds(self) -> None:
        with self._role:
            # A handler that took long may come back between the end and the wire's last word, which it would cut off.
            if not self._aborted or self._closed_fds or (self._reader and self._reader != _get_ident()):
                return
            self._closed_fds = True
        self._keeper.disarm(self._wire.fileno())
        self._wire.close()
        keeper_module.leave()
        self._gone = True
        self._end_signal.notify()

    def close(self, timeout: Optional[float] = None) -> None:
        """Drains: calls in flight finish (up to `limits.drain` s), what was sent arrives. Blocks. Never raises."""
        if self.ended is not None:
            return self._wait_closed()
        limit = self.limits.drain if timeout is None else timeout
        first, self.closing = not self.closing, True
        with self.greeting:
            tells = first and self.full
        if tells:
            try:
                self._notify("$/close", "{}")
            except TalkwireError:
                return self._wait_closed()  # it has just ended: nothing is left to drain
        if not self.peer_closing:
            self.stop_streams()
        self.wait(lambda: not self.busy and not self.calls_out, self._idle_signal, limit)
        self.flush(limit)
        if self.full:
            # What left the peer before it knew is still to be refused: an end that overtakes that leaves it guessing.
            self.wait(lambda: self.peer_closing, self._end_signal, _FAREWELL)
            self.flush(limit)
        self._wire.end_sending()
        self.wait(lambda: self.ended is not None, self._end_signal, _FAREWELL)
        self._finish(TalkwireError("CONNECTION_CLOSED", "the connection is closed"))
        self._wait_closed()

    def _wait_closed(self) -> None:
        deadline = time.monotonic() + _REAP
        while True:
            # It is also released when the connection has ended and its child has not: look again.
            lock = self._end_signal.enlist()
            left = deadline - time.monotonic()
            if self._gone or self._reader == _get_ident() or left <= 0:
                return
            lock.acquire(True, left)

    def abort(self) -> None:
        """Ends now; what was not sent is dropped."""
        self._finish(TalkwireError("CONNECTION_CLOSED", "the connection was aborted"))

    def _channel_taken(self) -> None:
        self.channel_signal.notify()

    def forget_after_fork(self) -> None:
        self._ending = threading.RLock()
        self.ended = self._teardown_error = TalkwireError(
            "CONNECTION_LOST", "the connection belongs to the process that forked this one"
        )

    def settle(self, call: Outgoing, value: Any, error: Optional[TalkwireError]) -> None:
        self._settled = True
        super().settle(call, value, error)

    def _idle(self) -> None:
        self._idle_signal.notify()

    def _peer_wants_to_close(self) -> None:
        self._end_signal.notify()
        pool().submit(self.close, urgent=True)

    # -- running things

    def _serve_inline(self, payload: memoryview) -> bool:
        """The short way for the most frequent message, a unary call of plain values; False: take the long way.

        It says nothing that the long way would not say; it only touches less.
        """
        try:
            if payload[0] == ENVELOPE:
                return False  # as text it would fail too, with an error that holds a copy of all its megabytes
            text = str(payload, "utf-8")
            message, end = scan(text, 0)
        except (ValueError, IndexError, StopIteration, RecursionError):
            return False
        if end != len(text) or type(message) is not dict or "meta" in message or suspicious(text, 64):
            return False
        id, name, params = message.get("id"), message.get("method"), message.get("params")
        if type(id) is not int or type(name) is not str or type(params) is not list or id < 1 or id in self.calls_in:
            return False
        method = self.methods.get(name)
        if method is None or not method.simple or not method.least <= len(params) <= method.most:
            return False
        if not self._may_serve_inline or message.get("jsonrpc") != "2.0" or self.closing:
            return False
        self._run_inline(id, method, params)
        return True

    @property
    def _may_serve_inline(self) -> bool:
        limits = self.limits
        return self.greeted and self._auth is None and limits.max_depth >= 64 and len(self.calls_in) < limits.max_calls

    def _run_inline(self, id: int, method: Method, params: List[Any]) -> None:
        me = _get_ident()
        self.calls_in[id] = INLINE
        self._serial += 1
        self._running = True
        if not self._is_watched:
            self._watch()
        try:
            value = method.function(*params)
        except BaseException as error:  # SystemExit too: the caller must be told
            self._begin_answer(id, method).fail(error)
            value = _FAILED
        with self._role:
            mine = self._reader == me
            if mine:
                self._running = False
        if value is _FAILED:
            return
        if not mine or not ordinary(value, 64):
            call = self._begin_answer(id, method)
            if hasattr(value, "__next__"):
                pool().submit(self._answer_value, call, value)  # a stream takes its time
            else:
                self._answer_value(call, value)
            return
        data = to_utf8(f'{{"jsonrpc":"2.0","id":{id},"result":{dumps(value)}}}')
        if len(data) > self._peer_max:
            self._begin_answer(id, method).respond(value)
            return
        self._transmit([frame(self.decoder.framing or LENGTH, data)], len(data), True)
        self.calls_in.pop(id, None)
        if self.closing and not self.busy:
            self._idle()

    def _begin_answer(self, id: int, method: Method) -> Incoming:
        """Leaves the short way: from here on it is a call like any other."""
        call = self.calls_in[id] = Incoming(self, id, method, None)
        return call

    def _execute(self, call: Incoming) -> None:
        me = _get_ident()
        if self._nested or call.method.streams or self._reader != me:
            pool().submit(self._handle, call)
            return
        self._serial += 1
        self._running = True
        if not self._is_watched:
            self._watch()
        self._handle(call)
        with self._role:
            if self._reader == me:
                self._running = False

    def _run_callback(self, function: Callable[[Any], Any], value: Any) -> None:
        self._queue_event(function, value)

    def _deliver(self, event: str, payload: Any) -> None:
        self._queue_event(event, payload)

    def _queue_event(self, target: Any, payload: Any) -> None:
        """Events and progress reach user code in order, one at a time, never on the reader."""
        with self.lock:
            if len(self._events) >= self.limits.max_events:
                lost, dropped = self._events.popleft()
                close_received(dropped)
                for listener in self.listeners.get(lost, []) if isinstance(lost, str) else []:
                    listener.lost += 1
            self._events.append((target, payload))
            start, self._events_running = not self._events_running, True
        if start:
            pool().submit(self._run_events)

    def _run_events(self) -> None:
        while True:
            with self.lock:
                if not self._events:
                    self._events_running = False
                    return
                target, payload = self._events.popleft()
            targets = [s.function for s in self.listeners.get(target, [])] if isinstance(target, str) else [target]
            for function in targets:
                try:
                    function(payload)
                except Exception:
                    import logging

                    logging.getLogger("talkwire").exception("an event handler failed")
            if self.descriptors is not None:
                close_received(payload)

    def _new_lock(self) -> Any:
        return threading.Lock()

    def _new_signal(self) -> Signal:
        return Signal()

    # -- calling

    def result(self, call: Outgoing, timeout: Optional[float] = None) -> Any:
        """The call's result, or raises its error. Cancels it after `timeout` s, and when interrupted."""
        if not call.done:
            try:
                self.wait(lambda: call.done, call.signal, timeout)
            except BaseException:
                self.cancel(call)
                raise
            if not call.done:
                self.cancel(call, TalkwireError("DEADLINE_EXCEEDED", f"{call.method} took longer than {timeout} s"))
        if call.error is not None:
            raise call.error
        return call.value

    def cancel_later(self, call: Outgoing) -> None:
        """As `cancel`, safe in `__del__`."""
        self._keeper.call_soon(lambda: self.cancel(call, TalkwireError("STREAM_CLOSED", "the stream was dropped")))

    def _call_reference(self, method: str, params: List[Any]) -> Any:
        return self.result(self.open(method, params))

    def _release_reference(self, number: int, count: int) -> None:
        self._keeper.call_soon(lambda: self._send_release(number, count))

    def _send_release(self, number: int, count: int) -> None:
        if self.ended is None and self.full:
            try:
                self._notify("$/release", f'{{"refs":[[{number},{count}]]}}')
            except TalkwireError:
                pass  # the connection has just ended: everything is released


def _forget_all() -> None:
    for connection in list(_alive):
        connection.forget_after_fork()


keeper_module._after_fork.add(_forget_all)
