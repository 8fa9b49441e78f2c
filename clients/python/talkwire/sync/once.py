"""Something that is done once, by whichever process comes first: spec/sync.md, section 9."""

from __future__ import annotations

from typing import Callable, Optional

from .fence import label_bytes
from .inspect import OnceInfo, inspect_lock
from .layout import DAMAGED, VALUE
from .line import take
from .mutex import Ownership
from .place import Block, unlink_lock


class Once:
    """Stays done when all who used it have ended, until it is unlinked or the machine starts anew."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._block = Block("once", name)
        self._ownership = Ownership(self._block, label_bytes(""))

    @property
    def is_done(self) -> bool:
        return self._block.load(VALUE) != 0

    def run(self, work: Callable[[], object], timeout: Optional[float] = None) -> bool:
        """Ends when it is done; True when it was done here. Others wait meanwhile, at most their `timeout` s (DEADLINE_EXCEEDED).

        When `work` raises, or its process dies, it is not done, and the next one does it.
        """
        self._block.check()
        if self.is_done:
            return False
        take(self._ownership, timeout)
        try:
            if self.is_done:
                return False
            work()
            self._block.store(VALUE, 1)
            self._block.store(DAMAGED, 0)
            return True
        finally:
            self._ownership.let_go()

    def inspect(self) -> OnceInfo:
        """Who does it, who waits."""
        self._block.check()
        return OnceInfo(*inspect_lock(self._block), self.is_done)

    def close(self) -> None:
        """Gives up this object; the name stays."""
        self._block.close()

    @staticmethod
    def unlink(name: str) -> None:
        """Takes a name away: then it is not done any more. Raises NOT_FOUND."""
        unlink_lock("once", name)
