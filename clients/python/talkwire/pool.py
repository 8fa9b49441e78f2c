"""The threads of this process: started when needed, gone some seconds after they were."""

from __future__ import annotations

import queue
import signal
import threading
from typing import Any, Callable, Iterable

_IDLE = 5.0  # seconds that a thread waits for more work
MAX_WORKERS = 256  # handlers at the same time; more wait. Threads that read are never refused.



class Pool:
    """Runs tasks on threads. `submit` never blocks and never waits for a free thread below the limit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tasks: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
        self._idle = 0
        self._threads = 0
        self._users = 0
        self._mask: Iterable[int] = ()
        self._backlog = 0  # queued tasks that no idle thread was reserved for

    def enter(self) -> None:
        """A connection or listener begins to use the pool."""
        with self._lock:
            self._users += 1
            self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())

    def leave(self) -> None:
        """With the last user all idle threads end."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._wake_all()

    def _wake_all(self) -> None:
        for _ in range(self._idle):
            self._tasks.put(None)
        self._idle = 0

    @property
    def crowded(self) -> bool:
        return self._threads - self._idle >= MAX_WORKERS

    def submit(self, function: Callable[..., Any], *args: Any, urgent: bool = False) -> None:
        """Runs it on an idle thread, else a new one; beyond the limit it waits unless `urgent`."""
        with self._lock:
            if self._idle:
                self._idle -= 1
                start = False
            else:
                start = urgent or self._threads < MAX_WORKERS
                self._threads += start
                self._backlog += not start
        if start:
            threading.Thread(target=self._work, args=((function, args),), name="talkwire", daemon=True).start()
        else:
            self._tasks.put((function, args))

    def _work(self, task: Any) -> None:
        # The keeper, which starts threads, has signals blocked; what a handler starts would inherit that.
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        while task is not None:
            function, args = task
            try:
                function(*args)
            except BaseException:
                import logging

                logging.getLogger("talkwire").exception("a task of the pool failed")
            task = function = args = None
            task = self._wait()
        with self._lock:
            self._threads -= 1

    def _wait(self) -> Any:
        with self._lock:
            reserved = self._backlog > 0
            if reserved:
                self._backlog -= 1
            elif self._users == 0:
                return None
            else:
                self._idle += 1
        if reserved:
            return self._tasks.get()
        try:
            return self._tasks.get(timeout=_IDLE)
        except queue.Empty:
            pass
        with self._lock:
            if self._idle:
                self._idle -= 1
                return None
        return self._tasks.get()  # somebody counted on this thread: its task is on the way


_pool = Pool()


def pool() -> Pool:
    return _pool


def reset_after_fork() -> None:
    global _pool
    _pool = Pool()
