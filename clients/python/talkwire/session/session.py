"""One connection's protocol: what arrives goes to the part that it concerns."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional

from ..codec_json import parse
from ..descriptor import Descriptor, close_all, weight_of
from ..errors import MAYBE_RAN, TalkwireError
from ..framing import ENVELOPE, decode_envelope
from ..methods import openrpc
from ..references import read_release
from .hello import Hello
from .incoming import Batch, Incoming
from .serving import Serving
from .subscriptions import Subscriptions


class Session(Hello, Serving, Subscriptions):
    """Front ends derive from it. `methods` is what the peer may call here."""

    def receive(self, payload: memoryview) -> None:
        """Handles one payload. Never raises for what the peer did; a broken protocol ends the connection."""
        size = len(payload)
        attachments: Optional[List[memoryview]] = None
        try:
            if size and payload[0] == ENVELOPE:
                if not self._attach:
                    raise TalkwireError("INVALID_MESSAGE", "attachments were not agreed on")
                payload, attachments = decode_envelope(payload)
            message, walk = parse(payload, int(self.limits.max_depth))
        except TalkwireError as error:
            if not self.greeted and self._auth is not None:
                return self._refuse_unauthenticated(None)
            return self._reply_error(None, error, None)
        if type(message) is dict:
            self._message(message, walk or attachments is not None, attachments, size, None)
        elif type(message) is list:
            self._batch(message, walk, size)
        else:
            self._reply_error(None, TalkwireError("INVALID_REQUEST", "a message is an object or a batch"), None)

    def _message(
        self, message: Dict[str, Any], walk: bool, attachments: Any, size: int, batch: Optional[Batch]
    ) -> None:
        method = message.get("method")
        if type(method) is str and message.get("jsonrpc") == "2.0":
            if "id" in message:
                self._request(message, method, walk, attachments, batch)
            else:
                self._notification(message, method, walk, attachments, size)
                if batch is not None:
                    batch.done(None)
        elif method is None and "id" in message and ("result" in message or "error" in message):
            self._response(message, walk, attachments)
            if batch is not None:
                batch.done(None)
        else:
            id = message.get("id")
            known = id if type(id) in (int, str, float) else None
            self._reply_error(known, TalkwireError("INVALID_REQUEST", "not a JSON-RPC 2.0 message"), batch)

    def _batch(self, entries: List[Any], walk: bool, size: int) -> None:
        if self._auth is not None:
            return self._refuse_unauthenticated(None)
        self.greeted = True
        if not entries:
            return self._reply_error(None, TalkwireError("INVALID_REQUEST", "an empty batch"), None)
        if len(entries) > self.limits.max_batch:
            text = f"a batch of {len(entries)}; at most {self.limits.max_batch} are accepted"
            return self._reply_error(None, TalkwireError("LIMIT_EXCEEDED", text), None)
        batch = Batch(self, len(entries))
        for entry in entries:
            if type(entry) is dict:
                self._message(entry, walk, None, size, batch)
            else:
                self._reply_error(None, TalkwireError("INVALID_REQUEST", "not a JSON-RPC 2.0 message"), batch)

    # -- requests

    def _request(
        self, message: Dict[str, Any], method: str, walk: bool, attachments: Any, batch: Optional[Batch]
    ) -> None:
        id = message["id"]
        if type(id) is not int and type(id) not in (str, float, type(None)):
            return self._reply_error(None, TalkwireError("INVALID_REQUEST", "an id is a number or a string"), batch)
        if self._auth is not None and method != "rpc.auth":
            return self._refuse_unauthenticated(id)
        first, self.greeted = not self.greeted, True
        if id in self.calls_in:
            return self._duplicate(id, batch)
        if self.full and (type(id) is not int or id < 1):
            return self._break(TalkwireError("INVALID_REQUEST", "ids of Talkwire peers are positive integers"))
        call: Optional[Incoming] = None
        try:
            params = message.get("params", [])
            if walk:
                params = self._read(params, walk, attachments)
            if method[:4] == "rpc.":
                return self._builtin(id, method, params, first, batch)
            call = self._open_incoming(id, method, params, message.get("meta"), batch)
        except TalkwireError as error:
            self._drop_arrivals()
            return self._reply_error(id, error, batch)
        if self.descriptors is not None:
            call.descriptors = self.descriptors.arrivals()
        self.calls_in[id] = call
        self._execute(call)

    def _duplicate(self, id: Any, batch: Optional[Batch]) -> None:
        error = TalkwireError("INVALID_REQUEST", f"the id {id!r} is in flight")
        if self.full:
            self._break(error)
        else:
            self._reply_error(id, error, batch)

    def _builtin(self, id: Any, method: str, params: Any, first: bool, batch: Optional[Batch]) -> None:
        fields = params if type(params) is dict else {}
        if method == "rpc.hello":
            return self._hello(id, fields, first, batch)
        if method == "rpc.auth":
            return self._authenticate(id, fields)
        if method == "rpc.discover":
            return self._reply(id, openrpc(self.contract, self.methods), batch)
        if method in ("rpc.on", "rpc.off"):
            return self._reply(id, self._subscribe(fields.get("event"), method == "rpc.on"), batch)
        raise TalkwireError("METHOD_NOT_FOUND", f"no method {method[:100]!r}")

    # -- notifications

    def _notification(self, message: Dict[str, Any], method: str, walk: bool, attachments: Any, size: int) -> None:
        if method == "$/channel":
            return self._channel(message.get("params"))  # whoever knows the token has been authenticated
        if self._auth is not None:
            return self._refuse_unauthenticated(None)
        self.greeted = True
        try:
            around = 1 if method.startswith("$/") else 0
            params = self._read(message.get("params", []), walk, attachments, around)
        except TalkwireError as error:
            self._drop_arrivals()
            return self._bad_notification(message, method, error)
        arrivals = [] if self.descriptors is None else self.descriptors.arrivals()
        if method.startswith("$/"):
            self._control(method, params, size, arrivals)
        elif method in self.listeners:
            self._event(method, params)
        elif method.startswith("rpc."):
            close_all(arrivals)
        else:
            self._run_unanswered(method, params, arrivals)

    def _control(self, method: str, params: Any, size: int, arrivals: List[Descriptor]) -> None:
        handler = _CONTROL.get(method)
        taken = False
        if handler is not None and type(params) is dict:
            taken = handler(self, params, size + weight_of(len(arrivals), int(self.limits.window))) is True
        if not taken:
            close_all(arrivals)

    def _channel(self, params: Any) -> None:
        """The peer has the channel, or this connection wants to be one."""

    def _bad_notification(self, message: Dict[str, Any], method: str, error: TalkwireError) -> None:
        """A value inside cannot be taken: the stream that it belongs to has failed."""
        params = message.get("params")
        id = params.get("id") if type(params) is dict else None
        if method == "$/item" and type(id) is int and id in self.calls_out:
            self.settle(self.calls_out[id], None, error)
            self.cancel_remote(id)
        elif method == "$/input" and type(id) is int and id in self.calls_in:
            self._end_input({"id": id}, 0, error)

    def _released(self, params: Dict[str, Any], size: int) -> None:
        for number, count in read_release(params):
            self.references.released(number, count)

    def _ping(self, params: Dict[str, Any], size: int) -> None:
        self._notify("$/pong", "{}")

    def _peer_closes(self, params: Dict[str, Any], size: int) -> None:
        self.peer_closing = True
        self._peer_wants_to_close()

    # -- the end

    def end(self, error: TalkwireError) -> None:
        """The connection is over: settles everything, once."""
        if self.ended is not None:
            return
        self.ended = error
        for call in list(self.calls_out.values()):
            self.settle(call, None, TalkwireError(error.code, error.text, outcome=MAYBE_RAN))
        for incoming in list(self.calls_in.values()):
            self.stop_incoming(incoming)
        self.references.clear()
        if self.descriptors is not None:
            self.descriptors.close()


_CONTROL: Dict[str, Callable[[Session, Dict[str, Any], int], Optional[bool]]] = {
    "$/item": Session._item,
    "$/input": Session._input,
    "$/end": Session._end_input,
    "$/credit": Session._more_credit,
    "$/inputCredit": Session._more_input_credit,
    "$/cancelRequest": Session._cancel,
    "$/progress": Session._progress,
    "$/release": Session._released,
    "$/lost": Session._lost_events,
    "$/ping": Session._ping,
    "$/close": Session._peer_closes,
}
