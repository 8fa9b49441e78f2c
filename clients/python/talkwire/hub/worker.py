"""Jobs one after the other, in threads of their own."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Optional, Tuple

from ..errors import TalkwireError
from .base import was_lost

if TYPE_CHECKING:
    from .queues import Job, Queue

LONGEST_BACKOFF = 60.0
LONGEST_REASON = 500
#: seconds that one question for a job waits: a close is not kept waiting for one that may never come
SLICE = 0.5


class Worker:
    """Works until it is closed. `closed.wait()` waits for that; `error` is what ended it otherwise."""

    def __init__(
        self,
        queue: "Queue",
        handler: Callable[["Job"], Any],
        on_error: Optional[Callable[[BaseException], None]],
        concurrency: int,
        pace: Optional["Pace"],
    ) -> None:
        self._queue = queue
        self._handler = handler
        self._on_error = on_error
        self._pace = pace
        self._closing = threading.Event()
        self.closed = threading.Event()
        self.error: Optional[BaseException] = None
        self._lock = threading.Lock()
        self._left = concurrency
        self._threads = [
            threading.Thread(target=self._run, name=f"worker of {queue.name}", daemon=True) for _ in range(concurrency)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """No job is begun after this; returns when those that were have ended."""
        self._closing.set()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        self._queue.base.forget(self)

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._take()
        except BaseException as error:
            self.error = self.error or error
            self._closing.set()
        finally:
            with self._lock:
                self._left -= 1
                if self._left == 0:
                    self.closed.set()

    def _take(self) -> None:
        try:
            jobs = self._queue.take(1, wait=SLICE)
        except TalkwireError as error:
            if was_lost(error):
                return  # the next question waits for another connection
            raise
        for job in jobs:
            self._attempt(job)

    def _attempt(self, job: "Job") -> None:
        over = threading.Event()
        keeping = threading.Thread(target=self._keep, args=(job, over), daemon=True)
        keeping.start()
        try:
            if self._pace is not None and not self._pace.turn(self._closing):
                job.nack()
            elif not job.lost.is_set():
                self._work(job)
        except Exception as error:
            self._tell(error)
        finally:
            over.set()
            keeping.join()

    def _work(self, job: "Job") -> None:
        """One try of one job, to its end: done, tried again, or dead."""
        try:
            value = self._handler(job)
        except Exception as error:
            if not job.settled:
                self._give_back(job, error)
            raise
        if not job.settled:
            job.done(value)

    def _give_back(self, job: "Job", error: Exception) -> None:
        if job.attempt >= self._queue.attempts:
            job.dead(str(error)[:LONGEST_REASON] or type(error).__name__)
        else:
            job.nack(min(LONGEST_BACKOFF, self._queue.backoff * 2 ** (job.attempt - 1)))

    def _tell(self, error: Exception) -> None:
        if self._on_error is not None:
            self._on_error(error)
        else:
            logging.getLogger("talkwire").error("a job of %s failed", self._queue.name, exc_info=error)

    def _keep(self, job: "Job", over: threading.Event) -> None:
        """Asks for more time before half of it is over, as long as the handler runs."""
        while not over.wait(self._queue.visibility / 2):
            try:
                job.extend(self._queue.visibility)
            except TalkwireError:
                if not job.settled:
                    job.lost.set()
                return

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Pace:
    """Turns are given evenly, once the first `jobs` are used up: no more than so many in so many seconds."""

    def __init__(self, rate: Tuple[int, float]) -> None:
        self._jobs, self._per = rate
        if not (self._jobs > 0 and self._per > 0):
            raise TypeError("a rate is (jobs, seconds): so many jobs in so many seconds")
        self._lock = threading.Lock()
        #: when the bucket would be full again, on time.monotonic()
        self._full = 0.0

    def turn(self, closing: threading.Event) -> bool:
        """Returns when it is our turn; False when nobody is to begin any more."""
        with self._lock:
            now = time.monotonic()
            self._full = max(self._full, now) + self._per / self._jobs
            wait = self._full - now - self._per
        return not closing.wait(max(0.0, wait))
