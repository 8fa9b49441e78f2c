"""Request and reply over topics, and the replies of everybody who responds."""

from __future__ import annotations

import itertools
import logging
import queue
import re
import secrets
import threading
import time
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Union

from ..errors import MAYBE_RAN, RAN, TalkwireError
from ..pool import pool
from ..remote import Stream, left
from .base import Base, Lasting, timed_out
from .message import Message, message_of
from .values import read, written

#: where a reply goes, and the code and text of what the responder raised
REPLY_TO, ERROR = "talkwire-reply", "talkwire-error"

Reply = Union[Mapping[str, Any], TalkwireError]
Box = queue.SimpleQueue[Reply]


class Replies:
    """All replies to this hub's requests come here: one subscription, read on a thread of its own."""

    def __init__(self, base: Base) -> None:
        self._client = base.client
        self._inbox = f"reply.{secrets.token_hex(12)}"
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._stream: Optional[Stream] = None
        self._waiting: Dict[str, Box] = {}
        base.keep(self)

    def ask(
        self, topic: str, message: Dict[str, Any], headers: Optional[Mapping[str, str]], timeout: Optional[float], count: Optional[int]
    ) -> Iterator[Any]:
        """The replies, as they come; ends after `count` of them or `timeout` s. Raises PEER_NOT_FOUND, what a responder raised."""
        until = None if timeout is None else time.monotonic() + timeout
        box: Box = queue.SimpleQueue()
        to = self._await(box)
        try:
            told = self._client.call(
                "publish",
                {"topic": topic, **message, "request": True, "headers": {**(headers or {}), REPLY_TO: to}},
                timeout=left(until),
            )
            if not told["heard"]:
                raise TalkwireError("PEER_NOT_FOUND", f'nobody responds to "{topic}"')
            for _ in itertools.count() if count is None else range(count):
                try:
                    reply = box.get(timeout=left(until))
                except queue.Empty:
                    return
                yield _value_of(reply)
        finally:
            self._waiting.pop(to, None)

    def close(self) -> None:
        with self._lock:
            stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _await(self, box: Box) -> str:
        """Where its replies are to go. Listens from here on."""
        to = f"{self._inbox}.{next(self._numbers)}"
        with self._lock:
            if self._stream is None:
                stream = self._client.stream("subscribe", {"pattern": f"{self._inbox}.*", "slow": "wait", "requests": True})
                next(stream)  # it says first that everything from now on will come
                self._stream = stream
                threading.Thread(target=self._read, args=(stream,), name="talkwire replies", daemon=True).start()
            self._waiting[to] = box
        return to

    def _read(self, stream: Stream) -> None:
        error = TalkwireError("CONNECTION_CLOSED", "the hub was closed before the answer came", outcome=MAYBE_RAN)
        try:
            for told in stream:
                box = self._waiting.get(told["topic"])
                if box is not None:
                    box.put(told)
        except TalkwireError as reason:
            error = TalkwireError(reason.code, reason.text, outcome=MAYBE_RAN)
        with self._lock:
            if self._stream is stream:
                self._stream = None
            waiting, self._waiting = self._waiting, {}
        for box in waiting.values():
            box.put(error)


def one_reply(replies: Replies, topic: str, data: Any, headers: Optional[Mapping[str, str]], timeout: Optional[float]) -> Any:
    for reply in replies.ask(topic, written(data), headers, timeout, 1):
        return reply
    raise timed_out(f'nobody answered the request to "{topic}"', timeout)


def _value_of(reply: Reply) -> Any:
    if isinstance(reply, TalkwireError):
        raise reply
    said = reply["headers"].get(ERROR)
    if said is None:
        return read(reply)
    match = re.match(r"([A-Za-z_]{1,64}) (.*)\Z", said, re.DOTALL)
    code, text = match.groups() if match else ("UNKNOWN", said)
    raise TalkwireError(code, text, outcome=RAN)


class Responder:
    """Answers requests until it is closed; or use `with`. `error` is what ended it otherwise."""

    def __init__(self, base: Base, pattern: str, group: Optional[str], handler: Callable[[Message], Any]) -> None:
        self._base = base
        self._handler = handler
        self._idle = threading.Condition()
        self._answering: "list[int]" = []
        self._begun = 0
        self._closing = False
        self.error: Optional[TalkwireError] = None
        wish: Dict[str, Any] = {"pattern": pattern, "slow": "wait", "requests": True}
        if group is not None:
            wish["group"] = group
        self._requests = Lasting(base.client, "subscribe", wish)
        next(self._requests)
        base.keep(self)
        threading.Thread(target=self._run, name=f"talkwire responder of {pattern}", daemon=True).start()

    def close(self) -> None:
        """No request comes after it returns; those that came are answered by then."""
        self._base.forget(self)
        with self._idle:
            self._closing = True
        self._requests.close()
        me = threading.get_ident()
        with self._idle:
            self._idle.wait_for(lambda: self._begun == self._answering.count(me))

    def _run(self) -> None:
        try:
            for told in self._requests:
                if "ready" not in told and self._begins():
                    pool().submit(self._answer, told)
        except TalkwireError as error:
            if not self._closing:
                self.error = error
                logging.getLogger("talkwire").error("a responder ends: %s", error)

    def _begins(self) -> bool:
        with self._idle:
            self._begun += not self._closing
            return not self._closing

    def _answer(self, told: Mapping[str, Any]) -> None:
        me = threading.get_ident()
        self._answering.append(me)
        headers = dict(told["headers"])
        to = headers.pop(REPLY_TO, None)
        try:
            self._reply(to, written(self._handler(message_of({**told, "headers": headers}))))
        except Exception as error:
            if not isinstance(error, TalkwireError):
                logging.getLogger("talkwire").exception("the responder of %s failed", told["topic"])
            self._reply_error(to, error)
        finally:
            with self._idle:
                self._answering.remove(me)
                self._begun -= 1
                self._idle.notify_all()

    def _reply_error(self, to: Optional[str], error: Exception) -> None:
        known = f"{error.code} {error.text}" if isinstance(error, TalkwireError) else "INTERNAL the responder failed"
        try:
            self._reply(to, {"data": None, "headers": {ERROR: re.sub(r"[\0\r\n]+", " ", known)}})
        except TalkwireError as reason:
            logging.getLogger("talkwire").error("a reply could not be sent: %s", reason)

    def _reply(self, to: Optional[str], message: Dict[str, Any]) -> None:
        if to is not None:
            self._base.client.call("publish", {"topic": to, "request": True, **message})

    def __enter__(self) -> "Responder":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
