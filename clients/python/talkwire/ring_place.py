"""Where a ring is, and what its first word says: spec/rings.md, section 1."""

from __future__ import annotations

from typing import Any, Optional, Tuple, TypeVar

from .errors import TalkwireError

HEADER = 4096
_LEAST, _MOST = 10, 30
_Self = TypeVar("_Self", bound="Closing")


class Closing:
    """A context manager that closes."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def place_of(buffer: Any, offset: int, size: Optional[int]) -> Tuple[memoryview, int]:
    """The bytes there, and the binary logarithm of the largest ring that fits. Raises ValueError."""
    view = memoryview(buffer)[offset : None if size is None else offset + size].cast("B")
    room = len(view) - HEADER
    if offset % 8 or room < 1 << _LEAST:
        raise ValueError(f"{len(view)} bytes from byte {offset} on: take 4096 and a power of two from 1024 on, at a multiple of 8")
    return view, min(_MOST, room.bit_length() - 1)


def capacity_of(word: int, kind: int, most: int, title: str) -> int:
    """Bytes of the ring whose first word that is. Raises INVALID_MEMORY."""
    if word & ~0xFF != kind or not _LEAST <= word & 0xFF <= most:
        raise TalkwireError("INVALID_MEMORY", f"there is no {title} of this version, or not all of it; take another place")
    return 1 << (word & 0xFF)


def max_message_of(capacity: int) -> int:
    """Bytes: a quarter of it, so that a message always fits once the ring is empty."""
    return capacity // 4 - 8


def broken(what: str) -> TalkwireError:
    return TalkwireError("INVALID_MEMORY", f"the ring is broken: {what}; somebody wrote into it who should not have. Make a new one")
