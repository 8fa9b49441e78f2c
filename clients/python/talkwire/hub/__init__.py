"""The hub from Python: topics, queues, state, leases, counters, services by name, intents; docs/hub/hub.md. Blocking.

>>> with open_hub() as hub:
...     hub.topic("orders.eu").publish({"id": 7})
"""

from __future__ import annotations

import shutil
from typing import Any, Callable, List, Mapping, Optional

from ..balance import Reachable
from ..client import Client, connect
from ..errors import TalkwireError
from .base import Base
from .discovery import Following, Instance, Registrable, Registration, instances, register
from .intents import Handler, Intent, Intents
from .leases import Counter, Grant, Lease
from .message import Message
from .queues import Job, Queue
from .requests import Replies, Responder
from .state import State, Value
from .topics import Messages, Topic
from .worker import Worker

__all__ = [
    "Counter", "Grant", "Handler", "Hub", "Instance", "Intent", "Intents", "Job", "Lease", "Message", "Messages", "Queue",
    "Registration", "Responder", "State", "Topic", "Value", "Worker", "open_hub",
]  # fmt: skip


class Hub:
    """A connection to the hub that comes with Talkwire. Close it, or use `with`. May be used by several threads."""

    def __init__(self, client: Client) -> None:
        self._base = Base(client)
        self._client = client
        self._replies = Replies(self._base)
        #: who can handle what says so, who wants it done says what
        self.intents = Intents(self._base)

    def topic(self, name: str) -> Topic:
        """A topic, `orders.new`, or a pattern of them: `orders.*`, `orders.>`."""
        return Topic(self._base, self._replies, name)

    def queue(
        self,
        name: str,
        visibility: float = 30.0,
        attempts: int = 5,
        dedupe: float = 120.0,
        backoff: float = 1.0,
        results: Optional[float] = None,
    ) -> Queue:
        """A work queue. `visibility`: seconds that a consumer has for a job until it goes to another. `attempts`: how often
        a job is tried before it is a dead letter. `dedupe`: seconds that a key is remembered. `backoff`: seconds before the
        second try, doubled for each further one, a minute at most. `results`: seconds that the result of a job can be had."""
        return Queue(self._base, name, visibility, attempts, dedupe, backoff, results)

    def state(self, name: str, ttl: Optional[float] = None) -> State:
        """Keys and values. `ttl`: seconds until a value is gone, where `set` does not say otherwise."""
        return State(self._base, name, ttl)

    def lease(self, name: str, ttl: float = 10.0, permits: int = 1, label: str = "") -> Lease:
        """A lock for a time. `ttl`: seconds after which a holder who says nothing has lost it."""
        return Lease(self._client, name, ttl, permits, label)

    def counter(self, name: str) -> Counter:
        return Counter(self._client, name)

    def register(
        self, service: Registrable, metadata: Optional[Mapping[str, str]] = None, ttl: float = 10.0
    ) -> Registration:
        """Makes a running service known: `connect("bank", hub=hub)` finds it, and shares its calls among all instances.
        `metadata`: what others see of it. `ttl`: seconds after which it is gone when its process says nothing."""
        return register(self._base, service, metadata, ttl)

    def instances(self, name: str) -> List[Instance]:
        """Who is registered under a name."""
        return instances(self._base, name)

    def follow(self, service: str, changed: Callable[[List[Reachable]], None]) -> Following:
        """For `connect`: tells who can be reached from here, now and at each change."""
        return Following(self._base, service, changed)

    def status(self) -> Any:
        """What is in the hub, as `talkwire hub status --json` prints it."""
        return self._client.call("status", idempotent=True)

    def close(self) -> None:
        """Workers, responders and what is registered end first. Leases that are held run out."""
        self._base.close()

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
