"""Calling: requests, their answers, and the streams that belong to them."""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

from ..codec_json import dumps, quote
from ..descriptor import close_all, weight_of
from ..errors import RAN, TalkwireError, error_from_wire, error_to_wire
from ..streams import Credit, ItemQueue
from .core import HEAD, AROUND_DETAILS, Core
from .outgoing import Outgoing


class Calls(Core):
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
        begun: Optional[List[Tuple[Any, Outgoing]]] = None,
    ) -> Outgoing:
        """Sends a request. Raises TalkwireError (nothing was sent), TypeError for what cannot travel. `begun` has session and call
        before it is sent: whoever may be interrupted before this returns cancels what is in it."""
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
        return self._carrying(params, lambda: self._open(method, params, meta, stream, input, on_progress, on_result, begun))

    def _open(
        self,
        method: str,
        params: Union[List[Any], Dict[str, Any]],
        meta: Dict[str, Any],
        stream: bool,
        input: bool,
        on_progress: Optional[Callable[[Any], None]],
        on_result: Optional[Callable[[Any], None]],
        begun: Optional[List[Tuple[Any, Outgoing]]],
    ) -> Outgoing:
        text, attachments = self._encode(params, descriptors=True) if params else ("", [])
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
        if begun is not None:
            begun.append((self, call))
        self.calls_out[id] = call
        try:
            self._send(f'{HEAD}"id":{id},{body}}}', attachments)
        except BaseException:
            self.calls_out.pop(id, None)
            raise
        return call

    def settle(self, call: Outgoing, value: Any, error: Optional[TalkwireError]) -> None:
        self.calls_out.pop(call.id, None)
        call.settle(value, error)
        if self.closing and not self.calls_out:
            self._idle()

    def cancel(self, call: Outgoing, error: Optional[TalkwireError] = None) -> None:
        """Settles the call here and asks the peer to stop. Does nothing to a settled one."""
        if not call.done:
            self.settle(call, None, error or TalkwireError("CANCELLED", "the call was cancelled"))
            self.cancel_remote(call.id)

    def cancel_remote(self, id: int) -> None:
        if self.ended is None:
            self._notify("$/cancelRequest", f'{{"id":{id}}}')

    # -- answers

    def _response(self, message: Dict[str, Any], walk: bool, attachments: Any) -> None:
        id = message["id"]
        if id is None:
            return self._unaddressed_error(message.get("error"))
        if type(id) is not int or not 1 <= id <= self._last_id:
            return self._break(TalkwireError("INVALID_MESSAGE", "a response to an id that was never sent"))
        call = self.calls_out.get(id)
        if call is None:
            return self._late_answer(message, walk, attachments)
        try:
            if "error" in message and message["error"] is not None:
                error = error_from_wire(self._read(message["error"], walk, attachments, AROUND_DETAILS))
                return self.settle(call, None, error)
            value = self._read(message.get("result"), walk, attachments)
            if call.on_result is not None:
                call.on_result(value)
        except TalkwireError as error:
            self._drop_arrivals()
            return self.settle(call, None, TalkwireError(error.code, error.text, outcome=RAN))
        if self.descriptors is not None:
            self.descriptors.arrivals()  # they are the caller's now
        self.settle(call, value, None)

    def _late_answer(self, message: Dict[str, Any], walk: bool, attachments: Any) -> None:
        """Nobody waits for it; descriptors that came with it are closed."""
        if self.descriptors is None or not walk:
            return
        try:
            self._read(message.get("result"), walk, attachments)
        except TalkwireError:
            pass
        self._drop_arrivals()

    def _drop_arrivals(self) -> None:
        if self.descriptors is not None:
            close_all(self.descriptors.arrivals())

    def _unaddressed_error(self, error: Any) -> None:
        if error is not None and not self.greeted_by_answer():
            for call in list(self.calls_out.values()):
                self.settle(call, None, error_from_wire(error))

    def greeted_by_answer(self) -> bool:
        """Has the peer agreed to hello? Before, an error without id can only mean our only call."""
        return self.full or len(self.calls_out) != 1

    # -- streams and progress

    def send_value(self, method: str, id: Any, value: Any, credit: Optional[Credit]) -> None:
        """`$/item` or `$/input`, which takes its size of the credit. May block. Raises TypeError for what cannot travel."""
        size = self._carrying(value, lambda: self._send_value(method, id, value, credit))
        if credit is not None:
            credit.change(-size)

    def _send_value(self, method: str, id: Any, value: Any, credit: Optional[Credit]) -> int:
        before = 0 if self.descriptors is None else self.descriptors.sent
        text, attachments = self._encode(value, descriptors=True)
        count = 0 if self.descriptors is None else self.descriptors.sent - before
        window = None if credit is None else credit.first
        return weight_of(count, window or 0) + self._notify(method, f'{{"id":{dumps(id)},"value":{text}}}', attachments, True)

    def give_credit(self, method: str, id: Any, amount: int) -> None:
        if amount and self.ended is None:
            self._notify(method, f'{{"id":{dumps(id)},"bytes":{amount}}}')

    def end_input(self, id: int, error: Optional[TalkwireError] = None) -> None:
        if self.ended is None:
            tail = "" if error is None else f',"error":{dumps(error_to_wire(error))}'
            self._notify("$/end", f'{{"id":{id}{tail}}}', None, True)

    def _item(self, params: Dict[str, Any], size: int) -> bool:
        call = self._known_call(params.get("id"))
        if call is None or call.items is None or call.done:
            return False
        try:
            call.items.push(params.get("value"), size)
        except TalkwireError as error:
            if self.full:
                self._break(error)
            else:
                self.settle(call, None, error)
                self.cancel_remote(call.id)
            return False
        call.signal.notify()
        return True

    def _known_call(self, id: Any) -> Optional[Outgoing]:
        return self.calls_out.get(id) if type(id) is int else None

    def _more_input_credit(self, params: Dict[str, Any], size: int) -> None:
        call = self._known_call(params.get("id"))
        amount = params.get("bytes")
        if call is not None and call.credit is not None and type(amount) is int and amount > 0:
            call.credit.change(amount)
            call.signal.notify()

    def _progress(self, params: Dict[str, Any], size: int) -> bool:
        call = self._known_call(params.get("token"))
        if call is None or call.on_progress is None:
            return False
        self._run_callback(call.on_progress, params.get("value"))
        return True
