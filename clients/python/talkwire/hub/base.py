"""What the patterns need of the hub they belong to."""

from __future__ import annotations

import threading
from typing import Any, Dict, Optional, Protocol
from weakref import WeakSet

from ..client import Client
from ..errors import MAYBE_RAN, TalkwireError
from ..remote import Stream


class Closable(Protocol):
    def close(self) -> None: ...


class Base:
    def __init__(self, client: Client) -> None:
        self.client = client
        self._lock = threading.Lock()
        # Those that work have threads that hold them; a subscription that nobody has any more ends by itself.
        self._kept: "WeakSet[Closable]" = WeakSet()

    def keep(self, thing: Closable) -> None:
        """Closed with the hub, unless it is forgotten before."""
        with self._lock:
            self._kept.add(thing)

    def forget(self, thing: Closable) -> None:
        with self._lock:
            self._kept.discard(thing)

    def close(self) -> None:
        with self._lock:
            kept = list(self._kept)
            self._kept.clear()
        # What waits for the hub to come back would be waited for.
        self.client._link.end_with_this()
        for thing in kept:
            thing.close()
        self.client.close()


class Lasting:
    """Iterates over the elements of a stream, which is opened again when its connection was lost: each opening begins with
    `{"ready": True}`. Ends when it is closed."""

    def __init__(self, client: Client, method: str, wish: Dict[str, Any]) -> None:
        self._client = client
        self._method = method
        self._wish = wish
        self._closed = False
        self._stream = self._open()

    def _open(self) -> Stream:
        return self._client.stream(self._method, self._wish)

    def __iter__(self) -> "Lasting":
        return self

    def __next__(self) -> Any:
        while True:
            try:
                return next(self._stream)
            except TalkwireError as error:
                if self._closed:
                    raise StopIteration from None
                if not was_lost(error):
                    raise
            self._stream = self._open()
            if self._closed:
                self._stream.close()

    def close(self) -> None:
        self._closed = True
        self._stream.close()


def was_lost(error: TalkwireError) -> bool:
    """The connection was there, and is not any more: the next call waits for another."""
    return error.code.startswith("CONNECTION_") and error.outcome == MAYBE_RAN


def timed_out(what: str, timeout: Optional[float]) -> TalkwireError:
    return TalkwireError("DEADLINE_EXCEEDED", f"{what} within {timeout} s", outcome=MAYBE_RAN)
