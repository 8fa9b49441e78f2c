"""Waiting for a change of what a mutex guards: spec/sync.md, section 10."""

from __future__ import annotations

from typing import Optional

from ..errors import TalkwireError
from .bell import borrowed_bell
from .line import take
from .mutex import Grant, Mutex, Ownership
from .place import Block, unlink_lock
from .queue import answer, dequeue, enqueue, is_notified, notify
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
            ownership.let_go()
            try:
                self._until_notified(place, bell, ownership, timeout)
            except BaseException:
                take(ownership, None)
                raise
        return take(ownership, None)

    def _until_notified(self, place: int, bell: int, ownership: Ownership, timeout: Optional[float]) -> None:
        block = self._block
        woken = False

        def attempt(late: bool) -> bool:
            nonlocal woken
            answer(block, place)
            woken = is_notified(block, place) or (late and ownership.has_died())
            return woken

        try:
            wait_until(block.title, bell, attempt, ownership.owner, block.me, timeout)
        finally:
            notified = is_notified(block, place)
            dequeue(block, place)
            # Whoever gave up in the moment in which it was notified leaves that to the next one.
            if notified and not woken:
                notify(block, False)

    def notify(self) -> None:
        """Wakes the one that has waited longest. Call it with the mutex held, after the change. Does not block."""
        self._block.check()
        notify(self._block, False)

    def notify_all(self) -> None:
        """Wakes all who wait."""
        self._block.check()
        notify(self._block, True)

    def close(self) -> None:
        """Gives up this object. The last one to close it takes its name away."""
        self._block.close()

    @staticmethod
    def unlink(name: str) -> None:
        """Takes a name away. Who has it open keeps the old one. Raises NOT_FOUND."""
        unlink_lock("condition", name)
