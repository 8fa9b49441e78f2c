"""Locks for a time, with a token that tells later holders from earlier ones; and counters."""

from __future__ import annotations

import threading
import time
import uuid
from typing import Any, Dict, Optional

from ..client import Client
from ..errors import TalkwireError
from .values import milliseconds

#: seconds that one question waits at the hub
WAIT = 3600.0


class Grant:
    """What a holder has. Renewed on a thread of its own until it is released; or use `with`."""

    def __init__(self, client: Client, name: str, token: int, ttl: float, since: float) -> None:
        self._client = client
        self._name = name
        #: larger than that of every holder before
        self.token = token
        #: set when it is lost: not renewed in time, or somebody else's
        self.lost = threading.Event()
        self._ttl = ttl
        self._until = since + ttl
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease {name}", daemon=True)
        self._thread.start()

    def release(self) -> bool:
        """False: it was lost before."""
        if self._released.is_set():
            return False
        self._released.set()
        self._thread.join()
        if self.lost.is_set():
            return False
        return bool(self._client.call("release", {"name": self._name, "token": self.token}))

    def _keep(self) -> None:
        while True:
            left = self._until - time.monotonic()
            if self._released.wait(max(0.0, min(self._ttl / 3, left))):
                return
            began = time.monotonic()
            # Stopped for long: others may hold it by now, whatever the hub would answer.
            if began >= self._until:
                return self.lost.set()
            try:
                wish = {"name": self._name, "token": self.token, "ttl": milliseconds("ttl", self._ttl)}
                ours = self._client.call("renew", wish, timeout=self._until - began)
            except TalkwireError:
                continue
            if not ours:
                return self.lost.set()
            self._until = began + self._ttl

    def __enter__(self) -> "Grant":
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


class Lease:
    def __init__(self, client: Client, name: str, ttl: float, permits: int, label: str) -> None:
        self._client = client
        self._name = name
        self._ttl = ttl
        self._permits = permits
        self._label = label

    def acquire(self, timeout: Optional[float] = None) -> Grant:
        """Waits until it is granted. Raises DEADLINE_EXCEEDED after `timeout` s."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            left = WAIT if until is None else min(WAIT, max(0.0, until - time.monotonic()))
            grant = self._ask(left)
            if grant is not None:
                return grant
            if until is not None and time.monotonic() >= until:
                raise TalkwireError("DEADLINE_EXCEEDED", f'the lease "{self._name}" was not free within {timeout} s')

    def try_acquire(self) -> Optional[Grant]:
        return self._ask(0.0)

    def inspect(self) -> Dict[str, Any]:
        """holders, each with token, holder, label and the milliseconds left; and how many wait."""
        told: Dict[str, Any] = self._client.call("inspect", {"name": self._name}, idempotent=True)
        return told

    def _ask(self, wait: float) -> Optional[Grant]:
        asked = time.monotonic()
        told = self._client.call(
            "acquire",
            {
                "name": self._name,
                # Unique each time: whoever lost a lease and asks again must not be taken for who still holds it.
                "holder": str(uuid.uuid4()),
                "label": self._label,
                "ttl": milliseconds("ttl", self._ttl, 0.05),
                "wait": milliseconds("wait", wait),
                "permits": self._permits,
            },
        )
        if told is None:
            return None
        # Granted some time after it was asked for, at latest now: what was waited is not counted, the way back is at most a renewal's.
        since = asked if wait == 0 else time.monotonic()
        return Grant(self._client, self._name, told["token"], self._ttl, since)


class Counter:
    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name

    def add(self, amount: int = 1) -> int:
        """Adds, and returns what it is then."""
        return int(self._client.call("add", {"name": self._name, "amount": amount})["value"])

    def get(self) -> int:
        return self.add(0)
