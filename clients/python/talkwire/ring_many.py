"""A producer among many of one ring: spec/rings.md, sections 3 and 5. Linux on x86-64, with libatomic."""

from __future__ import annotations

import ctypes
import os
from typing import Any

from .atomics import atomics
from .errors import TalkwireError
from .owner import is_alive, owner_of

SEATS = 60
_CLAIMING, _GENERATION, _SLEEPING = 68, 8, 16  # bytes; the latter two of a seat
_SPINS = 20
_WORD = 0xFFFFFFFF


class Claims:
    """The words of a ring's header that many change, by atomic steps."""

    def __init__(self, view: Any) -> None:
        self._atomics = atomics()
        self._bytes = ctypes.c_char.from_buffer(view)
        self._at = ctypes.addressof(self._bytes)

    def close(self) -> None:
        """The memory can be closed too, once nobody has this any more."""
        del self._bytes

    def make(self, kind: int) -> None:
        """The ring, unless somebody has made one."""
        self._atomics.swap(self._at, 0, kind)

    def sit(self) -> int:
        """Takes a seat of the writers; a dead one's too. Raises UNAVAILABLE."""
        me = owner_of(os.getpid())
        for purge in (False, True):
            for seat in range(SEATS):
                at = self._at + 256 + 32 * seat
                who = self._atomics.load(at, 8)
                if purge and who != 0 and not is_alive(who):
                    self._atomics.swap(at, who, 0, 8)
                if not self._atomics.swap(at, 0, me, 8):
                    continue
                self._atomics.store(at + _SLEEPING, 0)
                generation = self._atomics.load(at + _GENERATION) & 0x7FFFFF
                self._atomics.store(at + _GENERATION, generation % 0x7FFFFF + 1)
                return seat
        raise TalkwireError("UNAVAILABLE", f"the ring has {SEATS} producers already; end one, or close() it there")

    def word(self, seat: int) -> int:
        """Who sits there now."""
        return (self._atomics.load(self._at + 256 + 32 * seat + _GENERATION) & 0x7FFFFF) << 8 | seat

    def is_gone(self, word: int) -> bool:
        """Whether who wrote that word sits there no more, or is dead."""
        seat = word & 0xFF
        return seat >= SEATS or self.word(seat) != word or not is_alive(self._atomics.load(self._at + 256 + 32 * seat, 8))

    def is_free(self) -> bool:
        """Whether the right to move the tail can be had, also from one who died with it."""
        other = self._atomics.load(self._at + _CLAIMING)
        return other == 0 or self.is_gone(other)

    def take(self, me: int) -> int:
        """The right to move the tail: 0: no, 1: yes, -1: from one who died with it."""
        for _ in range(_SPINS):
            if self._atomics.swap(self._at + _CLAIMING, 0, me):
                return 1
        other = self._atomics.load(self._at + _CLAIMING)
        return -1 if other != 0 and self.is_gone(other) and self._atomics.swap(self._at + _CLAIMING, other, me) else 0

    def give_back(self) -> None:
        self._atomics.store(self._at + _CLAIMING, 0)

    def publish(self, place: int, size: int) -> None:
        """Stores the size of the record there, behind which everything of it is seen."""
        self._atomics.store(self._at + 4096 + place, size & _WORD)
