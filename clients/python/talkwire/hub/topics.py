"""Topics: publish and subscribe."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Dict, Iterator, Mapping, NamedTuple, Optional, Union

from ..client import Client
from ..remote import Stream
from .values import read, written


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


class Messages:
    """Iterates over what comes. Ends with its connection (TalkwireError), or when it is closed; or use `with`."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        next(stream)  # it says first that everything from now on will come

    def __iter__(self) -> Iterator[Message]:
        return self

    def __next__(self) -> Message:
        told = next(self._stream)
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

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> "Messages":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Topic:
    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self.name = name

    def publish(
        self, data: Any, to: Optional[str] = None, headers: Optional[Mapping[str, str]] = None, retain: bool = False
    ) -> None:
        """Returns when the hub has it. `to`: the topic, where this one is a pattern. Raises TalkwireError."""
        message: Dict[str, Any] = {"topic": to or self.name, **written(data), "retain": retain}
        if headers:
            message["headers"] = dict(headers)
        self._client.call("publish", message)

    def subscribe(
        self,
        start: Union[str, datetime] = "new",
        after: Optional[int] = None,
        group: Optional[str] = None,
        slow: str = "drop-oldest",
    ) -> Messages:
        """Returns when everything that is published from now on will come. `start`: `new`, `all` that is kept, or a time;
        `after`: a position instead. `group`: each message goes to one member. `slow`: what happens to who reads too slowly,
        `drop-oldest`, `wait` or `disconnect`."""
        begin: Any = start
        if after is not None:
            begin = {"after": after}
        elif isinstance(start, datetime):
            begin = {"time": round(start.timestamp() * 1000)}
        wish: Dict[str, Any] = {"pattern": self.name, "from": begin, "slow": slow}
        if group is not None:
            wish["group"] = group
        return Messages(self._client.stream("subscribe", wish))
