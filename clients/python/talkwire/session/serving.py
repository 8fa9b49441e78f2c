"""Being called: admitting a call, its input, its answer, stopping it."""

from __future__ import annotations

import time
from typing import Any, Dict, List, Optional

from ..codec_json import dumps
from ..descriptor import Descriptor, close_all, close_given, close_received
from ..errors import RAN, TalkwireError, error_from_wire
from ..methods import Method
from ..streams import Credit, ItemQueue
from .calls import Calls
from .incoming import NO_ID, Batch, Incoming


class Serving(Calls):
    def _open_incoming(self, id: Any, name: str, params: Any, meta: Any, batch: Optional[Batch]) -> Incoming:
        """Everything that can refuse a call before it runs."""
        if self.closing:
            raise TalkwireError("UNAVAILABLE", "the service is closing")
        if len(self.calls_in) >= self.limits.max_calls:
            raise TalkwireError("LIMIT_EXCEEDED", f"{len(self.calls_in)} calls are in flight on this connection")
        method = self._find(name)
        call = Incoming(self, id, method, batch)
        if meta is not None and self.full:
            self._read_meta(call, meta)
        if call.input is None:
            call.args, call.kwargs = method.bind(params)
        if method.streams or call.input is not None:
            self._count_stream(batch)
        if method.wants_ctx or method.streams or call.input is not None:
            call.signal = self._new_signal()
        return call

    def _find(self, name: str) -> Method:
        if name[:1] == "#":
            return self.references.find(name)
        method = self.methods.get(name)
        if method is None:
            raise TalkwireError("METHOD_NOT_FOUND", f"no method {name[:100]!r}{self._suggestion(name)}")
        return method

    def _suggestion(self, name: str) -> str:
        if not 2 < len(name) <= 100 or not name.isidentifier():
            return ""
        from difflib import get_close_matches

        near = get_close_matches(name, list(self.methods)[:1000], 1, 0.75)
        return f'; did you mean "{near[0]}"?' if near else ""

    def _read_meta(self, call: Incoming, meta: Any) -> None:
        if type(meta) is not dict:
            raise TalkwireError("INVALID_REQUEST", "meta is not an object")
        timeout, metadata, credit = meta.get("timeout"), meta.get("metadata"), meta.get("credit")
        if timeout is not None:
            if type(timeout) not in (int, float) or timeout != timeout:
                raise TalkwireError("INVALID_REQUEST", "meta.timeout is not a number")
            call.deadline = time.monotonic() + timeout / 1000
        if metadata is not None:
            if type(metadata) is not dict or not all(type(v) is str for v in metadata.values()):
                raise TalkwireError("INVALID_REQUEST", "meta.metadata is not an object of strings")
            call.metadata = metadata
        if credit is not None:
            if type(credit) is not int or credit < 0:
                raise TalkwireError("INVALID_REQUEST", "meta.credit is not a number of bytes")
            call.credit = Credit(credit)
        if meta.get("input") is True:
            call.input = ItemQueue(int(self.limits.window), True)

    def _count_stream(self, batch: Optional[Batch]) -> None:
        if batch is not None:
            raise TalkwireError("INVALID_REQUEST", "a batch cannot hold a stream")
        if self._streams >= self.limits.max_streams:
            raise TalkwireError("LIMIT_EXCEEDED", f"{self._streams} streams are open on this connection")
        self._streams += 1

    def _run_unanswered(self, name: str, params: Any, descriptors: List[Descriptor]) -> None:
        try:
            call = self._open_incoming(NO_ID, name, params, None, None)
        except TalkwireError:
            return close_all(descriptors)  # JSON-RPC: nobody is told what became of a notification
        call.descriptors = descriptors
        if not call.method.streams:
            self._execute(call)
        else:
            self._retire(call)

    # -- the answer

    def _answer(self, call: Incoming, value: Any) -> None:
        self._carrying(value, lambda: self._answer_value_of(call, value))

    def _answer_value_of(self, call: Incoming, value: Any) -> None:
        try:
            text, attachments = self._encode(value, descriptors=True)
        except (TypeError, ValueError, TalkwireError) as error:
            import logging

            logging.getLogger("talkwire").error("the result of %s cannot be sent: %s", call.method.name, error)
            return self._answer_error(call, TalkwireError("INVALID_OUTPUT", "the result cannot be sent"))
        close_all(call.descriptors)
        if self._retire(call):
            try:
                self._reply_text(call.id, '"result":' + text, attachments, call.batch)
            except TalkwireError as error:
                if error.code != "MESSAGE_TOO_LARGE":
                    raise
                self._reply_error(call.id, TalkwireError(error.code, error.text, outcome=RAN), call.batch)
            finally:
                self._answered()

    def _answer_error(self, call: Incoming, error: TalkwireError) -> None:
        close_all(call.descriptors)
        if self._retire(call):
            try:
                self._reply_error(call.id, error, call.batch)
            finally:
                self._answered()

    def _retire(self, call: Incoming) -> bool:
        """Takes the call out of flight; False if it was answered before or wants no answer.

        If true, `_answered()` must follow when the answer is sent: the id is free
        before (the peer may use it again at once), the drain is over only after.
        """
        with self.lock:
            if call.answered:
                return False
            call.answered = True
            self.answering += call.id is not NO_ID
        if call.id is not NO_ID:
            self.calls_in.pop(call.id, None)
        if call.method.streams or call.input is not None:
            self._streams -= 1
        if call.input is not None and self.descriptors is not None:
            close_received(call.input.clear())
        return call.id is not NO_ID

    def _answered(self) -> None:
        with self.lock:
            self.answering -= 1
        if self.closing and not self.busy:
            self._idle()

    @property
    def busy(self) -> bool:
        """Is any call of the peer in flight, or its answer not yet sent?"""
        return bool(self.calls_in) or self.answering > 0

    def send_progress(self, call: Incoming, value: Any) -> None:
        """Raises TypeError for what cannot travel. Never blocks."""
        if call.id is not NO_ID and not call.answered:
            self._carrying(value, lambda: self._send_progress(call.id, value))
        else:
            close_given(value)

    def _send_progress(self, id: Any, value: Any) -> None:
        text, attachments = self._encode(value, descriptors=True)
        self._notify("$/progress", f'{{"token":{dumps(id)},"value":{text}}}', attachments)

    # -- its streams

    def _known_incoming(self, id: Any) -> Optional[Incoming]:
        return self.calls_in.get(id) if type(id) in (int, str, float) else None

    def _input(self, params: Dict[str, Any], size: int) -> bool:
        call = self._known_incoming(params.get("id"))
        if call is None or call.input is None:
            return False
        try:
            call.input.push(params.get("value"), size)
        except TalkwireError as error:
            self._break(error)
            return False
        call.signal.notify()
        return True

    def _end_input(self, params: Dict[str, Any], size: int, error: Optional[TalkwireError] = None) -> None:
        call = self._known_incoming(params.get("id"))
        if call is not None and call.input is not None:
            if "error" in params:
                error = error_from_wire(params["error"])
            call.input.end(error)
            call.signal.notify()

    def _more_credit(self, params: Dict[str, Any], size: int) -> None:
        call = self._known_incoming(params.get("id"))
        amount = params.get("bytes")
        if call is not None and call.credit is not None and type(amount) is int and amount > 0:
            call.credit.change(amount)
            call.signal.notify()

    # -- stopping it

    def _cancel(self, params: Dict[str, Any], size: int) -> None:
        call = self._known_incoming(params.get("id"))
        if call is not None:
            self.stop_incoming(call)

    def stop_incoming(self, call: Incoming) -> None:
        """Cancels the work for a call of the peer, and the calls that it makes in turn."""
        call.cancelled = True
        if call.input is not None:
            call.input.end(call.stop_reason())
        if call.signal is not None:
            call.signal.notify()
        for child in list(call.children):
            self.cancel(child)
        self._cancelled(call)

    def stop_streams(self) -> None:
        """Tells output streams to end, with UNAVAILABLE."""
        self.stops_streams = True
        for call in list(self.calls_in.values()):
            if call.streaming:
                call.signal.notify()
                self._cancelled(call)
