"""Flow control of streams in bytes of credit (spec/wire.md § 3.1). No I/O, no waiting: front ends wait."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, Deque, List, Optional, Tuple

from .errors import TalkwireError

_FREE = 16 * 1024 * 1024  # what a plain peer, which knows no credit, may have waiting with us


class Credit:
    """How many bytes we may still send. `None`: no limit but the connection's own."""

    def __init__(self, amount: Optional[int]) -> None:
        self._lock = threading.Lock()
        self.first = amount
        self.amount = amount

    def ready(self) -> bool:
        return self.amount is None or self.amount > 0

    def change(self, by: int) -> None:
        with self._lock:
            if self.amount is not None:
                self.amount += by


class ItemQueue:
    """Items that arrived and were not taken yet. Bounded by the credit that we gave."""

    def __init__(self, window: int, enforced: bool) -> None:
        self._lock = threading.Lock()
        self._items: Deque[Tuple[Any, int]] = deque()
        self._window = window
        self._enforced = enforced
        self._left = window if enforced else _FREE
        self._owed = 0
        self.ended = False
        self.error: Optional[TalkwireError] = None

    def ready(self) -> bool:
        return bool(self._items) or self.ended

    def push(self, value: Any, size: int) -> None:
        """Raises LIMIT_EXCEEDED if the sender had no credit."""
        with self._lock:
            if self._left <= 0:
                raise TalkwireError("LIMIT_EXCEEDED", "a stream was sent beyond its credit", outcome="maybe-ran")
            self._left -= size
            self._items.append((value, size))

    def end(self, error: Optional[TalkwireError] = None) -> None:
        self.error = self.error or error
        self.ended = True

    def __len__(self) -> int:
        return len(self._items)

    def clear(self) -> List[Any]:
        """What nobody is going to take."""
        with self._lock:
            left = [value for value, _ in self._items]
            self._items.clear()
        return left

    def take(self) -> Tuple[Any, int]:
        """(item, bytes of credit to give back now). Only when there is one."""
        with self._lock:
            value, size = self._items.popleft()
            if not self._enforced:
                self._left += size
                return value, 0
            self._owed += size
            if self._owed * 2 < self._window:
                return value, 0
            give, self._owed = self._owed, 0
            self._left += give
            return value, give
