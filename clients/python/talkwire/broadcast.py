"""One writes, many read, and nobody waits for a slow one: implements spec/rings.md, section 8. Linux, with libatomic."""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from typing import Any, Iterator, Optional

from .errors import TalkwireError
from .ring_place import HEADER, Closing, broken, capacity_of, max_message_of, place_of
from .seats import READERS, SEATS, WRITERS, leave, sit, wait, wake
from .versions import Words, padded

_KIND = 0x54521300
_TAIL, _INTENT, _LATEST = 64, 72, 76
_SKIP = 0xFFFFFFFF
_NUMBERS = 0x7FFFFFFF
_WORD = 0xFFFFFFFF
_PIECE = 16 * 1024
"""Bytes that are copied at a time; one check then tells whether all of them are whole."""
_TRIES = 100
"""How often the writer may overtake a reader within one look."""


class BroadcastRing(Closing):
    """A ring in `buffer`, anything that is writable memory, from byte `offset` on: the `buf` of SharedMemory, or an mmap.

    Whoever comes first makes it, the largest one that fits. Raises INVALID_MEMORY, MISSING_PACKAGE; ValueError for a wrong place.
    The memory stays mapped until this is closed.
    """

    def __init__(self, buffer: Any, offset: int = 0, size: Optional[int] = None) -> None:
        view, most = place_of(buffer, offset, size)
        self._words = words = Words(view)
        words.swap(0, 0, _KIND | most)
        try:
            capacity = capacity_of(words.load(0), _KIND, most, f"broadcast ring at byte {offset}")
        except TalkwireError:
            words.close()
            raise
        self.capacity = capacity
        """Bytes."""
        self.max_message = max_message_of(capacity)
        """Bytes."""

    def writer(self) -> "BroadcastWriter":
        """The writing end. Raises UNAVAILABLE when a living one has it, INVALID_MEMORY."""
        return BroadcastWriter(self)

    def reader(self) -> "BroadcastReader":
        """A reading end, for what is written from now on. There may be any number. Raises INVALID_MEMORY."""
        return BroadcastReader(self)

    def close(self) -> None:
        """Lets go of the memory, so that it can be closed too. Its ends are of no use then."""
        self._words.close()

    def _data(self, position: int) -> int:
        """Where it is in the memory."""
        return HEADER + (position & self.capacity - 1)


class _End(Closing):
    def __init__(self, ring: BroadcastRing) -> None:
        self._ring = ring
        self._words = ring._words
        self._owner = os.getpid()
        self._seat: Optional[int] = None
        self._open = True

    def close(self) -> None:
        """A second time does nothing."""
        if self._open and self._owner == os.getpid() and self._seat is not None:
            leave(self._words, self._seat)
        self._open = False

    def _check_open(self) -> None:
        if not self._open or self._owner != os.getpid():
            raise TalkwireError("CLOSED", "this end of the ring was closed, or is the parent process's; make another one")


class BroadcastWriter(_End):
    """The one who writes. A context manager."""

    def __init__(self, ring: BroadcastRing) -> None:
        super().__init__(ring)
        words = self._words
        self._seat = sit(words, WRITERS, 1)
        self._tail, self._intent, latest = words.load(_TAIL), words.load(_INTENT), words.load(_LATEST)
        if (self._tail | latest) & 7:
            self.close()
            raise broken(f"tail {self._tail} and latest {latest}")
        self._number = _number_behind(self._tail, latest, words.load(ring._data(latest) + 4))

    def write(self, message: "bytes | bytearray | memoryview") -> None:
        """Copies a message into the ring, over the oldest. Does not block. Raises MESSAGE_TOO_LARGE, CLOSED."""
        self._check_open()
        ring, words, data = self._ring, self._words, bytes(message)
        if len(data) > ring.max_message:
            raise TalkwireError("MESSAGE_TOO_LARGE", f"{len(data)} bytes; the ring takes {ring.max_message} at most: a quarter of it")
        size = 8 + len(data)
        rest = ring.capacity - (self._tail & ring.capacity - 1)
        begin = self._tail + (rest if padded(size) > rest else 0)
        following = begin + padded(size) & _WORD
        if _ahead(self._intent, following) < 0:
            self._announce(following)
        if begin != self._tail:
            self._put(self._tail, rest, _SKIP)
        self._put(begin, size, self._number, data)
        words.store(_LATEST, begin & _WORD)
        words.store(_TAIL, following)
        self._tail = following
        self._number = self._number + 1 & _NUMBERS
        wake(words, READERS)

    def _announce(self, following: int) -> None:
        """Says what is to be written over, some way ahead, so that it need not be said for each message."""
        self._intent = following + (self._ring.capacity >> 4) & _WORD
        self._words.store(_INTENT, self._intent)
        self._words.fence()

    def _put(self, position: int, size: int, mark: int, data: bytes = b"") -> None:
        at = self._ring._data(position)
        self._words.put(at + 8, data)
        self._words.store(at + 4, mark)
        self._words.store(at, size)


class BroadcastReader(_End):
    """One of those who read. A context manager."""

    def __init__(self, ring: BroadcastRing) -> None:
        super().__init__(ring)
        self._piece_size = min(ring.capacity, max(_PIECE, ring.capacity // 4))
        # What was copied, and where the next record stands in it.
        self._piece, self._at = b"", 0
        # Of the next record; None when it could not be found out.
        self._number: Optional[int] = None
        # The next record tells how many were lost.
        self._lapped = False
        self._lost = 0
        self._cursor = self._begin()

    def try_read(self) -> Optional[bytes]:
        """The next message; None: nothing is there. Raises INVALID_MEMORY, CLOSED."""
        self._check_open()
        # No further round: what is skipped could be so for ever.
        left = self._ring.capacity
        while left > 0 and (self._at < len(self._piece) or self._fetch()):
            there = len(self._piece) - self._at
            size, mark = struct.unpack_from("<II", self._piece, self._at) if there >= 8 else (0, 0)
            if not 8 <= size <= there:
                self._refetch(size)
            elif mark in (_SKIP, self._number) or self._accepts(mark):
                message = self._piece[self._at + 8 : self._at + size]
                total = padded(size)
                left -= total
                self._at += total
                self._cursor = self._cursor + total & _WORD
                if mark != _SKIP:
                    self._number = mark + 1 & _NUMBERS
                    return message
        return None

    def read(self, timeout: Optional[float] = None) -> Optional[bytes]:
        """The same, and waits for one, for `timeout` seconds at most. None: there was none."""
        while True:
            message = self.try_read()
            if message is not None or not wait(self._words, READERS, self._sit(), self._is_ready, timeout):
                return message

    def __iter__(self) -> Iterator[bytes]:
        """Messages, for ever."""
        while True:
            message = self.read()
            if message is not None:
                yield message

    @property
    def lost(self) -> int:
        """Messages that were written over before this one read them. More than 2^31 at a time are not counted rightly."""
        return self._lost

    def _is_ready(self) -> bool:
        return self._at < len(self._piece) or self._words.load(_TAIL) != self._cursor

    def _sit(self) -> Optional[int]:
        """Only who sleeps needs a seat; when all are taken, it looks by itself."""
        if self._seat is None:
            with suppress(TalkwireError):
                self._seat = sit(self._words, READERS, SEATS)
        return self._seat

    def _refetch(self, size: int) -> None:
        """The piece ends within a record. At its beginning that is no record."""
        if self._at == 0 or not 8 <= size <= self._piece_size:
            self._get_lost(f"a record of {size} bytes at {self._cursor & self._ring.capacity - 1}")
        else:
            self._piece = b""
            self._at = 0

    def _accepts(self, mark: int) -> bool:
        """False for a message that does not follow."""
        if mark > _NUMBERS or (self._number is not None and not self._lapped):
            self._get_lost(f"message {mark} does not follow {self._number}")
            return False
        if self._number is not None:
            self._lost += mark - self._number & _NUMBERS
        self._lapped = False
        return True

    def _get_lost(self, what: str) -> None:
        """What is at the cursor makes no sense. Positions wrap around: after a very long time one may look as if it was not overtaken."""
        if self._lapped:
            raise broken(what)
        self._overtaken()

    def _overtaken(self) -> None:
        """Goes on with the last message that was written."""
        latest = self._words.load(_LATEST)
        if latest & 7:
            raise broken(f"latest {latest}")
        self._piece, self._at = b"", 0
        self._cursor = latest
        self._lapped = True

    def _fetch(self) -> bool:
        """Copies what is behind the cursor. False: nothing is there (now)."""
        words, capacity = self._words, self._ring.capacity
        self._piece, self._at = b"", 0
        for _ in range(_TRIES):
            there = _ahead(words.load(_TAIL), self._cursor)
            if there == 0:
                return False
            length = min(there, capacity - (self._cursor & capacity - 1), self._piece_size)
            piece = words.copy(self._ring._data(self._cursor), length) if length > 0 else b""
            words.fence()
            if 0 < there <= capacity and 0 <= _ahead(words.load(_INTENT), self._cursor) <= capacity:
                self._piece = piece
                return True
            self._overtaken()
        return False

    def _begin(self) -> int:
        """Where the next message will be, and its number."""
        words = self._words
        for _ in range(_TRIES):
            tail, latest = words.load(_TAIL), words.load(_LATEST)
            if (tail | latest) & 7:
                raise broken(f"tail {tail} and latest {latest}")
            mark = words.load(self._ring._data(latest) + 4)
            if words.load(_TAIL) == tail:
                self._number = _number_behind(tail, latest, mark)
                return tail
        return tail


def _ahead(a: int, b: int) -> int:
    """Signed: positions wrap around."""
    return (a - b + 0x80000000 & _WORD) - 0x80000000


def _number_behind(tail: int, latest: int, mark: int) -> int:
    """Of the message at `tail`, when that at `latest` has the number `mark`. It is not yet before the tail while it is published."""
    return mark + (1 if _ahead(latest, tail) < 0 else 0) & _NUMBERS
