"""The one error class, and how errors cross the wire (spec/wire.md § 6)."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

NOT_SENT, MAYBE_RAN, RAN = "not-sent", "maybe-ran", "ran"
OUTCOMES = frozenset((NOT_SENT, MAYBE_RAN, RAN))

DECLARED = -32010

#: name -> (number on the wire, outcome unless stated)
WIRE_CODES: Dict[str, Tuple[int, str]] = {
    "INVALID_MESSAGE": (-32700, NOT_SENT),
    "INVALID_REQUEST": (-32600, NOT_SENT),
    "METHOD_NOT_FOUND": (-32601, NOT_SENT),
    "INVALID_INPUT": (-32602, NOT_SENT),
    "INTERNAL": (-32603, RAN),
    "INVALID_OUTPUT": (-32603, RAN),
    "CANCELLED": (-32800, MAYBE_RAN),
    "DEADLINE_EXCEEDED": (-32001, MAYBE_RAN),
    "LIMIT_EXCEEDED": (-32002, NOT_SENT),
    "UNAUTHENTICATED": (-32003, NOT_SENT),
    "CONTRACT_MISMATCH": (-32004, NOT_SENT),
    "UNAVAILABLE": (-32005, NOT_SENT),
    "MESSAGE_TOO_LARGE": (-32006, NOT_SENT),
    "TOO_DEEP": (-32007, NOT_SENT),
    "FORBIDDEN_KEY": (-32008, NOT_SENT),
}

_NAMES: Dict[int, str] = {
    number: name for name, (number, _) in WIRE_CODES.items() if name != "INVALID_OUTPUT"
}


class TalkwireError(Exception):
    """Whatever goes wrong between two processes.

    `code` is stable text (`DEADLINE_EXCEEDED`, or a declared error's name).
    `outcome` says honestly whether the remote function ran: `not-sent`,
    `maybe-ran` or `ran`. `declared` is true for an error that the service
    raised on purpose with `declared_error`; `details` is then its payload.
    The text begins with `[CODE] `.
    """

    def __init__(
        self,
        code: str,
        text: str = "",
        *,
        outcome: Optional[str] = None,
        details: Any = None,
        declared: bool = False,
    ) -> None:
        super().__init__(f"[{code}] {text}" if text else f"[{code}]")
        self.code = code
        self.text = text
        self.outcome: str = outcome or (RAN if declared else WIRE_CODES.get(code, (0, NOT_SENT))[1])
        self.details = details
        self.declared = declared

    @classmethod
    def declared_error(cls, name: str, details: Any = None, text: str = "") -> "TalkwireError":
        """An error for a handler to raise so that the caller gets its name and details."""
        return cls(name, text, details=details, declared=True)


declared_error = TalkwireError.declared_error


def error_to_wire(error: TalkwireError) -> Dict[str, Any]:
    """The JSON-RPC error object; `details` is still to be encoded as a value."""
    number = DECLARED if error.declared else WIRE_CODES.get(error.code, (-32603, RAN))[0]
    data: Dict[str, Any] = {"code": error.code, "outcome": error.outcome}
    if error.details is not None:
        data["details"] = error.details
    return {"code": number, "message": error.text or error.code, "data": data}


def internal_error() -> TalkwireError:
    """What a peer learns of a handler's exception that was not declared."""
    return TalkwireError("INTERNAL", "internal error")


def error_from_wire(error: Any) -> TalkwireError:
    """A TalkwireError from a peer's error object, whatever the peer put there. Never raises."""
    if not isinstance(error, dict):
        return TalkwireError("UNKNOWN", "the peer sent an error without content", outcome=MAYBE_RAN)
    number, message, data = error.get("code"), error.get("message"), error.get("data")
    text = message if isinstance(message, str) else ""
    if isinstance(data, dict) and isinstance(data.get("code"), str) and data.get("outcome") in OUTCOMES:
        return TalkwireError(
            data["code"], text, outcome=data["outcome"], details=data.get("details"), declared=number == DECLARED
        )
    name = _NAMES.get(number) if type(number) is int else None
    if name is not None:
        return TalkwireError(name, text, details=data)
    return TalkwireError("UNKNOWN", text, outcome=MAYBE_RAN, details={"code": number, "data": data})
