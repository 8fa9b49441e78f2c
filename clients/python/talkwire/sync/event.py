"""A flag that processes wait for: spec/sync.md, section 8."""

from __future__ import annotations

from typing import Optional

from .inspect import EventInfo, waiters_of
from .layout import VALUE
from .line import Offer, take
from .place import Block, unlink_lock
from .queue import wake_all


class Event:
    """Stays as it is when all who used it have ended, until it is unlinked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._block = Block("event", name)
        self._offer = _Flag(self._block)

    @property
    def is_set(self) -> bool:
        return self._block.load(VALUE) != 0

    def set(self) -> None:
        """Lets all pass who wait and who come, until `reset()`. Does not block."""
        self._block.check()
        self._block.store(VALUE, 1)
        wake_all(self._block)

    def reset(self) -> None:
        """From now on one waits again."""
        self._block.check()
        self._block.store(VALUE, 0)

    def wait(self, timeout: Optional[float] = None) -> None:
        """Ends when it is set. Raises DEADLINE_EXCEEDED."""
        take(self._offer, timeout)

    def inspect(self) -> EventInfo:
        """Who waits for it."""
        self._block.check()
        return EventInfo(self.is_set, waiters_of(self._block))

    def close(self) -> None:
        """Gives up this object; the name stays."""
        self._block.close()

    @staticmethod
    def unlink(name: str) -> None:
        """Takes a name away. Who has it open keeps the old one. Raises NOT_FOUND."""
        unlink_lock("event", name)


class _Flag(Offer[bool]):
    many = True

    def is_ordered(self) -> bool:
        return False

    def take(self, late: bool, waits: bool) -> Optional[bool]:
        return True if self.is_free() else None

    def is_free(self) -> bool:
        return self.block.load(VALUE) != 0
