"""So many at a time, across processes and languages: spec/sync.md, section 6."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

from ..errors import TalkwireError
from ..owner import is_alive
from .fence import next_fence_of_many
from .inspect import SemaphoreInfo, holders_of, waiters_of
from .layout import COUNTING, FAIR, FENCE, FLAGS, LIMIT, SLOTS, VALUE
from .line import Offer, take, try_take
from .place import Block, unlink_lock
from .queue import wake_first
from .slots import free_mine, owners_of, take_share


class Permit(NamedTuple):
    """A grant of a semaphore."""

    fence: int
    """Larger than that of every earlier grant."""
    inherited: bool
    """Whoever had it before died with it."""


class Semaphore:
    """`permits` at a time: 1 to 128; all who use it say the same. `with semaphore as permit: …`

    What a process had when it died comes back. With `signalling` it is a count that is `permits` at first, from 0 on: anyone
    may `post()`, and nothing comes back. Raises INVALID_MEMORY when others say otherwise.
    """

    def __init__(self, name: str, permits: int, *, fair: bool = False, signalling: bool = False) -> None:
        least, most = (0, 0x7FFFFFFF) if signalling else (1, SLOTS)
        if not isinstance(permits, int) or not least <= permits <= most:
            raise ValueError(f"{permits} permits: take a whole number from {least} to {most}")
        self.name = name
        self._block = block = Block("semaphore", name)
        self._signalling = signalling
        if signalling != bool(block.load(FLAGS) & COUNTING) and block.load(LIMIT) != 0:
            raise TalkwireError(
                "INVALID_MEMORY", f"{block.title} is used in the other way; say the same signalling everywhere, or take another name"
            )
        if signalling:
            # One more, so that 0 says that nobody has set it.
            block.set_bits(FLAGS, COUNTING)
            block.swap(LIMIT, 0, permits + 1)
        else:
            block.agree(LIMIT, permits, "permits")
        if fair:
            block.set_bits(FLAGS, FAIR)
        self._offer: Offer[Permit] = _Counted(block) if signalling else _Owned(block)

    def acquire(self, timeout: Optional[float] = None) -> Permit:
        """Waits for one, at most `timeout` s. Raises DEADLINE_EXCEEDED."""
        return take(self._offer, timeout)

    def try_acquire(self) -> Optional[Permit]:
        """At once or not at all; from the dead too."""
        return try_take(self._offer)

    def release(self) -> None:
        """Gives one back that this process has; with `signalling`, posts. Does not block. Raises CLOSED when it has none."""
        if self._signalling:
            self.post()
        elif not self._block.forked:
            if not free_mine(self._block, _permits(self._block)):
                raise TalkwireError("CLOSED", f"this process has no permit of {self._block.title}; release() what acquire() gave, once")
            wake_first(self._block)

    def post(self) -> None:
        """One more, for whoever waits. Only with `signalling`. Does not block."""
        if not self._signalling:
            raise TypeError(f"{self._block.title} has permits that belong to somebody: release() one, or make it with signalling=True")
        self._block.check()
        self._block.add(VALUE, 1)
        wake_first(self._block)

    @property
    def available(self) -> int:
        """How many could be had at this moment, those of the dead among them."""
        if self._signalling:
            return _count(self._block)
        return self._block.load(LIMIT) - sum(map(is_alive, owners_of(self._block, _permits(self._block))))

    def inspect(self) -> SemaphoreInfo:
        """Who has permits, who waits."""
        block = self._block
        block.check()
        among = range(0) if self._signalling else _permits(block)
        return SemaphoreInfo(holders_of(block, among), waiters_of(block), self.available, block.load(FENCE, 8))

    def close(self) -> None:
        """Gives up this object. The last one to close it takes its name away, unless it is for signalling."""
        self._block.close()

    def __enter__(self) -> Permit:
        return self.acquire()

    def __exit__(self, *_: Any) -> None:
        self.release()

    @staticmethod
    def unlink(name: str) -> None:
        """Takes a name away. Who has it open keeps the old one. Raises NOT_FOUND."""
        unlink_lock("semaphore", name)


def _permits(block: Block) -> range:
    return range(min(block.load(LIMIT), SLOTS))


class _Owned(Offer[Permit]):
    many = True

    def take(self, late: bool, waits: bool) -> Optional[Permit]:
        taken = take_share(self.block, _permits(self.block), late)
        return Permit(next_fence_of_many(self.block), taken.inherited) if taken else None

    def is_free(self) -> bool:
        owners = owners_of(self.block, _permits(self.block))
        return sum(map(is_alive, owners)) < self.block.load(LIMIT)

    def owner(self) -> int:
        # Any of several: their ends are found by looking.
        owners = owners_of(self.block, _permits(self.block)) if self.block.load(LIMIT) == 1 else []
        return owners[0] if owners else 0

    def last_grant(self) -> float:
        return self.block.load(FENCE, 8)


class _Counted(Offer[Permit]):
    many = True

    def take(self, late: bool, waits: bool) -> Optional[Permit]:
        block = self.block
        while True:
            value = block.load(VALUE)
            if _count_of(block, value) <= 0:
                return None
            if block.swap(VALUE, value, value - 1):
                return Permit(next_fence_of_many(block), False)

    def is_free(self) -> bool:
        return _count(self.block) > 0

    def last_grant(self) -> float:
        return self.block.load(FENCE, 8)


def _count(block: Block) -> int:
    return _count_of(block, block.load(VALUE))


def _count_of(block: Block, value: int) -> int:
    """What was posted less what was taken is signed."""
    return block.load(LIMIT) - 1 + value - (value >> 31 << 32)
