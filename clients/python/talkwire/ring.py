"""One end of a ring in shared memory, with one consumer and one producer or many: implements spec/rings.md. Linux on x86-64.

Words are read and written as four bytes at once, through a memoryview. That relies on x86-64, which keeps stores in order and
never moves a load behind a store before it; Python has no fences and no compare-and-exchange. So two that come for the same
end at the very same moment are not told apart, and a ring of the bell may be missed: who waits looks by itself as well.
Many producers need more than that: ring_many.py.
"""

from __future__ import annotations

import os
import platform
import select
import time
from typing import Any, Iterator, Optional, Tuple

from .errors import TalkwireError
from .owner import id_of, is_alive, owner_of, ring
from .ring_many import Claims
from .ring_place import HEADER, Closing, broken, capacity_of, max_message_of, place_of
from .seats import SEATS as _SEATS

_KIND = 0x54521000
_KINDS = {"one": 0x100, "many": 0x200}
_TAIL, _HEAD, _LOST, _WRITERS_SLEEP, _READERS_SLEEP = 16, 32, 33, 48, 49
_GENERATION, _BELL, _SLEEPING = 2, 3, 4
_SKIP = -1
_LOOK = 0.004
_LAST_LOOK = 0.064
_ORDERED = ("x86_64", "AMD64", "i386", "i686")

FULL = -1


def needs_order() -> None:
    """Raises UNSUPPORTED where the processor may change the order of what is stored."""
    if platform.machine() not in _ORDERED:
        raise TalkwireError("UNSUPPORTED", f"rings in Python need x86-64, this is {platform.machine()}; take unix:")


class Ring(Closing):
    """A ring in `buffer`, anything that is writable memory, from byte `offset` on: the `buf` of SharedMemory, or an mmap.

    `producers`: "one" or "many"; all who use it say the same. Raises INVALID_MEMORY, UNSUPPORTED, and with many MISSING_PACKAGE;
    ValueError for a wrong place.
    """

    def __init__(self, buffer: Any, offset: int = 0, size: Optional[int] = None, *, producers: str = "one") -> None:
        if producers not in _KINDS:
            raise ValueError(f"{producers!r} producers: take 'one' or 'many'")
        needs_order()
        view, most = place_of(buffer, offset, size)
        self._words = view[:HEADER].cast("i")
        self._longs = view[:HEADER].cast("q")
        kind = _KIND | _KINDS[producers]
        self._claims = Claims(view) if producers == "many" else None
        if self._claims:
            self._claims.make(kind | most)
        elif self._words[0] == 0:
            self._words[0] = kind | most
        self.capacity = capacity_of(self._words[0], kind, most, f"ring with {producers} producers at byte {offset}")
        self.max_message = max_message_of(self.capacity)
        self._bytes = view[HEADER : HEADER + self.capacity]
        self._data = self._bytes.cast("i")

    def producer(self) -> "Producer":
        """The writing end, or one of many. Raises UNAVAILABLE when a living one has it; of many, when there are 60."""
        return ManyProducer(self, self._claims) if self._claims else Producer(self)

    def consumer(self) -> "Consumer":
        """The reading end. Raises UNAVAILABLE when a living one has it."""
        return Consumer(self)

    def close(self) -> None:
        """Lets go of the memory, so that it can be closed too. Its ends are of no use then."""
        for view in (self._data, self._bytes, self._longs, self._words):
            view.release()
        if self._claims:
            self._claims.close()


class _End(Closing):
    def __init__(self, ring: Ring, seat: int) -> None:
        self._ring = ring
        self._seat = seat
        self._owner = os.getpid()
        self._bell: Optional[Tuple[int, int]] = None

    def _sit(self) -> None:
        words, longs = self._ring._words, self._ring._longs
        who = longs[self._long]
        if who != 0 and is_alive(who):
            raise TalkwireError("UNAVAILABLE", f"this end of the ring is taken (pid {id_of(who)}); end that one, or close() it there")
        longs[self._long] = _self()
        words[self._word + _SLEEPING] = 0
        words[self._word + _GENERATION] = (words[self._word + _GENERATION] & 0x7FFFFF) % 0x7FFFFF + 1

    @property
    def _word(self) -> int:
        return 64 + 8 * self._seat

    @property
    def _long(self) -> int:
        return 32 + 4 * self._seat

    def _wait(self, sleep_word: int, timeout: Optional[float]) -> bool:
        """Sleeps until the other side rings or something is there. False: not within `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        pause = _LOOK
        words = self._ring._words
        if self._bell is None:
            self._bell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        while not self._is_ready():
            words[self._word + _BELL] = self._bell[0]
            words[self._word + _SLEEPING] = 1
            words[sleep_word] = 1
            left = pause if end is None else min(pause, end - time.monotonic())
            if left <= 0:
                words[self._word + _SLEEPING] = 0
                return False
            if not self._is_ready() and select.select([self._bell[0]], [], [], left)[0]:
                os.read(self._bell[0], 4096)
                pause = _LOOK
            else:
                pause = min(2 * pause, _LAST_LOOK)
            words[self._word + _SLEEPING] = 0
        return True

    def _is_ready(self) -> bool:
        raise NotImplementedError

    def _wake(self, sleep_word: int, first: int) -> None:
        words = self._ring._words
        if words[sleep_word] == 0:
            return
        words[sleep_word] = 0
        for seat in range(first, first + _SEATS):
            at = 64 + 8 * seat
            if words[at + _SLEEPING] == 1:
                words[at + _SLEEPING] = 0
                ring(self._ring._longs[32 + 4 * seat], words[at + _BELL])

    def close(self) -> None:
        """Lets somebody else take this end. A second time does nothing."""
        if self._seat < 0 or self._owner != os.getpid():
            return
        self._ring._longs[self._long] = 0
        self._seat = -1
        for fd in self._bell or ():
            os.close(fd)
        self._bell = None

    def _check_open(self) -> None:
        if self._owner != os.getpid():
            raise TalkwireError("CLOSED", "this end of the ring is the parent process's; make another one")
        if self._seat < 0:
            raise TalkwireError("CLOSED", "this end of the ring was closed; make another one")


class Producer(_End):
    """The writing end of a ring."""

    def __init__(self, ring: Ring) -> None:
        super().__init__(ring, 0)
        self._sit()
        self._needed = 0
        try:
            self._tail = self._pass_records()
        except TalkwireError:
            self.close()
            raise

    def try_write(self, message: "bytes | bytearray | memoryview") -> bool:
        """Copies it into the ring. False: no room now. Raises MESSAGE_TOO_LARGE, INVALID_MEMORY, CLOSED."""
        self._check_open()
        data = memoryview(message).cast("B")
        place = self._claim(len(data) + 8)
        if place is None:
            return False
        self._ring._bytes[place + 8 : place + 8 + len(data)] = data
        self._publish(place, len(data) + 8)
        self._wake(_READERS_SLEEP, _SEATS)
        return True

    def write(self, message: "bytes | bytearray | memoryview", timeout: Optional[float] = None) -> bool:
        """The same, and waits for room, for `timeout` seconds at most. False: there was none."""
        while not self.try_write(message):
            if not self._wait(_WRITERS_SLEEP, timeout):
                return False
        return True

    def _claim(self, size: int) -> Optional[int]:
        """The place of a record of `size` bytes, its header with them; None: no room now. Nobody sees it before `_publish`."""
        total = self._need(size)
        return self._begin(total) if self._is_ready() else None

    def _publish(self, place: int, size: int) -> None:
        """What was claimed, and is written now. Wakes nobody."""
        data = self._ring._data
        data[place // 4 + 1] = 0
        data[place // 4] = size
        self._move(size + 7 & ~7)

    def _need(self, size: int) -> int:
        """Of the record, with what it is rounded up to. What it takes at the end of the data is known at the tail."""
        if size - 8 > self._ring.max_message:
            raise TalkwireError("MESSAGE_TOO_LARGE", f"{size - 8} bytes; the ring takes {self._ring.max_message} at most")
        total = size + 7 & ~7
        rest = self._ring.capacity - (self._tail & self._ring.capacity - 1)
        self._needed = (rest + total if total > rest else total) + 8
        return total

    def _begin(self, total: int) -> int:
        """The place of a record for which there is room: no record runs over the end, and the word behind it is clear."""
        data, capacity = self._ring._data, self._ring.capacity
        place = self._tail & capacity - 1
        rest = capacity - place
        if total > rest:
            data[0] = 0
            data[place // 4 + 1] = _SKIP
            data[place // 4] = rest
            self._move(rest)
            place = 0
        data[(place + total & capacity - 1) // 4] = 0
        return place

    def _move(self, by: int) -> None:
        self._tail = _signed(self._tail + by)
        self._ring._words[_TAIL] = self._tail

    def _is_ready(self) -> bool:
        used = self._used(self._tail)
        return used + self._needed <= self._ring.capacity

    def _used(self, tail: int) -> int:
        used = _signed(tail - self._ring._words[_HEAD])
        if used < 0 or used > self._ring.capacity or tail & 7:
            raise broken(f"{used} of {self._ring.capacity} bytes are in it")
        return used

    def _pass_records(self) -> int:
        """What one who died had put there before it could move the tail; the consumer may have read it."""
        ring = self._ring
        tail, head = ring._words[_TAIL], ring._words[_HEAD]
        if 0 < _signed(head - tail) <= ring.capacity:
            tail = head
        while True:
            used = self._used(tail)
            place = tail & ring.capacity - 1
            size = abs(ring._data[place // 4])
            if size == 0:
                ring._words[_TAIL] = tail
                return tail
            total = size + 7 & ~7
            if size < 8 or place + total > ring.capacity or used + total > ring.capacity:
                raise broken(f"a record of {size} bytes at {place}")
            tail = _signed(tail + total)


class ManyProducer(Producer):
    """One of the writing ends of a ring with many."""

    def __init__(self, ring: Ring, claims: Claims) -> None:
        _End.__init__(self, ring, claims.sit())
        self._claims = claims
        self._me = claims.word(self._seat)
        self._needed = 0
        self._tail = 0

    def _claim(self, size: int) -> Optional[int]:
        """From here on the consumer finds whose record it is."""
        ring = self._ring
        self._tail = ring._words[_TAIL]
        self._need(size)
        taken = self._claims.take(self._me)
        if taken == 0:
            return None
        try:
            self._tail = self._pass_records() if taken < 0 else ring._words[_TAIL]
            total = self._need(size)
            if self._used(self._tail) + self._needed > ring.capacity:
                return None
            place = self._begin(total)
            ring._data[place // 4 + 1] = self._me
            ring._data[place // 4] = -size
            self._move(total)
            return place
        finally:
            self._claims.give_back()

    def _publish(self, place: int, size: int) -> None:
        self._claims.publish(place, size)

    def _is_ready(self) -> bool:
        used = _signed(self._ring._words[_TAIL] - self._ring._words[_HEAD])
        # Both move meanwhile. What makes no sense, the claim itself refuses.
        if 0 <= used <= self._ring.capacity < used + self._needed:
            return False
        return self._claims.is_free()


class Consumer(_End):
    """The reading end of a ring."""

    def __init__(self, ring: Ring) -> None:
        super().__init__(ring, _SEATS)
        self._sit()
        self._head = ring._words[_HEAD] & ~7

    def try_read(self) -> Optional[bytes]:
        """A copy of the next message; None: nothing is there. Raises INVALID_MEMORY, CLOSED."""
        self._check_open()
        before, found = self._head, self._look()
        if found is None:
            if self._head != before:
                self._wake(_WRITERS_SLEEP, 0)
            return None
        place, size = found
        message = bytes(self._ring._bytes[place + 8 : place + size])
        self._pass(size)
        self._wake(_WRITERS_SLEEP, 0)
        return message

    def _look(self) -> Optional[Tuple[int, int]]:
        """Place and size of the next record that is a message, its header with them, as they were read once; None: there is none.

        Wakes nobody for the room of what it skipped.
        """
        ring, skipped = self._ring, 0
        # No further round: who writes nothing but room to be skipped would keep us here for ever.
        while skipped <= ring.capacity:
            place = self._head & ring.capacity - 1
            size = ring._data[place // 4]
            if size == 0:
                return None
            if not 8 <= abs(size) <= ring.capacity - place or (size < 0 and ring._claims is None):
                raise broken(f"a record of {size} bytes at {place}")
            if size > 0 and ring._data[place // 4 + 1] >= 0:
                return place, size
            skipped += abs(size)
            if size < 0 and not self._is_dead(place):
                return None
            # It may have been committed just before its producer died.
            if size < 0 and ring._data[place // 4] > 0:
                continue
            if size < 0:
                ring._words[_LOST] = _signed(ring._words[_LOST] + 1)
            self._pass(abs(size))
        if ring._claims is None:
            raise broken("there is nothing but room to be skipped")
        return None

    def read(self, timeout: Optional[float] = None) -> Optional[bytes]:
        """The same, and waits for one, for `timeout` seconds at most. None: there was none."""
        while True:
            message = self.try_read()
            if message is not None or not self._wait(_READERS_SLEEP, timeout):
                return message

    def __iter__(self) -> Iterator[bytes]:
        """Messages, for ever."""
        while True:
            message = self.read()
            if message is not None:
                yield message

    @property
    def lost(self) -> int:
        """Claims that were skipped because their producer died before it committed, since the ring was made."""
        return self._ring._words[_LOST] & 0xFFFFFFFF

    def _pass(self, size: int) -> None:
        """Goes on behind a record of that size."""
        self._head = _signed(self._head + (size + 7 & ~7))
        self._ring._words[_HEAD] = self._head

    def _is_ready(self) -> bool:
        place = self._head & self._ring.capacity - 1
        size = self._ring._data[place // 4]
        return size > 0 or (size < 0 and self._is_dead(place))

    def _is_dead(self, place: int) -> bool:
        """Whether who claimed the record is; its mark tells who that is, also when it is about to be skipped."""
        claims = self._ring._claims
        return claims is None or claims.is_gone(abs(self._ring._data[place // 4 + 1]))


def _signed(position: int) -> int:
    """Positions have 32 bits."""
    return (position + 0x80000000 & 0xFFFFFFFF) - 0x80000000


def _self() -> int:
    """As the seats have it: signed."""
    word = owner_of(os.getpid())
    return word - (1 << 64) if word >> 63 else word
