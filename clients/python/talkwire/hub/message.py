"""A message as a subscriber or a responder gets it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Mapping, NamedTuple, Optional

from .values import read


class Message(NamedTuple):
    data: Any
    topic: str
    headers: Mapping[str, str]
    #: where it stands in what is kept, for `after`; None where nothing is kept
    position: Optional[int]
    #: when the hub took it, where it is kept
    time: Optional[datetime]
    #: the last value from before the subscription
    retained: bool
    #: so many messages before this one were lost
    lost: int


def message_of(told: Mapping[str, Any]) -> Message:
    time = told.get("time")
    return Message(
        read(told),
        told["topic"],
        told["headers"],
        told.get("position"),
        None if time is None else datetime.fromtimestamp(time / 1000, timezone.utc),
        told["retained"],
        told["lost"],
    )
