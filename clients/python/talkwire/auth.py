"""`rpc.auth`: both ends prove that they know a shared key (spec/wire.md § 4.1)."""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Any, Dict, Optional, Tuple

from .errors import TalkwireError


def _proof(key: bytes, role: str, first: str, second: str) -> str:
    return hmac.new(key, f"talkwire-{role}:{first}:{second}".encode("ascii"), hashlib.sha256).hexdigest()


def _nonce(value: Any) -> str:
    if not isinstance(value, str) or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise _refused()
    return value


def _refused() -> TalkwireError:
    return TalkwireError("UNAUTHENTICATED", "the authkey was not proven")


def _fields(value: Any) -> Dict[str, Any]:
    if not isinstance(value, dict):
        raise _refused()
    return value


class ServerAuth:
    """The callee's half for one connection."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._nonces: Optional[Tuple[str, str]] = None

    def answer(self, params: Any) -> Tuple[Any, bool]:
        """(result, proven). Raises UNAUTHENTICATED: the connection ends."""
        fields = _fields(params)
        if self._nonces is None:
            theirs, ours = _nonce(fields.get("nonce")), os.urandom(32).hex()
            self._nonces = (theirs, ours)
            return {"nonce": ours, "proof": _proof(self._key, "server", theirs, ours)}, False
        theirs, ours = self._nonces
        given = fields.get("proof")
        expected = _proof(self._key, "client", ours, theirs)
        if not isinstance(given, str) or not hmac.compare_digest(given.encode(), expected.encode()):
            raise _refused()
        return True, True


class ClientAuth:
    """The caller's half."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._ours = os.urandom(32).hex()

    def first(self) -> Dict[str, str]:
        return {"nonce": self._ours}

    def second(self, answer: Any) -> Dict[str, str]:
        """Params of the second call. Raises UNAUTHENTICATED if the server does not know the key."""
        fields = _fields(answer)
        theirs, given = _nonce(fields.get("nonce")), fields.get("proof")
        expected = _proof(self._key, "server", self._ours, theirs)
        if not isinstance(given, str) or not hmac.compare_digest(given.encode(), expected.encode()):
            raise _refused()
        return {"proof": _proof(self._key, "client", theirs, self._ours)}
