"""A place where so many wait for each other: spec/sync.md, section 11."""

from __future__ import annotations

from typing import NamedTuple, Optional

from ..errors import TalkwireError
from ..owner import is_alive
from .bell import borrowed_bell
from .layout import DAMAGED, LIMIT, SLOTS, VALUE
from .place import Block, unlink_lock
from .queue import answer, dequeue, enqueue, wake_all
from .slots import free_slot, owners_of, take_slot
from .waiting import wait_until

_MOST = 64
_COUNT_BITS = 7
_ALL = range(SLOTS)


class _Arrival(NamedTuple):
    generation: int
    slot: int


class Barrier:
    """For so many `parties` (1 to 64; all who use it say the same): all pass, or nobody, again and again."""

    def __init__(self, name: str, parties: int) -> None:
        if not isinstance(parties, int) or not 1 <= parties <= _MOST:
            raise ValueError(f"{parties} parties: take a whole number from 1 to {_MOST}")
        self.name = name
        self.parties = parties
        self._block = Block("barrier", name)
        self._block.agree(LIMIT, parties, "parties")

    @property
    def is_broken(self) -> bool:
        return self._block.load(DAMAGED) != 0

    def wait(self, timeout: Optional[float] = None) -> None:
        """Ends when all parties are there; the barrier is then ready for the next time.

        Raises BROKEN_BARRIER for all when one of those who wait dies or gives up; that one gets DEADLINE_EXCEEDED.
        """
        block = self._block
        block.check()
        arrival: Optional[_Arrival] = None
        place: Optional[int] = None

        def attempt(late: bool) -> bool:
            nonlocal arrival, place
            if place is None:
                place = enqueue(block, bell)
            else:
                answer(block, place)
            arrival = arrival or self._arrive()
            return arrival is not None and self._is_passed(arrival, late)

        with borrowed_bell() as bell:
            try:
                wait_until(block.title, bell, attempt, lambda: 0, block.me, timeout)
            finally:
                # Whoever leaves before all are there takes a part away that the others count on.
                if arrival is not None and _generation(block) == arrival.generation:
                    _break(block)
                if arrival is not None:
                    free_slot(block, arrival.slot)
                if place is not None:
                    dequeue(block, place)

    def reset(self) -> None:
        """Makes it usable again after it broke. Call it when nobody waits."""
        block = self._block
        block.check()
        for slot in _ALL:
            free_slot(block, slot)
        block.store(VALUE, _value(_generation(block) + 1, 0))
        block.store(DAMAGED, 0)

    def close(self) -> None:
        """Gives up this object. The last one to close it takes its name away, unless it is broken."""
        self._block.close()

    @staticmethod
    def unlink(name: str) -> None:
        """Takes a name away. Who has it open keeps the old one. Raises NOT_FOUND."""
        unlink_lock("barrier", name)

    def _arrive(self) -> Optional[_Arrival]:
        """The slot is taken first: whoever is counted is known, so that its death is seen. None when there is none."""
        block = self._block
        self._refuse_broken()
        taken = take_slot(block, _ALL, False)
        if taken is None:
            return None
        while True:
            value = block.load(VALUE)
            generation, count = value >> _COUNT_BITS, (value & (1 << _COUNT_BITS) - 1) + 1
            is_last = count == self.parties
            if not block.swap(VALUE, value, _value(generation + 1, 0) if is_last else _value(generation, count)):
                continue
            if is_last:
                wake_all(block)
            return _Arrival(generation, taken.slot)

    def _is_passed(self, arrival: _Arrival, late: bool) -> bool:
        if _generation(self._block) != arrival.generation:
            return True
        if late and not all(map(is_alive, owners_of(self._block, _ALL))):
            _break(self._block)
        self._refuse_broken()
        return False

    def _refuse_broken(self) -> None:
        if self.is_broken:
            raise TalkwireError(
                "BROKEN_BARRIER",
                f"a party of {self._block.title} died or gave up while others waited; reset() it when nobody waits, and begin anew",
            )


def _generation(block: Block) -> int:
    return block.load(VALUE) >> _COUNT_BITS


def _value(generation: int, count: int) -> int:
    return (generation << _COUNT_BITS | count) & 0xFFFFFFFF


def _break(block: Block) -> None:
    block.store(DAMAGED, 1)
    wake_all(block)
