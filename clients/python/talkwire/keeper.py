"""One thread a process that sleeps in epoll: it watches what nobody reads at the moment.

- a quiet connection is parked here; when bytes arrive, a thread of the pool reads on
- listeners: it accepts
- while there is activity it looks every 5 ms for handlers that run long and for
  connections that nobody reads, and gives those a new reader
- timers: handshakes, heartbeats
"""

from __future__ import annotations

import heapq
import itertools
import os
import queue
import select
import signal
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

from .pool import pool

TICK = 0.005
_QUIET_TICKS = 8


class Timer:
    __slots__ = ("when", "function")

    def __init__(self, when: float, function: Optional[Callable[[], None]]) -> None:
        self.when, self.function = when, function

    def cancel(self) -> None:
        self.function = None


class Keeper:
    """See the module. Every method may be called by any thread and never blocks."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._epoll.register(self._wake_read, select.EPOLLIN)
        self._handlers: Dict[int, Callable[[], None]] = {}
        self._watched: Dict[Any, Tuple[int, int]] = {}  # connection -> (serial, quiet ticks)
        self._new: "queue.SimpleQueue[Callable[[], None]]" = queue.SimpleQueue()
        self._timers: List[Tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._users = 0
        self._lock = threading.Lock()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="talkwire-keeper", daemon=True)
        # The kernel hands a signal to whichever thread runs, and Python's handler waits for the main thread, which then
        # sleeps on: Ctrl-C would be lost. This thread is handed none.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    # -- from other threads

    def call_soon(self, function: Callable[[], None]) -> None:
        """Runs it on the keeper's thread. Safe in `__del__`."""
        self._new.put(function)
        try:
            os.write(self._wake_write, b"w")
        except (BlockingIOError, OSError):
            pass  # full: it will wake anyway; closed: it has ended

    def watch(self, connection: Any) -> None:
        """Looks at `connection.tick(serial)` every 5 ms until it has been quiet for a while."""
        self.call_soon(lambda: self._watched.setdefault(connection, (-1, 0)))  # type: ignore[arg-type]

    def at(self, when: float, function: Callable[[], None]) -> Timer:
        """Runs `function` on the keeper's thread at a `time.monotonic()`."""
        timer = Timer(when, function)
        self.call_soon(lambda: heapq.heappush(self._timers, (when, next(self._order), timer)))
        return timer

    def arm(self, fd: int, ready: Callable[[], None]) -> None:
        """Calls `ready` once when `fd` is readable or hung up."""
        with self._lock:
            known = fd in self._handlers
            self._handlers[fd] = ready
            flags = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLONESHOT
            if known:
                self._epoll.modify(fd, flags)
            else:
                self._epoll.register(fd, flags)

    def disarm(self, fd: int) -> None:
        """No more calls for this descriptor; before it is closed."""
        with self._lock:
            if self._handlers.pop(fd, None) is not None:
                self._epoll.unregister(fd)

    # -- the thread

    def _run(self) -> None:
        while not self._stopped:
            for fd, _ in self._epoll.poll(self._timeout()):
                self._dispatch(fd)
            self._run_new()
            self._run_timers()
            if self._watched:
                self._guard(self._tick)
        self._epoll.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _timeout(self) -> Optional[float]:
        if self._watched:
            return TICK
        if self._timers:
            return max(0.0, self._timers[0][0] - time.monotonic())
        return None

    def _dispatch(self, fd: int) -> None:
        if fd == self._wake_read:
            try:
                os.read(fd, 4096)
            except BlockingIOError:
                pass
            return
        with self._lock:
            ready = self._handlers.get(fd)
        if ready is not None:
            self._guard(ready)

    def _guard(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception:
            import logging

            logging.getLogger("talkwire").exception("unexpected error in the keeper")

    def _run_new(self) -> None:
        while not self._new.empty():
            self._guard(self._new.get())

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            if timer.function is not None:
                self._guard(timer.function)

    def _tick(self) -> None:
        for connection, (seen, quiet) in list(self._watched.items()):
            serial, busy = connection.tick(seen)
            quiet = 0 if busy or serial != seen else quiet + 1
            if quiet < _QUIET_TICKS or not connection.unwatch():
                self._watched[connection] = (serial, quiet)
            else:
                del self._watched[connection]

    def _stop(self) -> None:
        self._stopped = True


_keeper: Optional[Keeper] = None
_users = 0
_lock = threading.Lock()


def enter() -> Keeper:
    """The keeper, for one more user; it starts with the first."""
    global _keeper, _users
    with _lock:
        if _keeper is None:
            _keeper = Keeper()
        _users += 1
        pool().enter()
        return _keeper


def leave() -> None:
    """One user less; with the last the threads end."""
    global _keeper, _users
    with _lock:
        _users -= 1
        pool().leave()
        if _users == 0 and _keeper is not None:
            keeper, _keeper = _keeper, None
            keeper.call_soon(keeper._stop)


_after_fork: Set[Callable[[], None]] = set()


def _reset_after_fork() -> None:
    # Threads do not survive a fork: the child starts afresh and must not touch its parent's wires.
    global _keeper, _users, _lock
    from . import pool as pool_module

    _keeper, _users, _lock = None, 0, threading.Lock()
    pool_module.reset_after_fork()
    for function in list(_after_fork):
        function()


os.register_at_fork(after_in_child=_reset_after_fork)
