"""Who writes and who reads a ring, who of them sleeps, and how it is woken: spec/rings.md, sections 3 and 7. With libatomic."""

from __future__ import annotations

import os
import time
from typing import Callable, Optional

from .bell import await_ring, borrowed_bell
from .errors import TalkwireError
from .owner import id_of, is_alive, owner_of, ring
from .versions import Words

SEATS = 60
WRITERS, READERS = 0, SEATS
"""The first seat of each side."""
_GENERATION, _BELL, _SLEEPING = 8, 12, 16  # of a seat
_GENERATIONS = 0x7FFFFF
_FIRST_LOOK, _LAST_LOOK = 0.004, 1.024  # seconds


def _at(seat: int) -> int:
    return 256 + 32 * seat


def _sleep_word(side: int) -> int:
    return 196 if side == READERS else 192


def sit(words: Words, first: int, count: int) -> int:
    """Takes one of `count` seats from the first one on; a dead one's too. Raises UNAVAILABLE."""
    me = owner_of(os.getpid())
    for purge in (False, True):
        for seat in range(first, first + count):
            at = _at(seat)
            who = words.load(at, 8)
            if purge and who != 0 and not is_alive(who):
                words.swap(at, who, 0, 8)
            if not words.swap(at, 0, me, 8):
                continue
            words.store(at + _SLEEPING, 0)
            words.store(at + _GENERATION, (words.load(at + _GENERATION) & _GENERATIONS) % _GENERATIONS + 1)
            return seat
    pid = id_of(words.load(_at(first), 8))
    raise TalkwireError("UNAVAILABLE", f"all {count} places at this end of the ring are taken (one by pid {pid}); end one, or close() it there")


def leave(words: Words, seat: int) -> None:
    words.store(_at(seat), 0, 8)


def word_of(words: Words, seat: int) -> int:
    """Who sits there now, in 32 bits."""
    return (words.load(_at(seat) + _GENERATION) & _GENERATIONS) << 8 | seat


def is_gone(words: Words, word: int) -> bool:
    """Whether who wrote that word sits there no more, or is dead."""
    seat = word & 0xFF
    return seat >= SEATS or word_of(words, seat) != word or not is_alive(words.load(_at(seat), 8))


def wake(words: Words, side: int) -> None:
    """Rings for all of that side who sleep, if anybody said so."""
    if words.load(_sleep_word(side)) == 0:
        return
    # Whoever lies down from here on says so again, and whoever did before is found.
    words.store(_sleep_word(side), 0)
    for seat in range(side, side + SEATS):
        at = _at(seat)
        if words.load(at + _SLEEPING) != 0 and words.swap(at + _SLEEPING, 1, 0):
            ring(words.load(at, 8), words.load(at + _BELL))


def wait(words: Words, side: int, seat: Optional[int], is_ready: Callable[[], bool], timeout: Optional[float]) -> bool:
    """Sleeps until the other side rings and it is ready. Who has no seat looks by itself. False: not within `timeout` seconds."""
    end = float("inf") if timeout is None else time.monotonic() + timeout
    pause = _FIRST_LOOK
    with borrowed_bell() as bell:
        while not is_ready():
            left = end - time.monotonic()
            if left <= 0:
                return False
            if seat is not None:
                words.store(_at(seat) + _BELL, bell)
                words.store(_at(seat) + _SLEEPING, 1)
                words.store(_sleep_word(side), 1)
            try:
                rung = not is_ready() and await_ring(bell, min(pause, left))
            finally:
                if seat is not None:
                    words.store(_at(seat) + _SLEEPING, 0)
            pause = _FIRST_LOOK if rung or seat is None else min(2 * pause, _LAST_LOOK)
    return True
