"""Bytes that change as a whole, in two buffers: spec/values.md, section 2."""

from __future__ import annotations

import ctypes
import time
from typing import Any, Callable, NamedTuple, Optional, Tuple, TypeVar

from .atomics import atomics

T = TypeVar("T")

_SPINS, _TRIES = 100, 10_000


class Words:
    """Words of shared memory, by their offsets; in `view`, which is writable and stays mapped for as long as this lives."""

    def __init__(self, view: Any) -> None:
        self._atomics = atomics()
        self._bytes = ctypes.c_char.from_buffer(view)
        self.at = ctypes.addressof(self._bytes)

    def load(self, offset: int, size: int = 4) -> int:
        return self._atomics.load(self.at + offset, size)

    def store(self, offset: int, value: int, size: int = 4) -> None:
        self._atomics.store(self.at + offset, value, size)

    def swap(self, offset: int, before: int, after: int, size: int = 4) -> bool:
        return self._atomics.swap(self.at + offset, before, after, size)

    def fence(self) -> None:
        self._atomics.fence()

    def copy(self, offset: int, length: int) -> bytes:
        return ctypes.string_at(self.at + offset, length)

    def put(self, offset: int, data: bytes) -> None:
        ctypes.memmove(self.at + offset, data, len(data))

    def close(self) -> None:
        """The memory can be closed too, once nobody has this any more."""
        del self._bytes


class Versions(NamedTuple):
    """Where they are, in bytes."""

    words: Words
    version: int
    begun: int
    lengths: Tuple[int, int]
    buffers: Tuple[int, int]
    most: int


class Seen(NamedTuple):
    value: bytes
    version: int


def write_version(of: Versions, value: bytes, step: int = 1) -> None:
    """For the one who may write. Readers see it at once, and as a whole."""
    words = of.words
    # 0 stays the version of what was never written, and odd and even take turns.
    following = (words.load(of.version) + step) & 0xFFFFFFFF or 2
    words.store(of.begun, following)
    words.fence()
    words.put(of.buffers[following & 1], value)
    words.store(of.lengths[following & 1], len(value))
    words.store(of.version, following)


def read_version(of: Versions) -> Optional[Seen]:
    """What a reader sees of a change at most. None: it was changed twice meanwhile; look again."""
    words = of.words
    version = words.load(of.version)
    length = words.load(of.lengths[version & 1])
    if length > of.most:
        return None
    value = words.copy(of.buffers[version & 1], length)
    words.fence()
    ahead = (words.load(of.begun) - version) & 0xFFFFFFFF
    return Seen(value, version) if ahead in (0, 1) else None


def until_seen(look: Callable[[], Optional[T]]) -> Optional[T]:
    """Looks until there is an answer; None when that is never."""
    for tries in range(_TRIES):
        seen = look()
        if seen is not None:
            return seen
        if tries > _SPINS:
            time.sleep(0)
    return None


def padded(size: int) -> int:
    return size + 7 & ~7
