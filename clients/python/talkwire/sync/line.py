"""Wanting what a lock has to offer, and waiting for it in turn: spec/sync.md, section 4."""

from __future__ import annotations

import time
from typing import Generic, Optional, TypeVar

from ..bell import borrowed_bell
from .layout import FAIR, FLAGS, HUNGRY, WAITING
from .place import Block
from .queue import answer, dequeue, enqueue, is_first, remain, wake_first
from .waiting import wait_until

T = TypeVar("T")

_SPINS = 100
_HUNGRY_AFTER = 0.002  # seconds


class Offer(Generic[T]):
    """What there is to be had."""

    many = False
    """Whether several may have it at a time, so that there may be more when one was taken."""

    def __init__(self, block: Block) -> None:
        self.block = block

    def take(self, late: bool, waits: bool) -> Optional[T]:
        """Takes it if it is free. `late`: a dead one's is free. `waits`: `give_up` is called if that goes on to be in vain."""
        raise NotImplementedError

    def is_ordered(self) -> bool:
        """Whether those who came first go first, once one has waited too long or the lock is fair."""
        return True

    def give_up(self) -> None:
        """What `take` kept for one who waits."""

    def is_free(self) -> bool:
        """Whether `take` would get it. Looks for the dead, too."""
        raise NotImplementedError

    def owner(self) -> int:
        """Whose end would free it; 0 if nobody's alone."""
        return 0

    def last_grant(self) -> float:
        """The number of the last grant."""
        return 0


def try_take(offer: Offer[T]) -> Optional[T]:
    """At once or not at all; from the dead too."""
    offer.block.check()
    return _take_in_turn(offer, None, True, False)


def take(offer: Offer[T], timeout: Optional[float]) -> T:
    """Blocks this thread. Raises DEADLINE_EXCEEDED; then nothing was taken."""
    offer.block.check()
    for _ in range(_SPINS):
        taken = _take_in_turn(offer, None, False, False)
        if taken is not None:
            return taken
    with borrowed_bell() as bell:
        wish = _Wish(offer, bell)
        try:
            wait_until(offer.block.title, bell, wish.attempt, offer.owner, offer.block.me, timeout)
        finally:
            wish.leave()
    assert wish.taken is not None
    return wish.taken


def _take_in_turn(offer: Offer[T], place: Optional[int], late: bool, waits: bool) -> Optional[T]:
    return offer.take(late, waits) if not offer.is_ordered() or _may_go(offer.block, place) else None


def _may_go(block: Block, mine: Optional[int]) -> bool:
    strict = block.load(HUNGRY) or block.load(FLAGS) & FAIR
    return not strict or block.load(WAITING) == 0 or is_first(block, mine)


class _Wish(Generic[T]):
    """One who wants it and has a place in the queue."""

    def __init__(self, offer: Offer[T], bell: int) -> None:
        self.taken: Optional[T] = None
        self._offer = offer
        self._bell = bell
        self._place: Optional[int] = None
        self._since = time.monotonic()
        self._left: Optional[float] = None

    def attempt(self, late: bool) -> bool:
        block = self._offer.block
        if self._place is None:
            # Whoever lets go from here on finds the place; whoever did before is found by the look that follows.
            self._place = enqueue(block, self._bell)
        else:
            answer(block, self._place)
        self.taken = _take_in_turn(self._offer, self._place, late, True)
        if self.taken is None and late:
            self._pass_one()
        if self.taken is None and self._place is not None and time.monotonic() - self._since > _HUNGRY_AFTER:
            block.store(HUNGRY, 1)
        if self.taken is None and self._place is not None:
            remain(block)
        return self.taken is not None

    def _pass_one(self) -> None:
        """Free now, and since the look before: whoever is to go first is stopped, or dead, and is passed."""
        grant = self._offer.last_grant() if self._offer.is_free() else None
        if grant is not None and grant == self._left:
            self.taken = self._offer.take(True, True)
        self._left = grant

    def leave(self) -> None:
        offer, block = self._offer, self._offer.block
        if self.taken is None:
            offer.give_up()
        if self._place is None:
            return
        if block.load(HUNGRY) and is_first(block, self._place):
            block.store(HUNGRY, 0)
        dequeue(block, self._place)
        # Somebody may have let go and rung here, in vain or for more than one.
        if offer.many or self.taken is None:
            wake_first(block)


