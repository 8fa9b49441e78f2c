"""The first messages of a connection: `rpc.auth` and `rpc.hello` (spec/wire.md § 4)."""

from __future__ import annotations

from typing import Any, Dict, Generator, Optional, Tuple

from ..errors import TalkwireError
from ..framing import LINE
from .core import Core
from .incoming import Batch

Handshake = Generator[Tuple[str, Dict[str, Any]], Any, None]


class Hello(Core):
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
        if fields.get("channel") is True:
            token = self._offer_channel()
            if token is not None:
                answer["channel"] = token
        with self.greeting:
            self._reply(id, answer, None)
            self.full = True

    def _offer_channel(self) -> Optional[str]:
        """The token for a channel for descriptors; None if there is to be none."""
        return None

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
        if self.wants_channel:
            fields["channel"] = True
        try:
            yield "rpc.hello", fields
        except TalkwireError as error:
            if error.code != "METHOD_NOT_FOUND":
                raise

    def _hello_answered(self, result: Any) -> None:
        # In the reader: the very next message may already use what was agreed.
        if type(result) is dict and result.get("codec", "json") == "json":
            self._agree(result)
            token = result.get("channel")
            self.channel_token = token if type(token) is str else None
            streams = result.get("streams")
            if type(streams) is list:
                self.peer_streams = frozenset(name for name in streams if type(name) is str)
            self.full = True


def _matches(wanted: Any, served: Optional[str]) -> bool:
    if not isinstance(wanted, str) or served is None:
        return False
    return wanted == served or ("/" not in wanted and wanted == served.partition("/")[0])
