"""A call that we made."""

from __future__ import annotations

from typing import Any, Callable, Optional

from ..errors import TalkwireError
from ..streams import Credit, ItemQueue


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
