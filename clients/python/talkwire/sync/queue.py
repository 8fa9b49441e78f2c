"""Who waits for a lock, in the lock's own memory: spec/sync.md, sections 3 and 4. A place is the offset of its first word."""

from __future__ import annotations

import os
import threading
import time
from typing import List, Optional, Tuple

from ..owner import is_alive, ring
from .layout import BELL, GONE, MINE, MODE, NOTIFIED, PLACES, RUNG, SEQUENCE, WAITING, WAITS_SINCE, WHO
from .place import Block


_claiming = threading.RLock()
"""One thread of this process at a time: so a place that was another's before, and is this process's now, is that thread's."""


def _renew() -> None:
    global _claiming
    _claiming = threading.RLock()


os.register_at_fork(after_in_child=_renew)


def enqueue(block: Block, bell: int) -> Optional[int]:
    """A place at the end. None when all are taken: then one waits without being woken."""
    trying: List[int] = []
    try:
        with _claiming:
            claimed = _claim(block, trying)
        if claimed is None:
            return None
        place, mode = claimed
        for offset, value in ((BELL, bell), (RUNG, 0), (MODE, mode)):
            block.store(place + offset, value)
        block.float(place + WAITS_SINCE).value = time.time() * 1000
        sequence = 0
        while sequence == 0:
            sequence = block.add(SEQUENCE, 1)
        block.store(place + MINE, sequence)
        block.store(WAITING, 1)
        return place
    except BaseException:
        # Ctrl-C may come between the claim and our learning of it; nobody would ever free the place of one who lives.
        if trying and block.load(trying[0] + WHO, 8) == block.me:
            dequeue(block, trying[0])
        raise


def _claim(block: Block, trying: List[int]) -> Optional[Tuple[int, int]]:
    """A place, and the mode to begin with. `trying`: the one that may be claimed by now."""
    for place in PLACES:
        if block.load(place + WHO, 8) == 0 and _take_place(block, place, 0, trying):
            return place, 0
    for place in PLACES:
        who = block.load(place + WHO, 8)
        if who == 0 or is_alive(who):
            continue
        _forget_sequence(block, place)
        if _take_place(block, place, who, trying):
            # Whom a dead one was to tell of a change that it was told of is its successor.
            return place, NOTIFIED if is_notified(block, place) else 0
    return None


def _take_place(block: Block, place: int, before: int, trying: List[int]) -> bool:
    trying.append(place)
    if block.swap(place + WHO, before, block.me, 8):
        # A dead one's may still stand there: nobody's turn is to come by it.
        block.store(place + MINE, 0)
        return True
    trying.clear()
    return False


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


def remain(block: Block) -> None:
    """Says again that somebody waits: whoever was about to say so may have died."""
    if block.load(WAITING) == 0:
        block.store(WAITING, 1)


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
        if block.load(place + MODE) != 0 or _clear_dead(block, place) or not block.swap(place + MODE, 0, NOTIFIED):
            continue
        _ring(block, place)
        if not everyone:
            return


def is_notified(block: Block, place: int) -> bool:
    return block.load(place + MODE) == NOTIFIED


def inherit_notice(block: Block, mine: int) -> bool:
    """Takes over what a dead one was told of and did not live to see. True if there was such a one."""
    for place in PLACES:
        who = block.load(place + WHO, 8)
        if who == 0 or not is_notified(block, place) or is_alive(who):
            continue
        # In this order: whoever dies in between leaves two who were told, not none.
        block.swap(mine + MODE, 0, NOTIFIED)
        _clear_dead(block, place)
        return True
    return False


def leave_condition(block: Block, place: int, looked: bool) -> None:
    """Whoever was told of a change and did not look leaves that to the next one."""
    told = not block.swap(place + MODE, 0, GONE)
    if told and not looked:
        notify(block, False)
    dequeue(block, place)


def waiters(block: Block) -> List[Tuple[int, float]]:
    """Who waits and since when, in order."""
    found = [(block.load(place + WHO, 8), block.float(place + WAITS_SINCE).value) for place in _in_order(block)]
    return [(who, since) for who, since in found if is_alive(who)]


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
    if who == 0 or is_alive(who):
        return False
    _forget_sequence(block, place)
    return block.swap(place + WHO, who, 0, 8)


def _forget_sequence(block: Block, place: int) -> None:
    """Whoever comes into the place of a dead one must not be rung at its bell: that may be anything in the new process."""
    sequence = block.load(place + MINE)
    if sequence != 0:
        block.swap(place + MINE, sequence, 0)


def _ring(block: Block, place: int) -> bool:
    """False when the one in that place cannot be rung."""
    sequence = block.load(place + MINE)
    who, bell = block.load(place + WHO, 8), block.load(place + BELL)
    # Both are of the same one only when that is still there; who left looked by itself.
    return sequence == 0 or sequence != block.load(place + MINE) or ring(who, bell)
