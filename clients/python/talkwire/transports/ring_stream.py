"""A ring of messages as half of a byte stream with length framing, which is what sessions speak: spec/shm.md, section 3.

Each part of a message stands behind 8 bytes: how long the whole message is, and how much of it stands before this part.
"""

from __future__ import annotations

import struct
from typing import Any, Callable, List

from ..atomics import atomics
from ..errors import TalkwireError
from ..ring import Consumer, Producer, Ring

_PART = struct.Struct("<II")
_LENGTH = struct.Struct(">I")
_WRITERS_SLEEP, _READERS_SLEEP = 48, 49


class Outgoing:
    """Frames to records. `tell()` has the other side look at the rings, if it said that it sleeps. For one thread at a time."""

    def __init__(self, ring: Ring, tell: Callable[[], None]) -> None:
        self._ring = ring
        self._producer = ring.producer()
        self._tell = tell
        self._most = ring.max_message - _PART.size
        self._head = b""  # of the frame that is being sent; all of it within its body
        self._length = self._sent = 0

    def put(self, views: List[memoryview]) -> List[memoryview]:
        """Moves what fits into the ring, and returns the rest. Raises INVALID_MEMORY."""
        while views:
            if len(self._head) < _LENGTH.size:
                self._take_head(views)
                if len(self._head) < _LENGTH.size or self._length > 0:
                    continue
            size = min(self._length - self._sent, self._most, sum(map(len, views)))
            place = self._producer._claim(8 + _PART.size + size)
            if place is None:
                return views
            self._fill(place + 8, views, size)
            self._producer._publish(place, 8 + _PART.size + size)
            # It may begin with this part while we copy the next.
            self._tell()
        return views

    def _take_head(self, views: List[memoryview]) -> None:
        self._head += bytes(_taken(views, _LENGTH.size - len(self._head)))
        if len(self._head) == _LENGTH.size:
            self._length, self._sent = _LENGTH.unpack(self._head)[0], 0

    def _fill(self, at: int, views: List[memoryview], size: int) -> None:
        data = self._ring._bytes
        _PART.pack_into(data, at, self._length, self._sent)
        at += _PART.size
        end = at + size
        while at < end:
            piece = _taken(views, end - at)
            data[at : at + len(piece)] = piece
            at += len(piece)
        self._sent += size
        if self._sent == self._length:
            self._head = b""

    def say_sleeps(self) -> None:
        """Whoever makes room from here on says so; look once more after this."""
        self._ring._words[_WRITERS_SLEEP] = 1
        atomics().fence()

    def needs_no_room(self) -> None:
        self._ring._words[_WRITERS_SLEEP] = 0

    def wakes(self) -> bool:
        """Whether the other side wants to hear of what was written, after a fence. It has to be told then."""
        return _wakes(self._ring, _READERS_SLEEP)

    def close(self) -> None:
        self._producer.close()
        self._ring.close()


class Incoming:
    """Records to frames. What stands in the ring is read once, and believed only within the record that was checked."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._consumer: Consumer = ring.consumer()
        self._head = b""  # of a frame, not yet handed out
        self._record = 0  # size of the record that is being handed out; 0: none
        self._at = self._left = 0  # of its part
        self._length = self._have = 0  # of the message; equal: none is being put together

    def read_into(self, buffer: memoryview) -> int:
        """How many bytes of the stream; 0: nothing is there. Raises INVALID_MEMORY, INVALID_MESSAGE."""
        filled = 0
        while filled < len(buffer) and (self._head or self._left or self._next()):
            filled += self._copy(buffer[filled:])
            if self._record and not self._left:
                self._consumer._pass(self._record)
                self._record = 0
        return filled

    def _copy(self, room: memoryview) -> int:
        # Here, and not where an error may be raised: that would keep the piece, and so the memory, for as long as somebody has it.
        if self._head:
            piece: Any = self._head[: len(room)]
            self._head = self._head[len(piece) :]
        else:
            piece = self._ring._bytes[self._at : self._at + min(self._left, len(room))]
            self._at += len(piece)
            self._left -= len(piece)
        room[: len(piece)] = piece
        return len(piece)

    def _next(self) -> bool:
        """Goes on to the next record; what it says of itself is read once."""
        found = self._consumer._look()
        if found is None:
            return False
        place, size = found
        part = size - 8 - _PART.size
        if part < 0:
            raise TalkwireError("INVALID_MESSAGE", f"a record of {size} bytes is too short for a part of a message")
        length, before = _PART.unpack_from(self._ring._bytes, place + 8)
        begins = self._have == self._length
        if begins:
            self._length, self._have = length, 0
        if before != self._have or length != self._length or part > length - before or (part == 0 and length > 0):
            raise TalkwireError(
                "INVALID_MESSAGE", f"part of {part} bytes at {before} of {length}, where {self._have} of {self._length} are there"
            )
        self._have += part
        self._record, self._at, self._left = size, place + 8 + _PART.size, part
        if begins:
            self._head = _LENGTH.pack(length)
        return True

    @property
    def has_message(self) -> bool:
        return bool(self._head or self._left) or self._consumer._is_ready()

    def say_sleeps(self) -> None:
        """Whoever writes from here on says so; look once more after this."""
        self._ring._words[_READERS_SLEEP] = 1
        atomics().fence()

    def wakes(self) -> bool:
        """Whether the other side wants to hear of the room that was made, after a fence. It has to be told then."""
        return _wakes(self._ring, _WRITERS_SLEEP)

    def close(self) -> None:
        self._consumer.close()
        self._ring.close()


def _wakes(ring: Ring, word: int) -> bool:
    if ring._words[word] == 0:
        return False
    ring._words[word] = 0
    return True


def _taken(views: List[memoryview], most: int) -> memoryview:
    """The first `most` bytes, or what the first view has of them."""
    first = views[0]
    piece = first[:most]
    if len(piece) < len(first):
        views[0] = first[len(piece) :]
    else:
        views.pop(0)
    return piece
