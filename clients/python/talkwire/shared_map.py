"""Keys and values that any process reads and writes: implements spec/values.md, section 3. Linux, with libatomic."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import Any, Iterator, NamedTuple, Optional, Tuple

from .errors import TalkwireError
from .owner import id_of, is_alive, owner_of
from .versions import Versions, Words, padded, read_version, until_seen, write_version

_HEADER, _ENTRY = 64, 32
_KIND = 0x54560102
_ENTRIES, _WRITER, _KEY, _VALUE = 4, 8, 16, 20
_STATE, _HASH, _VERSION, _BEGUN, _LENGTHS, _KEY_LENGTH = 0, 4, 8, 12, (16, 20), 24  # of an entry
_FREE, _USED, _REMOVED = 0, 1, 2
_PATIENCE, _LOOK_AGAIN = 1.0, 0.004  # seconds


class MapSizes(NamedTuple):
    """Keys at most, bytes of a key (UTF-8) at most, bytes of a value at most."""

    entries: int
    key: int
    value: int


class _Wanted(NamedTuple):
    key: bytes
    hash: int


def map_bytes(entries: int, key: int, value: int) -> int:
    """Bytes of memory for such a map."""
    return _HEADER + entries * _stride(key, value)


def _stride(key: int, value: int) -> int:
    return _ENTRY + padded(key) + 2 * padded(value)


class SharedMap:
    """A map in `buffer`, anything that is writable memory, from byte `offset` on: the `buf` of SharedMemory, or an mmap.

    Whoever comes first says the sizes, all others say the same or nothing. Raises INVALID_MEMORY, MISSING_PACKAGE; ValueError
    for a wrong place. The memory stays mapped for as long as this is alive.
    """

    def __init__(self, buffer: Any, offset: int = 0, sizes: Optional[Tuple[int, int, int]] = None) -> None:
        view = memoryview(buffer).cast("B")
        room = len(view) - offset
        if offset % 8 or offset < 0 or room < (map_bytes(*sizes) if sizes else _HEADER) or (sizes and min(sizes) < 1):
            raise ValueError(f"a map of {sizes} at byte {offset} of {len(view)}: take a multiple of 8, sizes from 1 on, and map_bytes() of them")
        self._words = words = Words(view[offset:])
        there = words.load(0)
        if there not in (0, _KIND):
            raise TalkwireError("INVALID_MEMORY", f"at byte {offset} is no shared map of this version; take another place")
        if sizes and there == 0:
            for word, size in zip((_ENTRIES, _KEY, _VALUE), sizes):
                words.swap(word, 0, size)
        self.sizes = found = MapSizes(words.load(_ENTRIES), words.load(_KEY), words.load(_VALUE))
        if min(found) < 1 or (sizes and tuple(found) != tuple(sizes)) or map_bytes(*found) > room:
            raise TalkwireError("INVALID_MEMORY", f"the shared map at byte {offset} has the sizes {tuple(found)}; say the same, and share all of it")
        words.swap(0, 0, _KIND)
        self._stride = _stride(found.key, found.value)

    def get(self, key: str) -> Optional[bytes]:
        """A copy of the value, whole; None when the key is not there. Raises INVALID_MEMORY when it cannot be read."""
        wanted = self._wanted(key)
        seen = until_seen(lambda: self._look(wanted))
        if seen is None:
            raise self._restless()
        return seen[0]

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def set(self, key: str, value: bytes) -> bool:
        """Sets it for all. False: there is no room for one more key. Who dies in the middle leaves the old value or the new one.

        Blocks for some microseconds while others write. Raises LIMIT_EXCEEDED, UNAVAILABLE when a writer is stopped within.
        """
        wanted = self._wanted(key)
        if len(value) > self.sizes.value:
            raise TalkwireError("LIMIT_EXCEEDED", f"a value of {len(value)} bytes; the map takes {self.sizes.value} at most. Make it larger")
        with self._alone():
            at, free = self._find(wanted)
            if at is not None:
                write_version(self._versions(at), bytes(value))
            elif free is not None:
                self._insert(free, wanted, bytes(value))
            return at is not None or free is not None

    def delete(self, key: str) -> bool:
        """True when it was there. Blocks and raises as `set` does."""
        wanted = self._wanted(key)
        with self._alone():
            at, _ = self._find(wanted)
            if at is not None:
                self._words.store(at + _STATE, _REMOVED)
                self._tidy(at)
            return at is not None

    def items(self) -> Iterator[Tuple[str, bytes]]:
        """What is there now; while others write, some of it before and some of it after."""
        for slot in range(self.sizes.entries):
            at = self._entry(slot)
            seen = until_seen(lambda: self._copy(at))
            if seen is None:
                raise self._restless()
            if seen[0] is not None:
                yield seen[0].decode("utf-8", "replace"), seen[1]

    def __len__(self) -> int:
        """Keys that are there. Looks at all of the map."""
        return sum(self._words.load(self._entry(slot) + _STATE) == _USED for slot in range(self.sizes.entries))

    def _restless(self) -> TalkwireError:
        return TalkwireError("INVALID_MEMORY", "the shared map changes all the time, or is broken; does anybody write there in another way?")

    def _wanted(self, key: str) -> _Wanted:
        data = key.encode()
        if len(data) > self.sizes.key:
            raise TalkwireError("LIMIT_EXCEEDED", f"a key of {len(data)} bytes; the map takes {self.sizes.key} at most. Make it larger")
        return _Wanted(data, _hash(data))

    def _entry(self, slot: int) -> int:
        return _HEADER + slot * self._stride

    def _versions(self, at: int) -> Versions:
        first = at + _ENTRY + padded(self.sizes.key)
        lengths = (at + _LENGTHS[0], at + _LENGTHS[1])
        return Versions(self._words, at + _VERSION, at + _BEGUN, lengths, (first, first + padded(self.sizes.value)), self.sizes.value)

    def _look(self, wanted: _Wanted) -> Optional[Tuple[Optional[bytes]]]:
        """None: something changed meanwhile; look again."""
        at, _ = self._find(wanted)
        if at is None:
            return (None,)
        seen = self._copy(at)
        # Another key may have come into its place.
        return (seen[1],) if seen is not None and seen[0] == wanted.key else None

    def _copy(self, at: int) -> Optional[Tuple[Optional[bytes], bytes]]:
        """One entry, of one moment; without a key when it is not used. None: it changed meanwhile."""
        words = self._words
        if words.load(at + _STATE) != _USED:
            return None, b""
        version = words.load(at + _VERSION)
        length = words.load(at + _KEY_LENGTH)
        if length > self.sizes.key:
            return None
        key = words.copy(at + _ENTRY, length)
        seen = read_version(self._versions(at))
        # A new key makes the version two higher, and is begun before; so this key is that value's.
        if seen is None or _ahead(seen.version, version) > 1 or _ahead(words.load(at + _BEGUN), version) > 1:
            return None
        return key, seen.value

    def _find(self, wanted: _Wanted) -> Tuple[Optional[int], Optional[int]]:
        """Where the key is, and where it could be put."""
        words, free = self._words, None
        for step in range(self.sizes.entries):
            at = self._entry((wanted.hash + step) % self.sizes.entries)
            state = words.load(at + _STATE)
            if state != _USED and free is None:
                free = at
            if state == _FREE:
                break
            if state == _USED and words.load(at + _HASH) == wanted.hash and self._has_key(at, wanted.key):
                return at, free
        return None, free

    def _has_key(self, at: int, key: bytes) -> bool:
        return self._words.load(at + _KEY_LENGTH) == len(key) and self._words.copy(at + _ENTRY, len(key)) == key

    def _insert(self, at: int, wanted: _Wanted, value: bytes) -> None:
        words = self._words
        # Whoever still reads what was here learns of it before the key changes.
        words.store(at + _BEGUN, (words.load(at + _VERSION) + 2) & 0xFFFFFFFF)
        words.put(at + _ENTRY, wanted.key)
        words.store(at + _KEY_LENGTH, len(wanted.key))
        words.store(at + _HASH, wanted.hash)
        write_version(self._versions(at), value, 2)
        words.store(at + _STATE, _USED)

    def _tidy(self, at: int) -> None:
        """Removed entries before a free one are free: nobody looks for anything behind them."""
        words, entries = self._words, self.sizes.entries
        last = (at - _HEADER) // self._stride
        if words.load(self._entry((last + 1) % entries) + _STATE) != _FREE:
            return
        for back in range(entries):
            state = self._entry((last - back) % entries) + _STATE
            if words.load(state) != _REMOVED:
                return
            words.store(state, _FREE)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One writer at a time. One who died in the middle left nothing that is seen."""
        me = owner_of(os.getpid())
        end = time.monotonic() + _PATIENCE
        look_at = 0.0
        while not self._words.swap(_WRITER, 0, me, 8):
            now = time.monotonic()
            other = self._words.load(_WRITER, 8)
            if now < look_at or other == 0:
                time.sleep(0)
                continue
            look_at = now + _LOOK_AGAIN
            if not is_alive(other) and self._words.swap(_WRITER, other, me, 8):
                break
            if now > end:
                raise TalkwireError(
                    "UNAVAILABLE", f"pid {id_of(other)} has written to the map for {_PATIENCE} s; if it is stopped, continue or end it, and try again"
                )
        try:
            yield
        finally:
            self._words.store(_WRITER, 0, 8)


def _ahead(a: int, b: int) -> int:
    """Signed: versions wrap around."""
    return (a - b + 0x80000000 & 0xFFFFFFFF) - 0x80000000


def _hash(data: bytes) -> int:
    """FNV-1a, 32 bits."""
    value = 0x811C9DC5
    for byte in data:
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value
