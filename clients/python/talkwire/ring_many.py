"""A producer among many of one ring: spec/rings.md, sections 3 and 5. Linux on x86-64, with libatomic."""

from __future__ import annotations

from typing import Any

from .seats import SEATS, is_gone, sit, word_of
from .versions import Words

_CLAIMING = 68
_SPINS = 20
_WORD = 0xFFFFFFFF


class Claims:
    """The words of a ring's header that many change, by atomic steps."""

    def __init__(self, view: Any) -> None:
        self._words = Words(view)

    def close(self) -> None:
        """The memory can be closed too, once nobody has this any more."""
        self._words.close()

    def make(self, kind: int) -> None:
        """The ring, unless somebody has made one."""
        self._words.swap(0, 0, kind)

    def sit(self) -> int:
        """Takes a seat of the writers; a dead one's too. Raises UNAVAILABLE."""
        return sit(self._words, 0, SEATS)

    def word(self, seat: int) -> int:
        """Who sits there now."""
        return word_of(self._words, seat)

    def is_gone(self, word: int) -> bool:
        """Whether who wrote that word sits there no more, or is dead."""
        return is_gone(self._words, word)

    def is_free(self) -> bool:
        """Whether the right to move the tail can be had, also from one who died with it."""
        other = self._words.load(_CLAIMING)
        return other == 0 or self.is_gone(other)

    def take(self, me: int) -> int:
        """The right to move the tail: 0: no, 1: yes, -1: from one who died with it."""
        for _ in range(_SPINS):
            if self._words.swap(_CLAIMING, 0, me):
                return 1
        other = self._words.load(_CLAIMING)
        return -1 if other != 0 and self.is_gone(other) and self._words.swap(_CLAIMING, other, me) else 0

    def give_back(self) -> None:
        self._words.store(_CLAIMING, 0)

    def publish(self, place: int, size: int) -> None:
        """Stores the size of the record there, behind which everything of it is seen."""
        self._words.store(4096 + place, size & _WORD)
