"""A place where so many wait for each other: spec/sync.md, section 11."""

from __future__ import annotations

from typing import NamedTuple, Optional

from ..bell import borrowed_bell
from ..errors import TalkwireError
from ..owner import is_alive
from .inspect import BarrierInfo, waiters_of
from .layout import LIMIT, SLOTS, VALUE
from .place import Block, unlink_lock
from .queue import answer, dequeue, enqueue, wake_all
from .slots import free_slot, owners_of, reap, take_slot
from .waiting import wait_until

_MOST = 64
_ARRIVAL_BITS = 7
_ARRIVALS = (1 << _ARRIVAL_BITS) - 1
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
        return _is_broken(self._state())

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
            if late:
                self._break_if_dead(arrival.generation if arrival else _generation(self._state()))
            return arrival is not None and self._is_passed(arrival)

        with borrowed_bell() as bell:
            try:
                wait_until(block.title, bell, attempt, lambda: 0, block.me, timeout)
            finally:
                if arrival is not None:
                    # Whoever leaves before all are there takes a part away that the others count on.
                    self._break(arrival.generation)
                    free_slot(block, arrival.slot)
                if place is not None:
                    dequeue(block, place)

    def reset(self, timeout: Optional[float] = None) -> None:
        """Makes it usable again after it broke, as soon as all who waited have learned of it and left; the dead need not.

        Does nothing when it is not broken. Raises DEADLINE_EXCEEDED; then it is still broken.
        """
        block = self._block
        block.check()
        with borrowed_bell() as bell:
            wait_until(block.title, bell, lambda _: self._begin(), lambda: (owners_of(block, _ALL) or [0])[0], block.me, timeout)

    def inspect(self) -> BarrierInfo:
        """Who is there; whether it is broken."""
        self._block.check()
        broken = self.is_broken or not all(map(is_alive, owners_of(self._block, _ALL)))
        return BarrierInfo(self._block.load(LIMIT), waiters_of(self._block), broken)

    def close(self) -> None:
        """Gives up this object. The last one to close it takes its name away."""
        self._block.close()

    @staticmethod
    def unlink(name: str) -> None:
        """Takes a name away. Who has it open keeps the old one. Raises NOT_FOUND."""
        unlink_lock("barrier", name)

    def _state(self) -> int:
        """One step counts an arrival, begins the next generation, or breaks this one: nobody takes one for the other."""
        return self._block.load(VALUE)

    def _arrive(self) -> Optional[_Arrival]:
        """The slot is taken first: whoever is counted is known, so that its death is seen. None when there is none."""
        block = self._block
        if self.is_broken:
            raise self._broken()
        taken = take_slot(block, _ALL, False)
        if taken is None:
            return None
        while True:
            state = self._state()
            if _is_broken(state):
                free_slot(block, taken.slot)
                raise self._broken()
            is_last = (state & _ARRIVALS) + 1 == self.parties
            if not block.swap(VALUE, state, _after(state) if is_last else state + 1):
                continue
            if is_last:
                wake_all(block)
            return _Arrival(_generation(state), taken.slot)

    def _is_passed(self, arrival: _Arrival) -> bool:
        state = self._state()
        if _generation(state) != arrival.generation:
            return True
        if _is_broken(state):
            raise self._broken()
        return False

    def _break_if_dead(self, generation: int) -> None:
        if not all(map(is_alive, owners_of(self._block, _ALL))):
            self._break(generation)

    def _break(self, generation: int) -> None:
        """Nothing when it is over, or broken."""
        while True:
            state = self._state()
            if _generation(state) != generation or _is_broken(state):
                return
            if self._block.swap(VALUE, state, state | _ARRIVALS):
                return wake_all(self._block)

    def _begin(self) -> bool:
        """The next generation after a broken one. Not while one who waited for that is there: it would think it has passed."""
        self._break_if_dead(_generation(self._state()))
        state = self._state()
        if not _is_broken(state):
            return True
        reap(self._block, _ALL)
        return not owners_of(self._block, _ALL) and self._block.swap(VALUE, state, _after(state))

    def _broken(self) -> TalkwireError:
        return TalkwireError(
            "BROKEN_BARRIER",
            f"a party of {self._block.title} died or gave up while others waited; reset() it in all that are left, and begin anew",
        )


def _is_broken(state: int) -> bool:
    return state & _ARRIVALS == _ARRIVALS


def _generation(state: int) -> int:
    return state >> _ARRIVAL_BITS


def _after(state: int) -> int:
    return (_generation(state) + 1 << _ARRIVAL_BITS) & 0xFFFFFFFF
