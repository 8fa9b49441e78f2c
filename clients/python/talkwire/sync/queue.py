"""Who waits for a lock, in the lock's own memory: spec/sync.md, sections 3 and 4. A place is the offset of its first word."""

from __future__ import annotations

import time
from typing import List, Optional

from ..owner import is_alive, ring
from .layout import BELL, MINE, MODE, PLACES, RUNG, SEQUENCE, WAITING, WAITS_SINCE, WHO
from .place import Block


def enqueue(block: Block, bell: int) -> Optional[int]:
    """A place at the end. None when all are taken: then one waits without being woken."""
    place = _claim(block)
    if place is None:
        return None
    for offset, value in ((BELL, bell), (RUNG, 0), (MODE, 0)):
        block.store(place + offset, value)
    block.float(place + WAITS_SINCE).value = time.time() * 1000
    sequence = 0
    while sequence == 0:
        sequence = block.add(SEQUENCE, 1)
    block.store(place + MINE, sequence)
    block.store(WAITING, 1)
    return place


def _claim(block: Block) -> Optional[int]:
    for purge in (False, True):
        for place in PLACES:
            if purge:
                _clear_dead(block, place)
            if block.swap(place + WHO, 0, block.me, 8):
                # A dead one's may still stand there: nobody's turn is to come by it.
                block.store(place + MINE, 0)
                return place
    return None


def dequeue(block: Block, place: int) -> None:
    block.store(place + MINE, 0)
    block.store(place + WHO, 0, 8)


def answer(block: Block, place: int) -> None:
    """To be called by who was woken, before it looks."""
    block.store(place + RUNG, 0)


def is_first(block: Block, mine: Optional[int]) -> bool:
    """Whether nobody waits before that place; without one, whether nobody waits. Frees the places of the dead on the way."""
    while True:
        first = _first(block)
        if first is None or first == mine:
            return True
        if not _clear_dead(block, first):
            return False


def wake_first(block: Block) -> None:
    """To be called by who has just let go."""
    if block.load(WAITING) == 0:
        return
    # Whoever queues from here on says so again, and whoever did before is found.
    block.store(WAITING, 0)
    while True:
        first = _first(block)
        if first is None:
            return
        block.store(WAITING, 1)
        if not block.swap(first + RUNG, 0, 1):
            return  # rung, and not yet awake
        if _ring(block, first) or not _clear_dead(block, first):
            return


def wake_all(block: Block) -> None:
    if block.load(WAITING) == 0:
        return
    block.store(WAITING, 0)
    for place in PLACES:
        if not _counts(block, place):
            continue
        block.store(WAITING, 1)
        if block.swap(place + RUNG, 0, 1):
            _ring(block, place)


def notify(block: Block, everyone: bool) -> None:
    """Says to those who wait, or to the first of them, that what they wait for has come. The dead are passed over."""
    for place in _in_order(block):
        if block.load(place + MODE) != 0 or _clear_dead(block, place) or not block.swap(place + MODE, 0, 1):
            continue
        _ring(block, place)
        if not everyone:
            return


def is_notified(block: Block, place: int) -> bool:
    return block.load(place + MODE) != 0


def _counts(block: Block, place: int) -> bool:
    return block.load(place + MINE) != 0 and block.load(place + WHO, 8) != 0


def _first(block: Block) -> Optional[int]:
    found: Optional[int] = None
    lowest = 0
    for place in PLACES:
        sequence = block.load(place + MINE)
        if sequence == 0 or block.load(place + WHO, 8) == 0:
            continue
        if found is None or _is_before(sequence, lowest):
            found, lowest = place, sequence
    return found


def _in_order(block: Block) -> List[int]:
    base = block.load(SEQUENCE)
    # How far behind the last one: sequences wrap around.
    return sorted(filter(lambda place: _counts(block, place), PLACES), key=lambda place: -((base - block.load(place + MINE)) & 0xFFFFFFFF))


def _is_before(a: int, b: int) -> bool:
    return (a - b) & 0x80000000 != 0


def _clear_dead(block: Block, place: int) -> bool:
    who = block.load(place + WHO, 8)
    return who != 0 and not is_alive(who) and block.swap(place + WHO, who, 0, 8)


def _ring(block: Block, place: int) -> bool:
    return ring(block.load(place + WHO, 8), block.load(place + BELL))
