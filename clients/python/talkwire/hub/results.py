"""What became of jobs: kept as state for a time, for whoever pushed them."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any, Dict, Generator, Iterator, Mapping, Optional

from ..client import Client
from ..errors import RAN, TalkwireError
from ..remote import left
from .base import timed_out, was_lost
from .values import milliseconds, read


class Results:
    def __init__(self, client: Client, queue: str, seconds: float) -> None:
        self._client = client
        self._prefix = f"results.{queue}."
        self._ttl = milliseconds("results", seconds, 0.001)

    def progress(self, id: str, value: Any) -> None:
        self._tell(id, {"state": "progress", "value": value})

    def done(self, id: str, value: Any) -> None:
        self._tell(id, {"state": "done", "value": value})

    def failed(self, id: str, reason: str) -> None:
        self._tell(id, {"state": "failed", "reason": reason})

    def result(self, id: str, timeout: Optional[float]) -> Any:
        with closing(self._changes(id, timeout)) as changes:
            for told in changes:
                if told["state"] == "done":
                    return told["value"]
        raise AssertionError("a watch has no end of its own")

    def follow(self, id: str) -> Iterator[Any]:
        for told in self._changes(id, None):
            if told["state"] == "done":
                return
            yield told["value"]

    def _tell(self, id: str, told: Dict[str, Any]) -> None:
        self._client.call("set", {"key": f"{self._prefix}{id}", "data": told, "ttl": self._ttl})

    def _changes(self, id: str, timeout: Optional[float]) -> Generator[Mapping[str, Any], None, None]:
        """What is told of it, now and later. Raises NOT_FOUND when it became a dead letter, DEADLINE_EXCEEDED."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                yield from self._watched(id, left(until))
            except TalkwireError as error:
                if error.code == "DEADLINE_EXCEEDED":
                    raise timed_out(f"the job {id} was not done", timeout) from None
                if not was_lost(error):
                    raise

    def _watched(self, id: str, timeout: Optional[float]) -> Generator[Mapping[str, Any], None, None]:
        key = f"{self._prefix}{id}"
        with self._client.stream("watch", {"prefix": key}, timeout=timeout) as watch:
            for change in watch:
                if change.get("key") != key or change.get("gone"):
                    continue
                told = read(change)
                if told["state"] == "failed":
                    raise TalkwireError(
                        "NOT_FOUND", f"the job {id} has no result, it became a dead letter: {told['reason']}", outcome=RAN
                    )
                yield told
