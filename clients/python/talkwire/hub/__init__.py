"""The hub from Python: topics, queues, state, leases, counters; docs/hub/hub.md. Blocking.

>>> with open_hub() as hub:
...     hub.topic("orders.eu").publish({"id": 7})
"""

from __future__ import annotations

import shutil
from typing import Any, Optional

from ..client import Client, connect
from ..errors import TalkwireError
from .leases import Counter, Grant, Lease
from .queues import Job, Queue, Worker
from .state import State, Value
from .topics import Message, Messages, Topic

__all__ = [
    "Counter", "Grant", "Hub", "Job", "Lease", "Message", "Messages", "Queue", "State", "Topic", "Value", "Worker", "open_hub",
]  # fmt: skip


class Hub:
    """A connection to the hub that comes with Talkwire. Close it, or use `with`. May be used by several threads."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def topic(self, name: str) -> Topic:
        """A topic, `orders.new`, or a pattern of them: `orders.*`, `orders.>`."""
        return Topic(self._client, name)

    def queue(
        self, name: str, visibility: float = 30.0, attempts: int = 5, dedupe: float = 120.0, backoff: float = 1.0
    ) -> Queue:
        """A work queue. `visibility`: seconds that a consumer has for a job until it goes to another. `attempts`: how often
        a job is tried before it is a dead letter. `dedupe`: seconds that a key is remembered. `backoff`: seconds before the
        second try, doubled for each further one, a minute at most."""
        return Queue(self._client, name, visibility, attempts, dedupe, backoff)

    def state(self, name: str, ttl: Optional[float] = None) -> State:
        """Keys and values. `ttl`: seconds until a value is gone, where `set` does not say otherwise."""
        return State(self._client, name, ttl)

    def lease(self, name: str, ttl: float = 10.0, permits: int = 1, label: str = "") -> Lease:
        """A lock for a time. `ttl`: seconds after which a holder who says nothing has lost it."""
        return Lease(self._client, name, ttl, permits, label)

    def counter(self, name: str) -> Counter:
        return Counter(self._client, name)

    def status(self) -> Any:
        """What is in the hub, as `talkwire hub status --json` prints it."""
        return self._client.call("status", idempotent=True)

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> "Hub":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def open_hub(address: str = "hub:", authkey: Optional[bytes] = None) -> Hub:
    """Opens the hub of this user on this machine, `hub:NAME`, or one that listens elsewhere, `hub:tcp://host:port`.

    One with a name is started when nobody runs it, if the command `talkwire` of npm is in PATH. Brokers are reached from
    Python by their own clients. Raises TalkwireError: PEER_NOT_FOUND, INVALID_ADDRESS.
    """
    scheme, _, rest = address.partition(":")
    if scheme != "hub":
        raise TalkwireError(
            "INVALID_ADDRESS", f'"{address}" is no hub of Talkwire, hub:NAME; a broker is reached by its own Python client'
        )
    name = rest or "hub"
    program = shutil.which("talkwire")
    start = [program, "hub", name] if program is not None and ":" not in name else None
    return Hub(connect(name, authkey=authkey, start=start))
