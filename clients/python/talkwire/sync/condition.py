"""Waiting for a change of what a mutex guards: spec/sync.md, section 10."""

from __future__ import annotations

from typing import Optional

from ..bell import borrowed_bell
from ..errors import TalkwireError
from .inspect import ConditionInfo, waiters_of
from .line import take
from .mutex import Grant, Mutex, Ownership
from .place import Block, unlink_lock
from .queue import answer, enqueue, inherit_notice, is_notified, leave_condition, notify
from .waiting import wait_until


class Condition:
    """Somebody says that something has changed; others wait for that, with the mutex that guards it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._block = Block("condition", name)

    def wait(self, mutex: Mutex, timeout: Optional[float] = None) -> Grant:
        """Lets go of the mutex, waits for `notify()` or `notify_all()`, and has the mutex again when it ends, in any case.

        It also ends when the mutex's owner dies: look at the data, and wait again if they are not as you want them. Raises
        DEADLINE_EXCEEDED (`timeout` does not count the time to get the mutex again), LIMIT_EXCEEDED when 29 wait already.
        """
        self._block.check()
        ownership = mutex.ownership
        with borrowed_bell() as bell:
            # Before it lets go: whoever changes something from then on finds it waiting.
            place = enqueue(self._block, bell)
            if place is None:
                raise TalkwireError("LIMIT_EXCEEDED", f"{self._block.title} has as many waiters as it has places for; use several conditions")
            woken = False
            try:
                deaths = ownership.deaths()
                ownership.let_go()
                try:
                    self._until_notified(place, bell, ownership, deaths, timeout)
                    woken = True
                finally:
                    grant = take(ownership, None)
            finally:
                # Not before the mutex is there: if this process dies until then, somebody else takes over what it was told.
                leave_condition(self._block, place, woken)
        return grant

    def _until_notified(self, place: int, bell: int, ownership: Ownership, deaths: int, timeout: Optional[float]) -> None:
        block = self._block

        def attempt(late: bool) -> bool:
            answer(block, place)
            return is_notified(block, place) or (late and (ownership.has_died(deaths) or inherit_notice(block, place)))

        wait_until(block.title, bell, attempt, ownership.owner, block.me, timeout)

    def notify(self) -> None:
        """Wakes the one that has waited longest. Call it with the mutex held, after the change. Does not block."""
        self._block.check()
        notify(self._block, False)

    def notify_all(self) -> None:
        """Wakes all who wait."""
        self._block.check()
        notify(self._block, True)

    def inspect(self) -> ConditionInfo:
        """Who waits for a notice."""
        self._block.check()
        return ConditionInfo(waiters_of(self._block))

    def close(self) -> None:
        """Gives up this object. The last one to close it takes its name away."""
        self._block.close()

    @staticmethod
    def unlink(name: str) -> None:
        """Takes a name away. Who has it open keeps the old one. Raises NOT_FOUND."""
        unlink_lock("condition", name)
