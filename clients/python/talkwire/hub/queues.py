"""Work queues: each job to one consumer, at least once."""

from __future__ import annotations

import threading
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from ..client import Client
from ..errors import TalkwireError
from .values import milliseconds, read, written

#: seconds that one question for jobs waits at the hub
WAIT = 20.0
LONGEST_BACKOFF = 60.0


class Job:
    """A job in the hands of its consumer, until `ack`, `nack` or `dead`, or until its time is over."""

    def __init__(self, client: Client, queue: str, told: Mapping[str, Any]) -> None:
        self._client = client
        self._queue = queue
        self._receipt = told["receipt"]
        self.id: str = told["id"]
        self.data = read(told)
        self.headers: Mapping[str, str] = told["headers"]
        #: 1 the first time
        self.attempt: int = told["attempt"]

    def ack(self) -> None:
        """Done: it is never handed out again. Raises NOT_FOUND when it is somebody else's by now."""
        self._ask("ack")

    def nack(self, delay: float = 0.0) -> None:
        """Back into the queue, in so many seconds."""
        self._ask("nack", delay=milliseconds("delay", delay))

    def dead(self, reason: str) -> None:
        """Among the dead letters."""
        self._ask("dead", reason=reason)

    def extend(self, seconds: float) -> None:
        """So many seconds more, from now on."""
        self._ask("extend", milliseconds=milliseconds("seconds", seconds))

    def _ask(self, method: str, **more: Any) -> None:
        done = self._client.call(method, {"queue": self._queue, "receipt": self._receipt, **more})
        if done is False:
            raise TalkwireError("NOT_FOUND", f"the job {self.id} is somebody else's by now, or done")


class Worker:
    """Works until it is closed. `closed.wait()` waits for that; `error` is what ended it otherwise."""

    def __init__(self, queue: "Queue", handler: Callable[[Job], Any], on_error: Optional[Callable[[BaseException], None]]) -> None:
        self._queue = queue
        self._handler = handler
        self._on_error = on_error
        self._closing = threading.Event()
        self.closed = threading.Event()
        self.error: Optional[BaseException] = None
        self._thread = threading.Thread(target=self._run, name=f"worker of {queue.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """No job is begun after this; returns when the one that was has ended."""
        self._closing.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                # In slices: a close is not kept waiting for a job that may never come.
                for job in self._queue.take(1, wait=0.5):
                    self._work(job)
        except BaseException as error:
            self.error = error
        finally:
            self.closed.set()

    def _work(self, job: Job) -> None:
        over = threading.Event()
        keeping = threading.Thread(target=self._keep, args=(job, over), daemon=True)
        keeping.start()
        try:
            self._handler(job)
        except Exception as error:
            self._settle(job, error)
            if self._on_error is not None:
                self._on_error(error)
        else:
            job.ack()
        finally:
            over.set()
            keeping.join()

    def _settle(self, job: Job, error: Exception) -> None:
        if job.attempt >= self._queue.attempts:
            job.dead(str(error)[:500] or type(error).__name__)
        else:
            job.nack(min(LONGEST_BACKOFF, self._queue.backoff * 2 ** (job.attempt - 1)))

    def _keep(self, job: Job, over: threading.Event) -> None:
        """Asks for more time before half of it is over, as long as the handler runs."""
        while not over.wait(self._queue.visibility / 2):
            try:
                job.extend(self._queue.visibility)
            except TalkwireError:
                return

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Queue:
    def __init__(
        self, client: Client, name: str, visibility: float, attempts: int, dedupe: float, backoff: float
    ) -> None:
        self._client = client
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
        job: Dict[str, Any] = {**written(data), "delay": milliseconds("delay", delay), "priority": priority}
        if key is not None:
            job["key"] = key
        if headers:
            job["headers"] = dict(headers)
        ids: List[str] = self._ask("push", jobs=[job])["ids"]
        return ids[0]

    def take(self, most: int = 1, wait: float = WAIT) -> List[Job]:
        """Up to so many jobs, the first of which is waited for, so many seconds; none after that. Each is to be settled."""
        told = self._ask("take", max=most, wait=milliseconds("wait", wait))
        return [Job(self._client, self.name, each) for each in told]

    def consume(
        self, handler: Callable[[Job], Any], on_error: Optional[Callable[[BaseException], None]] = None
    ) -> Worker:
        """Works on a thread of its own: when the handler returns, the job is done; what it raises has it tried again, after a
        pause, and after `attempts` tries it is a dead letter."""
        self._declare()
        return Worker(self, handler, on_error)

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
