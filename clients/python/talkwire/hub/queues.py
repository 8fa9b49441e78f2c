"""Work queues: each job to one consumer, at least once."""

from __future__ import annotations

import threading
from datetime import datetime, timezone
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ..client import Client
from ..errors import TalkwireError
from .base import Base
from .results import Results
from .values import milliseconds, read, written
from .worker import Pace, Worker

#: seconds that one question for jobs waits at the hub
WAIT = 20.0


class Job:
    """A job in the hands of its consumer, until `ack`, `nack` or `dead`, or until its time is over."""

    def __init__(self, client: Client, queue: str, kept: Optional[Results], told: Mapping[str, Any]) -> None:
        self._client = client
        self._queue = queue
        self._kept = kept
        self._receipt = told["receipt"]
        self.id: str = told["id"]
        self.data = read(told)
        self.headers: Mapping[str, str] = told["headers"]
        #: 1 the first time
        self.attempt: int = told["attempt"]
        self.time = datetime.fromtimestamp(told["time"] / 1000, timezone.utc)
        #: set when it is not ours any more, because it could not be kept: what is done after that may be done twice
        self.lost = threading.Event()
        #: acknowledged, given back or dead, here
        self.settled = False

    def ack(self) -> None:
        """Done: it is never handed out again. Raises NOT_FOUND when it is somebody else's by now."""
        self._settle("ack")

    def done(self, value: Any) -> None:
        """As `ack`, with a result for whoever pushed it, where the queue keeps results."""
        if self._kept is not None:
            self._kept.done(self.id, value)
        self.ack()

    def nack(self, delay: float = 0.0) -> None:
        """Back into the queue, in so many seconds."""
        self._settle("nack", delay=milliseconds("delay", delay))

    def dead(self, reason: str) -> None:
        """Among the dead letters, not to be tried again."""
        self._settle("dead", reason=reason)
        if self._kept is not None:
            self._kept.failed(self.id, reason)

    def progress(self, value: Any) -> None:
        """For whoever follows the job, where the queue keeps results."""
        if self._kept is not None:
            self._kept.progress(self.id, value)

    def extend(self, seconds: float) -> None:
        """So many seconds more, from now on."""
        self._ask("extend", milliseconds=milliseconds("seconds", seconds))

    def _settle(self, method: str, **more: Any) -> None:
        self._ask(method, **more)
        self.settled = True

    def _ask(self, method: str, **more: Any) -> None:
        done = self._client.call(method, {"queue": self._queue, "receipt": self._receipt, **more})
        if done is False:
            raise TalkwireError("NOT_FOUND", f"the job {self.id} is somebody else's by now, or done")


class Queue:
    def __init__(
        self,
        base: Base,
        name: str,
        visibility: float,
        attempts: int,
        dedupe: float,
        backoff: float,
        results: Optional[float],
    ) -> None:
        self.base = base
        self._client = base.client
        self._kept = None if results is None else Results(base.client, name, results)
        self.name = name
        self.visibility = visibility
        self.attempts = attempts
        self.backoff = backoff
        self._settings = {
            "queue": name,
            "visibility": milliseconds("visibility", visibility),
            "attempts": attempts,
            "dedupe": milliseconds("dedupe", dedupe),
        }
        self._declared = False

    def push(
        self,
        data: Any,
        delay: float = 0.0,
        priority: int = 0,
        key: Optional[str] = None,
        headers: Optional[Mapping[str, str]] = None,
    ) -> str:
        """Returns the job's id when it is on disk. `delay`: seconds until it may be handed out. `priority`: 0 is ordinary,
        9 soonest. `key`: not pushed again when one with this key was lately; the first one's id is returned."""
        return self.push_all([data], delay, priority, key, headers)[0]

    def push_all(
        self,
        values: Sequence[Any],
        delay: float = 0.0,
        priority: int = 0,
        key: Optional[str] = None,
        headers: Optional[Mapping[str, str]] = None,
    ) -> List[str]:
        """As `push`, for many at once."""
        options: Dict[str, Any] = {"delay": milliseconds("delay", delay), "priority": priority}
        if key is not None:
            options["key"] = key
        if headers:
            options["headers"] = dict(headers)
        ids: List[str] = self._ask("push", jobs=[{**written(data), **options} for data in values])["ids"]
        return ids

    def take(self, most: int = 1, wait: float = WAIT) -> List[Job]:
        """Up to so many jobs, the first of which is waited for, so many seconds; none after that. Each is to be settled."""
        told = self._ask("take", max=most, wait=milliseconds("wait", wait))
        return [Job(self._client, self.name, self._kept, each) for each in told]

    def consume(
        self,
        handler: Callable[[Job], Any],
        on_error: Optional[Callable[[BaseException], None]] = None,
        concurrency: int = 1,
        rate: Optional[Tuple[int, float]] = None,
    ) -> Worker:
        """Works on `concurrency` threads: when the handler returns, the job is done and what it returned is its result; what it
        raises has it tried again, after a pause, and after `attempts` tries it is a dead letter. `rate`: no more than so many
        jobs are begun in so many seconds, `(10, 1.0)`."""
        if concurrency < 1:
            raise TypeError("concurrency is a whole number above 0")
        pace = None if rate is None else Pace(rate)
        self._declare()
        worker = Worker(self, handler, on_error, concurrency, pace)
        self.base.keep(worker)
        return worker

    def result(self, id: str, timeout: Optional[float] = None) -> Any:
        """What the handler returned; waits for it. Raises NOT_FOUND when the job became a dead letter, DEADLINE_EXCEEDED."""
        return self._results().result(id, timeout)

    def follow(self, id: str) -> Iterator[Any]:
        """What the handler reports with `job.progress`, until the job ends."""
        return self._results().follow(id)

    def _results(self) -> Results:
        if self._kept is None:
            raise TypeError(f'the queue "{self.name}" keeps no results; open it with results=seconds')
        return self._kept

    def counts(self) -> Dict[str, int]:
        """ready, delayed, taken, dead."""
        counts: Dict[str, int] = self._ask("counts")
        return counts

    def purge(self) -> int:
        """Removes what waits; returns how many."""
        jobs: int = self._ask("purge")["jobs"]
        return jobs

    def dead_letters(self, limit: int = 100) -> List[Dict[str, Any]]:
        """The oldest first: id, reason, attempts, headers, data."""
        told = self._ask("deadLetters", limit=limit)
        keys = ("id", "reason", "attempts", "headers")
        return [{**{key: each[key] for key in keys}, "data": read(each)} for each in told]

    def revive(self, ids: Sequence[str]) -> int:
        """Back into the queue, with all tries; returns how many."""
        jobs: int = self._ask("revive", ids=list(ids))["jobs"]
        return jobs

    def _declare(self) -> None:
        if not self._declared:
            self._client.call("queue", self._settings, idempotent=True)
            self._declared = True

    def _ask(self, method: str, **more: Any) -> Any:
        self._declare()
        return self._client.call(method, {"queue": self.name, **more})
