"""Intents: who can handle what says so, who wants it done says what.

The hub knows who handles what; the intent itself goes straight from one to the other, so that memory and descriptors can go along.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import uuid
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from ..client import connect
from ..context import CallContext
from ..descriptor import Descriptor, close_given
from ..errors import TalkwireError, declared_error
from ..service import Service, serve
from ..wire import Peer
from .base import Base
from .discovery import Registration, has_texts, this_host
from .state import State

CONTRACT = "intent/1"
_PART = r"[\w!#$&^.+-]+"
_TYPE = re.compile(rf"{_PART}/{_PART}\Z", re.ASCII)
_TYPES = re.compile(rf"(\*/\*|{_PART}/(\*|{_PART}))\Z", re.ASCII)
#: handlers on Linux take descriptors, as Node's do
_LINUX = sys.platform == "linux"


class Handler(NamedTuple):
    """Somebody who handles an action."""

    id: str
    action: str
    type: str
    label: str
    pid: int
    host: str


class Intent(NamedTuple):
    action: str
    type: str
    data: Any
    #: the name of shared memory: `SharedMemory.open(segment)`
    segment: Optional[str]
    #: closed when the handler has answered, unless it takes it: `descriptor.take()`
    descriptor: Optional[Descriptor]
    #: who wants it, as the kernel vouches for
    peer: Peer


class Handling:
    """Handles intents until it is closed; or use `with`."""

    def __init__(self, service: Service, known: Registration) -> None:
        self._service = service
        self._known = known
        self.id = known.id

    def close(self) -> None:
        self._known.close()
        self._service.close()

    def __enter__(self) -> "Handling":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Intents:
    def __init__(self, base: Base) -> None:
        self._base = base

    def handle(
        self,
        action: str,
        handler: Callable[[Intent], Any],
        type: str = "*/*",
        label: Optional[str] = None,
        ttl: float = 10.0,
    ) -> Handling:
        """Returns when others find it. What the handler returns is the answer. `action`: `share`, `open`, `print`. `type`: what
        with, `image/png` or `image/*`. `label`: how a person is to be asked for it, by default the program's name."""
        _check(type, _TYPES)
        id = str(uuid.uuid4())
        name = os.path.basename(sys.argv[0]) or "python" if label is None else label
        address = f"unix:@talkwire-intent-{id}" if _LINUX else f"unix:{tempfile.gettempdir()}/tw-{id}"

        # The intent is one dict, and the parameter's name is none of its keys.
        def handle(_intent: Any, ctx: CallContext) -> Any:
            return handler(_received(_intent, action, type, name, ctx.peer))

        service = serve(CONTRACT, {"handle": handle}, listen=address, descriptors=_LINUX)
        entry = {
            "id": id,
            "action": action,
            "type": type,
            "label": name,
            "pid": os.getpid(),
            "host": this_host(),
            "address": service.addresses[0],
        }
        try:
            return Handling(service, Registration(self._base, action, f"intents.{action}.{id}", entry, ttl))
        except BaseException:
            service.close()
            raise

    def send(
        self,
        action: str,
        type: str,
        data: Any = None,
        segment: Optional[str] = None,
        descriptor: Optional[Descriptor] = None,
        choose: Optional[Callable[[List[Handler]], Optional[Handler]]] = None,
        timeout: Optional[float] = None,
    ) -> Any:
        """Returns what the handler returned. `choose`: asked when several handle it; None: nobody, the intent is given up.
        Raises NOT_FOUND when nobody handles it, ALREADY_EXISTS when several do and nobody chose, CANCELLED when the chooser
        gave up, UNSUPPORTED for a descriptor that the handler cannot take, DEADLINE_EXCEEDED after `timeout` s."""
        try:
            _check(type, _TYPE)
            one = _chosen(f"{action} of {type}", self._find(action, type), choose)
            intent: Dict[str, Any] = {"action": action, "type": type, "data": data}
            if segment is not None:
                intent["segment"] = segment
            if descriptor is not None:
                intent["descriptor"] = descriptor
            with connect(one["address"], reconnect=False, descriptors=descriptor is not None) as client:
                return client.call("handle", intent, timeout=timeout)
        finally:
            # Also what was not sent.
            close_given(descriptor)

    def handlers(self, action: str, type: str) -> List[Handler]:
        """Who handles it."""
        return [_handler(each) for each in self._find(action, type)]

    def _find(self, action: str, type: str) -> List[Dict[str, Any]]:
        known = State(self._base, "intents", None).entries(f"{action}.")
        return [each.value for each in known if _is_handler(each.value) and _covers(each.value["type"], type)]


def _received(sent: Any, action: str, type: str, label: str, peer: Peer) -> Intent:
    """Raises INVALID_INPUT for what is no intent, NOT_FOUND for another."""
    if not has_texts(sent, ("action", "type")) or not _TYPE.match(sent["type"]):
        raise declared_error("INVALID_INPUT", text="no intent: { action, type, data, segment, descriptor }")
    segment, descriptor = sent.get("segment"), sent.get("descriptor")
    if not isinstance(segment, (str, NoneType)) or not isinstance(descriptor, (Descriptor, NoneType)):
        raise declared_error("INVALID_INPUT", text="segment is a name, descriptor a descriptor")
    if sent["action"] != action or not _covers(type, sent["type"]):
        raise declared_error("NOT_FOUND", text=f"{label} does not handle {sent['action']} of {sent['type']}")
    return Intent(sent["action"], sent["type"], sent.get("data"), segment, descriptor, peer)


NoneType = type(None)


def _chosen(
    what: str, found: List[Dict[str, Any]], choose: Optional[Callable[[List[Handler]], Optional[Handler]]]
) -> Dict[str, Any]:
    near = [each for each in found if each["host"] == this_host()]
    if found and not near:
        raise TalkwireError(
            "UNSUPPORTED",
            f"who handles {what} runs on another machine ({found[0]['host']}); intents go to handlers of the same one",
        )
    if not near:
        raise TalkwireError("NOT_FOUND", f"nobody handles {what}; start a program that does, with hub.intents.handle()")
    if len(near) == 1:
        return near[0]
    if choose is None:
        labels = ", ".join(each["label"] for each in near)
        raise TalkwireError("ALREADY_EXISTS", f"{len(near)} handle {what}: {labels}; pass choose")
    choice = choose([_handler(each) for each in near])
    if choice is None:
        raise TalkwireError("CANCELLED", f"nobody was chosen for {what}")
    for each in near:
        if each["id"] == choice.id:
            return each
    raise TypeError("choose() returns one of the handlers that it was given")


def _handler(entry: Dict[str, Any]) -> Handler:
    pid = entry.get("pid")
    return Handler(
        entry["id"], entry["action"], entry["type"], entry["label"], pid if isinstance(pid, int) else 0, entry["host"]
    )


def _is_handler(value: Any) -> bool:
    """What somebody else wrote there may be anything."""
    known = has_texts(value, ("id", "action", "type", "label", "host", "address"))
    return known and bool(value["address"].startswith("unix:"))


def _covers(pattern: str, type: str) -> bool:
    return pattern in ("*/*", type) or (pattern.endswith("/*") and type.startswith(pattern[:-1]))


def _check(type: str, form: "re.Pattern[str]") -> None:
    if not isinstance(type, str) or not form.match(type):
        raise TypeError(f'{type!r} is no type of media, such as "image/png"')
