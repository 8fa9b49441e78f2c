"""Topics: publish and subscribe, request and reply."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Union

from ..remote import Stream
from .base import Base
from .message import Message, message_of
from .requests import Replies, Responder, one_reply
from .values import written


class Messages:
    """Iterates over what comes. Ends with its connection (TalkwireError), or when it is closed; or use `with`."""

    def __init__(self, base: Base, stream: Stream) -> None:
        self._base = base
        self._stream = stream
        next(stream)  # it says first that everything from now on will come
        base.keep(self)

    def __iter__(self) -> Iterator[Message]:
        return self

    def __next__(self) -> Message:
        return message_of(next(self._stream))

    def close(self) -> None:
        self._base.forget(self)
        self._stream.close()

    def __enter__(self) -> "Messages":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Topic:
    def __init__(self, base: Base, replies: Replies, name: str) -> None:
        self._base = base
        self._client = base.client
        self._replies = replies
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
        return Messages(self._base, self._client.stream("subscribe", wish))

    def request(
        self, data: Any, to: Optional[str] = None, headers: Optional[Mapping[str, str]] = None, timeout: Optional[float] = None
    ) -> Any:
        """One reply. Raises PEER_NOT_FOUND when nobody responds, DEADLINE_EXCEEDED after `timeout` s, and what the responder
        raised, with the outcome `ran`."""
        return one_reply(self._replies, to or self.name, data, headers, timeout)

    def gather(
        self,
        data: Any,
        to: Optional[str] = None,
        headers: Optional[Mapping[str, str]] = None,
        timeout: Optional[float] = None,
        count: Optional[int] = None,
    ) -> Iterator[Any]:
        """The replies of everybody who responds: ends after `count` of them, or after `timeout` s. The request is sent when
        the first is asked for."""
        if timeout is None and count is None:
            raise TypeError("gather ends after a time or a number of replies: give it timeout or count")
        return self._replies.ask(to or self.name, written(data), headers, timeout, count)

    def respond(self, handler: Callable[[Message], Any], group: Optional[str] = None) -> Responder:
        """Answers requests with what the handler returns for a message, on threads of the pool. A TalkwireError reaches the
        other side as it is, anything else as INTERNAL. `group`: each request goes to one member; without it to everybody."""
        return Responder(self._base, self.name, group, handler)
