"""The protocol of one connection: calls, streams, references, events, both ways (spec/wire.md).

It has no socket, thread or event loop. A front end derives from `Session`,
gives `receive()` whole payloads in order, and supplies the hooks at the end of
the class. `receive()` is called by one thread at a time; everything else may
be called by any thread.
"""

from __future__ import annotations

import math
import time
from typing import Any, Callable, Dict, Generator, List, Optional, Set, Tuple, Union

from .codec_json import Reader, Writer, dumps, ordinary, parse, quote, to_utf8
from .errors import (
    MAYBE_RAN,
    NOT_SENT,
    RAN,
    TalkwireError,
    error_from_wire,
    error_to_wire,
    internal_error,
)
from .framing import ENVELOPE, LENGTH, LINE, FrameDecoder, decode_envelope, encode_envelope, frame, frame_parts
from .limits import Limits
from .methods import Method, MethodTable, openrpc
from .references import Reference, References, read_release
from .streams import Credit, ItemQueue
from .wire import Peer

Handshake = Generator[Tuple[str, Dict[str, Any]], Any, None]
_HEAD = '{"jsonrpc":"2.0",'
_SAME_DEADLINE = 0.01  # seconds that the timers of one deadline, in several processes, may be apart
_AROUND_DETAILS = 2  # `details` stands in `data` in `error`


class Outgoing:
    """A call that we made."""

    __slots__ = ("id", "method", "done", "value", "error", "items", "credit", "on_progress", "on_result", "signal")

    def __init__(self, id: int, method: str, signal: Any) -> None:
        self.id, self.method, self.signal = id, method, signal
        self.done = False
        self.value: Any = None
        self.error: Optional[TalkwireError] = None
        self.items: Optional[ItemQueue] = None
        self.credit: Optional[Credit] = None
        self.on_progress: Optional[Callable[[Any], None]] = None
        self.on_result: Optional[Callable[[Any], None]] = None

    def settle(self, value: Any, error: Optional[TalkwireError]) -> None:
        """The first settlement counts."""
        if self.done:
            return
        self.value, self.error = value, error
        if self.items is not None:
            self.items.end(error)
        self.done = True
        self.signal.notify()


class Incoming:
    """A call that the peer made and that is not answered yet."""

    __slots__ = (
        "session", "id", "method", "args", "kwargs", "metadata", "deadline", "cancelled",
        "credit", "input", "batch", "signal", "children", "answered", "task", "streaming",
    )  # fmt: skip

    def __init__(self, session: "Session", id: Any, method: Method, batch: Optional["Batch"]) -> None:
        self.session, self.id, self.method, self.batch = session, id, method, batch
        self.args: List[Any] = []
        self.kwargs: Optional[Dict[str, Any]] = None
        self.metadata: Dict[str, str] = {}
        self.deadline: Optional[float] = None  # on time.monotonic()
        self.cancelled = False
        self.credit: Optional[Credit] = None
        self.input: Optional[ItemQueue] = None
        self.signal: Any = None
        self.children: Set[Outgoing] = set()
        self.answered = False
        self.streaming = False  # its output stream has begun
        self.task: Any = None

    def remaining(self) -> Optional[float]:
        """Seconds until the deadline (may be negative); None without one."""
        return None if self.deadline is None else self.deadline - time.monotonic()

    def stop_reason(self, started: bool = True) -> Optional[TalkwireError]:
        """Why the work should stop, if it should."""
        outcome = MAYBE_RAN if started else None
        if self.streaming and self.session.stops_streams:
            return TalkwireError("UNAVAILABLE", "the service is closing", outcome=MAYBE_RAN)
        if self.cancelled:
            return TalkwireError("CANCELLED", "the caller cancelled the call", outcome=outcome or NOT_SENT)
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return _deadline_passed(outcome or NOT_SENT)
        return None

    def _expired(self) -> Optional[TalkwireError]:
        # A call made on behalf of this one has its deadline, and a timer elsewhere may be the first to see it pass.
        if self.deadline is None or self.deadline - time.monotonic() >= _SAME_DEADLINE:
            return None
        return _deadline_passed(MAYBE_RAN)

    def late(self) -> Optional[TalkwireError]:
        """The error for a result that came after the deadline: the caller may not count on it any more."""
        if self.deadline is None or time.monotonic() < self.deadline:
            return None
        return TalkwireError("DEADLINE_EXCEEDED", "the result came after the call's deadline", outcome=RAN)

    def respond(self, value: Any) -> None:
        """Answers with a result. May block while the peer does not read. Raises if the connection is lost."""
        self.session._answer(self, value)

    def fail(self, error: BaseException) -> None:
        """Answers with an error; one that was not declared stays here, in the log."""
        self.session._answer_error(self, self._public(error))

    def _public(self, error: BaseException) -> TalkwireError:
        if isinstance(error, TalkwireError):
            if error.declared:
                return error
            stopped = self._expired() if error.code == "DEADLINE_EXCEEDED" else self.stop_reason()
            if stopped is not None and stopped.code == error.code:
                return stopped
        stopped = self.stop_reason()
        if stopped is not None and self.session.is_cancellation(error):
            return stopped
        import logging

        logging.getLogger("talkwire").error("the handler %s failed", self.method.name, exc_info=error)
        return internal_error()


def _deadline_passed(outcome: str) -> TalkwireError:
    return TalkwireError("DEADLINE_EXCEEDED", "the call's deadline has passed", outcome=outcome)


class Batch:
    """Collects the answers to one JSON-RPC batch."""

    def __init__(self, session: "Session", size: int) -> None:
        self._session = session
        self._left = size
        self._texts: List[str] = []
        self._size = 0

    def done(self, text: Optional[str]) -> None:
        """One entry is finished, with an answer or (a notification) without."""
        with self._session.lock:
            if text is not None:
                self._texts.append(text)
            self._left -= 1
            complete = self._left == 0 and self._texts
        if complete:
            self._session._send("[" + ",".join(self._texts) + "]")


class Session:
    """See the module. `methods` is what the peer may call here."""

    def __init__(
        self,
        *,
        connector: bool,
        methods: MethodTable,
        contract: Optional[str],
        limits: Limits,
        peer: Peer,
        framing: Optional[str] = None,
        auth: Any = None,
        subscribe: Optional[Callable[["Session", str, bool], None]] = None,
    ) -> None:
        self.connector = connector
        self.methods = methods
        self.contract = contract
        self.limits = limits
        self.peer = peer
        self.decoder = FrameDecoder(int(limits.max_message), framing)
        self.full = False  # both said hello
        self.greeted = connector  # the first message has arrived and was accepted
        self.closing = False  # we sent, or are about to send, $/close
        self.stops_streams = False  # we close on our own account: endless streams must not hold it up
        self.peer_closing = False
        self.ended: Optional[TalkwireError] = None
        self.calls_out: Dict[int, Outgoing] = {}
        self.calls_in: Dict[Any, Incoming] = {}
        self.subscribed: Dict[str, int] = {}  # event -> dropped since the last delivery
        self.peer_streams: "frozenset[str]" = frozenset()  # the peer's methods whose output is a stream
        self.listeners: Dict[str, List[Any]] = {}
        self.lock = self._new_lock()
        self._auth = auth
        self._on_subscribe = subscribe
        self._attach = False
        self._peer_window = 0
        self._peer_max = 0xFFFFFFFF
        self._last_id = 0
        self._streams = 0
        self.answering = 0  # calls out of flight whose answer is being sent
        self.references = References(int(limits.max_references), self._make_reference)

    # -- arriving

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

    def _read(self, value: Any, walk: bool, attachments: Any, around: int = 0) -> Any:
        """The values in an arrived message. Raises what § 5 refuses. `around`: levels that are not the value's own."""
        if not walk:
            return value
        reader = Reader(
            int(self.limits.max_depth) + around, self.full, attachments, self.references.arrived, self.references.home
        )
        result = reader.read(value)
        reader.finish()
        return result

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
            return self._reply_error(id, error, batch)
        self.calls_in[id] = call
        self._execute(call)

    def _duplicate(self, id: Any, batch: Optional[Batch]) -> None:
        error = TalkwireError("INVALID_REQUEST", f"the id {id!r} is in flight")
        if self.full:
            self._break(error)
        else:
            self._reply_error(id, error, batch)

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
            raise TalkwireError("METHOD_NOT_FOUND", f"no method {name[:100]!r}")
        return method

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

    # -- rpc.*

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

    def _subscribe(self, event: Any, on: bool) -> bool:
        if type(event) is not str or event.startswith(("rpc.", "$/", "#")):
            raise TalkwireError("INVALID_INPUT", "an event has a name")
        known = event in self.subscribed
        if on and not known:
            if len(self.subscribed) >= self.limits.max_subscriptions:
                raise TalkwireError("LIMIT_EXCEEDED", "too many subscriptions on one connection")
            self.subscribed[event] = 0
        elif not on:
            self.subscribed.pop(event, None)
        if self._on_subscribe is not None and on != known:
            self._on_subscribe(self, event, on)
        return on or known

    def _authenticate(self, id: Any, fields: Dict[str, Any]) -> None:
        if self._auth is None:
            raise TalkwireError("METHOD_NOT_FOUND", "no authkey is set here")
        try:
            result, proven = self._auth.answer(fields)
        except TalkwireError:
            return self._refuse_unauthenticated(id)
        if proven:
            self._auth = None
            self.peer.authenticated = True
        self.greeted = proven
        self._reply(id, result, None)

    def _refuse_unauthenticated(self, id: Any) -> None:
        error = TalkwireError("UNAUTHENTICATED", "rpc.auth comes first, with the right authkey")
        self._reply_error(id, error, None)
        self._break(error)

    def _hello(self, id: Any, fields: Dict[str, Any], first: bool, batch: Optional[Batch]) -> None:
        if self.full or batch is not None or not (first or self.peer.authenticated):
            raise TalkwireError("INVALID_REQUEST", "rpc.hello comes once, and first")
        wanted = fields.get("contract")
        if wanted is not None and not _matches(wanted, self.contract):
            text = f"{wanted!r} is wanted, {self.contract!r} is served"
            raise TalkwireError("CONTRACT_MISMATCH", text, details={"served": self.contract})
        self._agree(fields)
        answer = self._hello_fields()
        answer.update(codec="json", attachments=self._attach, contract=self.contract, hash=None)
        answer["streams"] = [name for name, method in self.methods.items() if method.streams]
        self._reply(id, answer, None)
        self.full = True

    def _hello_fields(self) -> Dict[str, Any]:
        limits = self.limits
        return {
            "wire": 1,
            "window": int(limits.window),
            "maxMessage": int(limits.max_message),
            "heartbeat": int(limits.heartbeat),
        }

    def _agree(self, fields: Dict[str, Any]) -> None:
        """Takes what the peer says of itself. Raises INVALID_INPUT."""
        wire, window, biggest = fields.get("wire"), fields.get("window", 0), fields.get("maxMessage", 0xFFFFFFFF)
        if type(wire) is not int or wire < 1 or type(window) is not int or type(biggest) is not int or window < 0:
            raise TalkwireError("INVALID_INPUT", "rpc.hello has malformed members")
        self._attach = fields.get("attachments") is True and self.decoder.framing != LINE
        self._peer_window, self._peer_max = window, max(biggest, 1024)

    def handshake(self, contract: Optional[str], auth: Any) -> Handshake:
        """The connector's first calls: yields (method, params), is sent results, thrown errors."""
        if auth is not None:
            answer = yield "rpc.auth", auth.first()
            yield "rpc.auth", auth.second(answer)
        fields = self._hello_fields()
        fields.update(codecs=["json"], attachments=self.decoder.framing != LINE, contract=contract, hash=None)
        fields["serves"] = self.contract
        try:
            yield "rpc.hello", fields
        except TalkwireError as error:
            if error.code != "METHOD_NOT_FOUND":
                raise

    def _hello_answered(self, result: Any) -> None:
        # In the reader: the very next message may already use what was agreed.
        if type(result) is dict and result.get("codec", "json") == "json":
            self._agree(result)
            streams = result.get("streams")
            if type(streams) is list:
                self.peer_streams = frozenset(name for name in streams if type(name) is str)
            self.full = True

    # -- answers

    def _encode(self, value: Any, around: int = 0) -> Tuple[str, List[memoryview]]:
        """Raises TypeError, TOO_DEEP, FORBIDDEN_KEY. `around`: levels that are not the value's own."""
        depth = int(self.limits.max_depth) + around
        if ordinary(value, depth):
            return dumps(value), []
        exported: List[int] = []

        def export(target: Any) -> Optional[Dict[str, Any]]:
            found = self.references.export(target)
            if found is not None and "$ref" in found:
                exported.append(found["$ref"][0])
            return found

        writer = Writer(depth, not self.full, self._attach, export)
        try:
            return writer.text(value), writer.attachments
        except BaseException:
            for number in exported:
                self.references.released(number, 1)
            raise

    def _answer(self, call: Incoming, value: Any) -> None:
        try:
            text, attachments = self._encode(value)
        except (TypeError, ValueError, TalkwireError) as error:
            import logging

            logging.getLogger("talkwire").error("the result of %s cannot be sent: %s", call.method.name, error)
            return self._answer_error(call, TalkwireError("INVALID_OUTPUT", "the result cannot be sent"))
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
            self.answering += call.id is not _NO_ID
        if call.id is not _NO_ID:
            self.calls_in.pop(call.id, None)
        if call.method.streams or call.input is not None:
            self._streams -= 1
        return call.id is not _NO_ID

    def _answered(self) -> None:
        with self.lock:
            self.answering -= 1
        if self.closing and not self.busy:
            self._idle()

    @property
    def busy(self) -> bool:
        """Is any call of the peer in flight, or its answer not yet sent?"""
        return bool(self.calls_in) or self.answering > 0

    def _reply(self, id: Any, value: Any, batch: Optional[Batch]) -> None:
        self._reply_text(id, '"result":' + dumps(value), [], batch, False)

    def _reply_error(self, id: Any, error: TalkwireError, batch: Optional[Batch]) -> None:
        try:
            text, attachments = self._encode(error_to_wire(error), _AROUND_DETAILS)
        except (TypeError, ValueError, TalkwireError):
            text, attachments = dumps(error_to_wire(internal_error())), []
        self._reply_text(id, '"error":' + text, attachments, batch, False)

    def _reply_text(
        self, id: Any, body: str, attachments: List[memoryview], batch: Optional[Batch], patient: bool = True
    ) -> None:
        text = f'{_HEAD}"id":{dumps(id)},{body}}}'
        if batch is None:
            self._send(text, attachments, patient)
        else:
            batch.done(text)

    def _send(self, text: str, attachments: Optional[List[memoryview]] = None, patient: bool = True) -> int:
        """Sends one message; returns the size of its payload. Raises MESSAGE_TOO_LARGE, CONNECTION_LOST.

        `patient`: waits while the peer does not read; otherwise queues.
        """
        payload = to_utf8(text)
        framing = self.decoder.framing or LENGTH
        if attachments:
            parts, size = encode_envelope(payload, attachments)
            parts = frame_parts(framing, parts, size)
        else:
            size = len(payload)
            parts = [frame(framing, payload)] if size < 65536 else frame_parts(framing, [payload], size)
        if size > self._peer_max:
            raise TalkwireError("MESSAGE_TOO_LARGE", f"a message of {size} bytes; the peer accepts {self._peer_max}")
        self._transmit(parts, size, patient)
        return size

    def _notify(self, method: str, params: str, attachments: Any = None, patient: bool = False) -> int:
        return self._send(f'{_HEAD}"method":{quote(method)},"params":{params}}}', attachments, patient)

    # -- notifications

    def _notification(self, message: Dict[str, Any], method: str, walk: bool, attachments: Any, size: int) -> None:
        if self._auth is not None:
            return self._refuse_unauthenticated(None)
        self.greeted = True
        try:
            around = 1 if method.startswith("$/") else 0
            params = self._read(message.get("params", []), walk, attachments, around)
        except TalkwireError as error:
            return self._bad_notification(message, method, error)
        if method.startswith("$/"):
            handler = _CONTROL.get(method)
            if handler is not None and type(params) is dict:
                handler(self, params, size)
        elif method in self.listeners:
            self._event(method, params)
        elif not method.startswith("rpc."):
            self._run_unanswered(method, params)

    def _bad_notification(self, message: Dict[str, Any], method: str, error: TalkwireError) -> None:
        """A value inside cannot be taken: the stream that it belongs to has failed."""
        params = message.get("params")
        id = params.get("id") if type(params) is dict else None
        if method == "$/item" and type(id) is int and id in self.calls_out:
            self.settle(self.calls_out[id], None, error)
            self.cancel_remote(id)
        elif method == "$/input" and type(id) is int and id in self.calls_in:
            self._end_input({"id": id}, 0, error)

    def _run_unanswered(self, name: str, params: Any) -> None:
        try:
            call = self._open_incoming(_NO_ID, name, params, None, None)
        except TalkwireError:
            return  # JSON-RPC: nobody is told what became of a notification
        if not call.method.streams:
            self._execute(call)
        else:
            self._retire(call)

    def _event(self, name: str, params: Any) -> None:
        payload = params[0] if type(params) is list and len(params) == 1 else None if params == [] else params
        self._deliver(name, payload)

    def _item(self, params: Dict[str, Any], size: int) -> None:
        call = self._known_call(params.get("id"))
        if call is None or call.items is None or call.done:
            return
        try:
            call.items.push(params.get("value"), size)
        except TalkwireError as error:
            if self.full:
                return self._break(error)
            self.settle(call, None, error)
            return self.cancel_remote(call.id)
        call.signal.notify()

    def _known_call(self, id: Any) -> Optional[Outgoing]:
        return self.calls_out.get(id) if type(id) is int else None

    def _known_incoming(self, id: Any) -> Optional[Incoming]:
        return self.calls_in.get(id) if type(id) in (int, str, float) else None

    def _input(self, params: Dict[str, Any], size: int) -> None:
        call = self._known_incoming(params.get("id"))
        if call is None or call.input is None:
            return
        try:
            call.input.push(params.get("value"), size)
        except TalkwireError as error:
            return self._break(error)
        call.signal.notify()

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

    def _more_input_credit(self, params: Dict[str, Any], size: int) -> None:
        call = self._known_call(params.get("id"))
        amount = params.get("bytes")
        if call is not None and call.credit is not None and type(amount) is int and amount > 0:
            call.credit.change(amount)
            call.signal.notify()

    def _cancel(self, params: Dict[str, Any], size: int) -> None:
        call = self._known_incoming(params.get("id"))
        if call is not None:
            self.stop_incoming(call)

    def stop_streams(self) -> None:
        """Tells output streams to end, with UNAVAILABLE."""
        self.stops_streams = True
        for call in list(self.calls_in.values()):
            if call.streaming:
                call.signal.notify()
                self._cancelled(call)

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

    def _progress(self, params: Dict[str, Any], size: int) -> None:
        call = self._known_call(params.get("token"))
        if call is not None and call.on_progress is not None:
            self._run_callback(call.on_progress, params.get("value"))

    def _released(self, params: Dict[str, Any], size: int) -> None:
        for number, count in read_release(params):
            self.references.released(number, count)

    def _lost_events(self, params: Dict[str, Any], size: int) -> None:
        event, count = params.get("event"), params.get("count")
        if type(event) is str and type(count) is int and count > 0:
            for listener in self.listeners.get(event, []):
                listener.lost += count

    def _ping(self, params: Dict[str, Any], size: int) -> None:
        self._notify("$/pong", "{}")

    def _peer_closes(self, params: Dict[str, Any], size: int) -> None:
        self.peer_closing = True
        self._peer_wants_to_close()

    # -- responses

    def _response(self, message: Dict[str, Any], walk: bool, attachments: Any) -> None:
        id = message["id"]
        if id is None:
            return self._unaddressed_error(message.get("error"))
        if type(id) is not int or not 1 <= id <= self._last_id:
            return self._break(TalkwireError("INVALID_MESSAGE", "a response to an id that was never sent"))
        call = self.calls_out.get(id)
        if call is None:
            return
        try:
            if "error" in message and message["error"] is not None:
                error = error_from_wire(self._read(message["error"], walk, attachments, _AROUND_DETAILS))
                return self.settle(call, None, error)
            value = self._read(message.get("result"), walk, attachments)
            if call.on_result is not None:
                call.on_result(value)
        except TalkwireError as error:
            return self.settle(call, None, TalkwireError(error.code, error.text, outcome=RAN))
        self.settle(call, value, None)

    def _unaddressed_error(self, error: Any) -> None:
        if error is not None and not self.greeted_by_answer():
            for call in list(self.calls_out.values()):
                self.settle(call, None, error_from_wire(error))

    def greeted_by_answer(self) -> bool:
        """Has the peer agreed to hello? Before, an error without id can only mean our only call."""
        return self.full or len(self.calls_out) != 1

    def settle(self, call: Outgoing, value: Any, error: Optional[TalkwireError]) -> None:
        self.calls_out.pop(call.id, None)
        call.settle(value, error)
        if self.closing and not self.calls_out:
            self._idle()

    # -- calling

    def open(
        self,
        method: str,
        params: Union[List[Any], Dict[str, Any]],
        *,
        timeout: Optional[float] = None,
        metadata: Optional[Dict[str, str]] = None,
        stream: bool = False,
        input: bool = False,
        on_progress: Optional[Callable[[Any], None]] = None,
        on_result: Optional[Callable[[Any], None]] = None,
    ) -> Outgoing:
        """Sends a request. Raises TalkwireError (nothing was sent), TypeError for what cannot travel."""
        if self.ended is not None:
            raise TalkwireError(self.ended.code, self.ended.text, outcome="not-sent")
        if self.closing or self.peer_closing:
            raise TalkwireError("UNAVAILABLE", "the connection is closing")
        if input and not self.full:
            raise TalkwireError("UNSUPPORTED", "a plain JSON-RPC peer takes no input stream")
        meta: Dict[str, Any] = {}
        if timeout is not None:
            meta["timeout"] = max(0, math.ceil(timeout * 1000))
        if metadata:
            meta["metadata"] = metadata
        if stream:
            meta["credit"] = int(self.limits.window)
        if input:
            meta["input"] = True
        text, attachments = self._encode(params) if params else ("", [])
        body = f'"method":{quote(method)}' + (f',"params":{text or "[]"}' if text or input else "")
        if meta and self.full:
            body += f',"meta":{dumps(meta)}'
        with self.lock:
            id = self._last_id = self._last_id + 1
        call = Outgoing(id, method, self._new_signal())
        call.on_progress, call.on_result = on_progress, on_result
        if stream:
            call.items = ItemQueue(int(self.limits.window), self.full)
        if input:
            call.credit = Credit(self._peer_window)
        self.calls_out[id] = call
        try:
            self._send(f'{_HEAD}"id":{id},{body}}}', attachments)
        except BaseException:
            self.calls_out.pop(id, None)
            raise
        return call

    def cancel(self, call: Outgoing, error: Optional[TalkwireError] = None) -> None:
        """Settles the call here and asks the peer to stop. Does nothing to a settled one."""
        if not call.done:
            self.settle(call, None, error or TalkwireError("CANCELLED", "the call was cancelled"))
            self.cancel_remote(call.id)

    def cancel_remote(self, id: int) -> None:
        if self.ended is None:
            self._notify("$/cancelRequest", f'{{"id":{id}}}')

    def send_value(self, method: str, id: Any, value: Any) -> int:
        """`$/item` or `$/input`: returns its size. May block. Raises TypeError for what cannot travel."""
        text, attachments = self._encode(value)
        return self._notify(method, f'{{"id":{dumps(id)},"value":{text}}}', attachments, True)

    def give_credit(self, method: str, id: Any, amount: int) -> None:
        if amount and self.ended is None:
            self._notify(method, f'{{"id":{dumps(id)},"bytes":{amount}}}')

    def end_input(self, id: int, error: Optional[TalkwireError] = None) -> None:
        if self.ended is None:
            tail = "" if error is None else f',"error":{dumps(error_to_wire(error))}'
            self._notify("$/end", f'{{"id":{id}{tail}}}', None, True)

    def send_progress(self, call: Incoming, value: Any) -> None:
        """Raises TypeError for what cannot travel. Never blocks."""
        if call.id is not _NO_ID and not call.answered:
            text, attachments = self._encode(value)
            self._notify("$/progress", f'{{"token":{dumps(call.id)},"value":{text}}}', attachments)

    def notify(self, name: str, params: Any) -> None:
        """Sends a notification. May block while the peer does not read."""
        text, attachments = self._encode(params)
        self._notify(name, text, attachments, True)

    def publish(self, event: str, payload: Any) -> None:
        """Sends an event to this subscriber. Never blocks: what does not fit its queue is dropped and counted."""
        dropped = self.subscribed.get(event)
        if dropped is None or self.ended is not None:
            return
        if not self._has_room():
            self.subscribed[event] = dropped + 1
            return
        if dropped:
            self.subscribed[event] = 0
            self._notify("$/lost", f'{{"event":{quote(event)},"count":{dropped}}}')
        text, attachments = self._encode(as_params(payload))
        self._notify(event, text, attachments)

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

    def _make_reference(self, number: int, methods: Any) -> Reference:
        return Reference(self._call_reference, self._release_reference, number, methods)

    # -- hooks for front ends

    def _new_lock(self) -> Any:
        raise NotImplementedError

    def _new_signal(self) -> Any:
        """Something with `notify()` that a front end can wait on."""
        raise NotImplementedError

    def _transmit(self, parts: List[Any], size: int, patient: bool) -> None:
        raise NotImplementedError

    def _has_room(self) -> bool:
        """May another event be queued?"""
        raise NotImplementedError

    def _execute(self, call: Incoming) -> None:
        """Runs the handler, now or soon."""
        raise NotImplementedError

    def _cancelled(self, call: Incoming) -> None:
        """A call that may be running is to stop."""

    def _deliver(self, event: str, payload: Any) -> None:
        """Gives an event to `listeners[event]`, in order."""
        raise NotImplementedError

    def _run_callback(self, function: Callable[[Any], Any], value: Any) -> None:
        raise NotImplementedError

    def _break(self, error: TalkwireError) -> None:
        """The protocol is broken: end the connection after what is queued."""
        raise NotImplementedError

    def _idle(self) -> None:
        """No call is in flight one way or the other while we are closing."""

    def _peer_wants_to_close(self) -> None:
        """`$/close` arrived."""

    def _call_reference(self, method: str, params: List[Any]) -> Any:
        raise NotImplementedError

    def _release_reference(self, number: int, count: int) -> None:
        """Sends `$/release` soon. Called by the garbage collector too: must not take locks."""
        raise NotImplementedError

    def is_cancellation(self, error: BaseException) -> bool:
        """Is this how a front end's handler ends when it is cancelled?"""
        return False


_NO_ID = object()

#: stands in `calls_in` for a call that the reader runs itself: nothing can stop it
INLINE: Any = Incoming(None, None, None, None)  # type: ignore[arg-type]

_CONTROL: Dict[str, Callable[[Session, Dict[str, Any], int], None]] = {
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


def as_params(value: Any) -> Any:
    """How one value travels as params (§ 3.1): a plain object by name, None as nothing, all else by position."""
    if value is None:
        return []
    if type(value) is dict and all(type(key) is str for key in value):
        return value
    return [value]


def _matches(wanted: Any, served: Optional[str]) -> bool:
    if not isinstance(wanted, str) or served is None:
        return False
    return wanted == served or ("/" not in wanted and wanted == served.partition("/")[0])
