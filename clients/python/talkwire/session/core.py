"""What every part of a session stands on: its state, values to text and back, sending, and the hooks of front ends."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Tuple, TypeVar

from ..codec_json import Reader, Writer, dumps, ordinary, quote, to_utf8
from ..descriptor import Descriptor, Descriptors, close_given, contains_descriptor
from ..errors import TalkwireError, error_to_wire, internal_error
from ..framing import LENGTH, FrameDecoder, encode_envelope, frame, frame_parts
from ..limits import Limits
from ..methods import MethodTable
from ..references import Reference, References
from ..wire import Peer
from .incoming import Batch, Incoming
from .outgoing import Outgoing

HEAD = '{"jsonrpc":"2.0",'
T = TypeVar("T")
AROUND_DETAILS = 2  # `details` stands in `data` in `error`


class Core:
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
        subscribe: Optional[Callable[[Any, str, bool], None]] = None,
    ) -> None:
        self.connector = connector
        self.methods = methods
        self.contract = contract
        self.limits = limits
        self.peer = peer
        self.decoder = FrameDecoder(int(limits.max_message), framing)
        self.full = False  # both said hello
        self.greeting = self._new_lock()  # held while hello is answered: who closes meanwhile still says so
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
        self.descriptors: Optional[Descriptors] = None
        self.channel_token: Optional[str] = None  # what the service offered
        self.wants_channel = False
        self.references = References(int(limits.max_references), self._make_reference)

    @property
    def is_open(self) -> bool:
        """May new calls be made?"""
        return self.ended is None and not self.closing and not self.peer_closing

    # -- values

    def _read(self, value: Any, walk: bool, attachments: Any, around: int = 0) -> Any:
        """The values in an arrived message. Raises what § 5 refuses. `around`: levels that are not the value's own."""
        if not walk:
            return value
        reader = Reader(
            int(self.limits.max_depth) + around,
            self.full,
            attachments,
            self.references.arrived,
            self.references.home,
            None if self.descriptors is None else self.descriptors.arrived,
        )
        result = reader.read(value)
        reader.finish()
        return result

    def _encode(self, value: Any, around: int = 0, descriptors: bool = False) -> Tuple[str, List[memoryview]]:
        """Raises TypeError, TOO_DEEP, FORBIDDEN_KEY. `around`: levels that are not the value's own. `descriptors`: may travel here."""
        depth = int(self.limits.max_depth) + around
        if ordinary(value, depth):
            return dumps(value), []
        exported: List[int] = []
        count = 0

        def export(target: Any) -> Optional[Dict[str, Any]]:
            nonlocal count
            if isinstance(target, Descriptor):
                count += 1
                return self._export_descriptor(target, descriptors, count)
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

    def _export_descriptor(self, value: Descriptor, allowed: bool, count: int) -> Dict[str, Any]:
        if self.descriptors is None:
            raise TalkwireError("UNSUPPORTED", "this connection carries no descriptors: unix: and descriptors=True on both sides")
        if not allowed:
            raise TalkwireError("UNSUPPORTED", "errors carry no descriptors; return what is to be handed over")
        if count > 16:
            raise TalkwireError("LIMIT_EXCEEDED", "more than 16 descriptors in one message; make several calls")
        return self.descriptors.export(value)

    # -- sending

    def _carrying(self, value: Any, send: Callable[[], T], keep: bool = False) -> T:
        """Sends a message with that value, in one order with its descriptors. What was given is closed then, sent or not, unless `keep`."""
        if self.descriptors is None or not contains_descriptor(value):
            return send()
        with self.descriptors.order:
            try:
                return send()
            finally:
                if not keep:
                    close_given(value)

    def _reply(self, id: Any, value: Any, batch: Optional[Batch]) -> None:
        self._reply_text(id, '"result":' + dumps(value), [], batch, False)

    def _reply_error(self, id: Any, error: TalkwireError, batch: Optional[Batch]) -> None:
        try:
            text, attachments = self._encode(error_to_wire(error), AROUND_DETAILS)
        except (TypeError, ValueError, TalkwireError):
            text, attachments = dumps(error_to_wire(internal_error())), []
        self._reply_text(id, '"error":' + text, attachments, batch, False)

    def _reply_text(
        self, id: Any, body: str, attachments: List[memoryview], batch: Optional[Batch], patient: bool = True
    ) -> None:
        text = f'{HEAD}"id":{dumps(id)},{body}}}'
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
        return self._send(f'{HEAD}"method":{quote(method)},"params":{params}}}', attachments, patient)

    def _refuse_unauthenticated(self, id: Any) -> None:
        error = TalkwireError("UNAUTHENTICATED", "rpc.auth comes first, with the right authkey")
        self._reply_error(id, error, None)
        self._break(error)

    def notify(self, name: str, params: Any) -> None:
        """Sends a notification. May block while the peer does not read."""
        self._carrying(params, lambda: self._notify(name, *self._encode(params, descriptors=True), True))

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
