"""One at a time, across processes and languages: spec/sync.md, section 5."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

from ..owner import is_alive
from .fence import begin_grant, label_bytes
from .inspect import LockInfo, inspect_lock
from .layout import DAMAGED, DEATHS, FAIR, FENCE, FLAGS, OWNER
from .line import Offer, take, try_take
from .place import Block, unlink_lock
from .queue import wake_first


class Grant(NamedTuple):
    """A grant of a mutex."""

    fence: float
    """Larger than that of every earlier grant."""
    abandoned: bool
    """An owner died within, and nobody has called `repaired()` since."""


class Mutex:
    """One at a time. `with mutex as grant: …`

    A thread that has it and wants it again waits for itself. Threads of one process take turns like processes. `fair`: who came
    first gets it first, for all who use it from now on; without it, whoever has waited for 2 ms goes first. `label`: what
    `inspect()` and `talkwire locks` tell of the holder, besides its pid and command; at most 32 bytes, or ValueError.
    """

    def __init__(self, name: str, *, fair: bool = False, label: str = "") -> None:
        signature = label_bytes(label)
        self.name = name
        self._block = Block("mutex", name)
        if fair:
            self._block.set_bits(FLAGS, FAIR)
        self._ownership = Ownership(self._block, signature)

    def acquire(self, timeout: Optional[float] = None) -> Grant:
        """Waits for it, at most `timeout` s. Raises DEADLINE_EXCEEDED."""
        return take(self._ownership, timeout)

    def try_acquire(self) -> Optional[Grant]:
        """At once or not at all; from a dead owner too."""
        return try_take(self._ownership)

    def repaired(self) -> None:
        """Says that the data are whole again, while it is held."""
        self._block.store(DAMAGED, 0)

    def release(self) -> None:
        """Lets go. Does not block."""
        self._ownership.let_go()

    def inspect(self) -> LockInfo:
        """Who holds it, who waits."""
        self._block.check()
        return inspect_lock(self._block)

    def close(self) -> None:
        """Gives up this object. The last one to close a free mutex takes its name away, as does the end of the process."""
        self._block.close()

    def __enter__(self) -> Grant:
        return self.acquire()

    def __exit__(self, *_: Any) -> None:
        self.release()

    @property
    def ownership(self) -> Ownership:
        """For conditions."""
        return self._ownership

    @staticmethod
    def unlink(name: str) -> None:
        """Takes a name away. Who has it open keeps the old one. Raises NOT_FOUND."""
        unlink_lock("mutex", name)


class Ownership(Offer[Grant]):
    """The word of the owner."""

    def __init__(self, block: Block, label: bytes) -> None:
        super().__init__(block)
        self._label = label

    def take(self, late: bool, waits: bool) -> Optional[Grant]:
        block = self.block
        owner = self.owner()
        if owner != 0:
            if not late or is_alive(owner) or not block.swap(OWNER, owner, block.me, 8):
                return None
            block.store(DAMAGED, 1)
            # Who waits for a condition learns of it, also when everything is repaired by the time that it looks.
            block.add(DEATHS, 1)
        elif not block.swap(OWNER, 0, block.me, 8):
            return None
        return Grant(begin_grant(block, self._label), block.load(DAMAGED) != 0)

    def is_free(self) -> bool:
        return not is_alive(self.owner())

    def owner(self) -> int:
        return self.block.load(OWNER, 8)

    def last_grant(self) -> float:
        return self.block.float(FENCE).value

    def let_go(self) -> None:
        # The child of a fork has left a `with` in which only the parent is.
        if self.block.forked:
            return
        self.block.swap(OWNER, self.block.me, 0, 8)
        wake_first(self.block)

    def deaths(self) -> int:
        return self.block.load(DEATHS)

    def has_died(self, before: int) -> bool:
        """Its owner is dead, or one was since there were so many deaths, or before and nobody has repaired."""
        owner = self.owner()
        return self.block.load(DAMAGED) != 0 or self.deaths() != before or (owner != 0 and not is_alive(owner))
