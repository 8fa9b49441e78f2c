"""Services that are found by name on any machine: registered at the hub, with a heartbeat."""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Protocol, Sequence

from ..balance import Reachable
from ..errors import TalkwireError
from ..names import check_name, process_identity
from .base import Base, Lasting
from .state import State
from .values import milliseconds, read

#: what only who runs on the same machine can reach
LOCAL = frozenset(
    ("", "unix", "shm", "mmap", "fifo", "mq", "sysv", "file", "memory", "grpc+unix", "thrift+unix", "dbus+unix")
)
#: what a client of Python's connects to, fastest first
ORDER = ("shm", "unix", "fifo", "tcp", "tls")
SERVICES = "services"


class Registrable(Protocol):
    """What runs: what `talkwire.serve` returns, or anything with a name and addresses."""

    @property
    def name(self) -> str: ...
    @property
    def addresses(self) -> Sequence[str]: ...


class Instance(NamedTuple):
    id: str
    name: str
    addresses: Sequence[str]
    metadata: Mapping[str, str]
    pid: int
    host: str


class Registration:
    """Says again and again that a key is alive, until it is closed: then it is gone. Or use `with`."""

    def __init__(self, base: Base, what: str, key: str, entry: Dict[str, Any], ttl: float) -> None:
        self._base = base
        self._what = what
        self._key = key
        self._change = {"key": key, "data": entry, "ttl": milliseconds("ttl", ttl, 0.1)}
        self._pause = ttl / 3
        self._closing = threading.Event()
        self.id: str = entry["id"]
        self._beat()
        base.keep(self)
        self._thread = threading.Thread(target=self._run, name=f"talkwire heartbeat of {what}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._base.forget(self)
        self._closing.set()
        # A beat that is on its way would bring back what is deleted.
        self._thread.join()
        try:
            self._base.client.call("delete", {"key": self._key})
        except TalkwireError as error:
            if not error.code.startswith("CONNECTION_"):
                raise
            # Nobody is there who could be told: it is gone after its time.

    def _run(self) -> None:
        while not self._closing.wait(self._pause):
            try:
                self._beat()
            except TalkwireError as error:
                logging.getLogger("talkwire").warning("the heartbeat of %s was not heard: %s", self._what, error)

    def _beat(self) -> None:
        self._base.client.call("set", self._change)

    def __enter__(self) -> "Registration":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def register(base: Base, service: Registrable, metadata: Optional[Mapping[str, str]], ttl: float) -> Registration:
    name = check_name(service.name)
    if not service.addresses:
        raise TypeError(f'"{name}" listens nowhere: there is nothing to register')
    id = str(uuid.uuid4())
    entry = {
        "id": id,
        "name": name,
        "addresses": list(service.addresses),
        "metadata": dict(metadata or {}),
        "pid": os.getpid(),
        "host": this_host(),
    }
    return Registration(base, name, f"{SERVICES}.{name}.{id}", entry, ttl)


def instances(base: Base, name: str) -> List[Instance]:
    known = State(base, SERVICES, None).entries(f"{check_name(name)}.")
    return [instance for instance in (parse_instance(each.value) for each in known) if instance is not None]


class Following:
    """Tells who can be reached from here, before it is made and at each change, until it is closed."""

    def __init__(self, base: Base, name: str, changed: Callable[[List[Reachable]], None]) -> None:
        self._base = base
        self._name = check_name(name)
        self._changed = changed
        self._prefix = f"{SERVICES}.{name}."
        self._here: Dict[str, Instance] = {}
        self._watch = Lasting(base.client, "watch", {"prefix": self._prefix})
        self._take(next(self._watch))
        base.keep(self)
        threading.Thread(target=self._run, name=f"talkwire follows {name}", daemon=True).start()

    def close(self) -> None:
        self._base.forget(self)
        self._watch.close()

    def _run(self) -> None:
        try:
            for told in self._watch:
                self._take(told)
        except TalkwireError as error:
            if error.code != "CONNECTION_CLOSED":
                logging.getLogger("talkwire").error("who serves %s is not followed any more: %s", self._name, error)

    def _take(self, told: Mapping[str, Any]) -> None:
        if "ready" in told:
            # Also who went while nobody told us.
            self._here = {each.id: each for each in instances(self._base, self._name)}
            return self._tell()
        id = told["key"][len(self._prefix) :]
        before = self._here.pop(id, None)
        instance = None if told.get("gone") else parse_instance(read(told))
        if instance is not None:
            self._here[id] = instance
        # A heartbeat says what is known.
        if before != instance:
            self._tell()

    def _tell(self) -> None:
        reached = [Reachable(each.id, reachable(each)) for each in self._here.values()]
        self._changed([each for each in reached if each.addresses])


def reachable(instance: Instance) -> List[str]:
    """Its addresses that this client can connect to from here, the best first."""
    near = instance.host == this_host()
    known = [
        (ORDER.index(scheme), address)
        for address in instance.addresses
        for scheme in [address.partition(":")[0]]
        if scheme in ORDER and (near or scheme not in LOCAL)
    ]
    return [address for _, address in sorted(known)]


def parse_instance(value: Any) -> Optional[Instance]:
    """None for what somebody else wrote there, which may be anything."""
    if not has_texts(value, ("id", "name", "host")):
        return None
    addresses, metadata, pid = value.get("addresses"), value.get("metadata"), value.get("pid")
    if not isinstance(addresses, list) or not all(isinstance(each, str) for each in addresses):
        return None
    return Instance(
        value["id"],
        value["name"],
        addresses,
        metadata if isinstance(metadata, dict) else {},
        pid if isinstance(pid, int) else 0,
        value["host"],
    )


def has_texts(value: Any, names: Sequence[str]) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name), str) for name in names)


def this_host() -> str:
    """This machine, since it was started: containers share the kernel's identity and not the name, others the name and not the kernel's."""
    return f"{socket.gethostname()}/{process_identity()['boot'] or '-'}"
