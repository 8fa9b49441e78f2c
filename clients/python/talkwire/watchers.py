"""Who waits for a change, in the memory that changes: 16 places of who and bell. spec/values.md, section 1. With libatomic."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import Callable, Iterator, Optional

from .bell import await_ring, borrowed_bell
from .owner import is_alive, owner_of, ring
from .versions import Words

_PLACES, _PLACE, _BELL = 16, 16, 8  # bytes, but for the first
_OFTEN, _SELDOM = 0.05, 1.0  # seconds until one looks by itself, without a place and with one


def ring_watchers(words: Words, offset: int) -> bool:
    """Wakes everybody. Whoever died waiting loses its place. True if anybody is left."""
    left = False
    for place in _places(offset):
        who = words.load(place, 8)
        if who != 0 and (ring(who, words.load(place + _BELL)) or not _free(words, place, who)):
            left = True
    return left


@contextmanager
def watch(words: Words, offset: int, watching: Callable[[], None]) -> Iterator[Callable[[float], bool]]:
    """Gives what sleeps until somebody rings, it is time to look, or so many seconds have passed. Look once before the first sleep."""
    with borrowed_bell() as bell:
        place = _take(words, offset, bell)
        try:
            if place is not None:
                watching()
            pause = _OFTEN if place is None else _SELDOM
            yield lambda most: await_ring(bell, min(most, pause))
        finally:
            if place is not None:
                words.store(place, 0, 8)


def _places(offset: int) -> range:
    return range(offset, offset + _PLACES * _PLACE, _PLACE)


def _free(words: Words, place: int, who: int) -> bool:
    return not is_alive(who) and words.swap(place, who, 0, 8)


def _take(words: Words, offset: int, bell: int) -> Optional[int]:
    """None when all places are the living's."""
    me = owner_of(os.getpid())
    for place in _places(offset):
        who = words.load(place, 8)
        if who != 0:
            _free(words, place, who)
        if words.swap(place, 0, me, 8):
            words.store(place + _BELL, bell)
            return place
    return None
