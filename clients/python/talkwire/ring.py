"""One end of a ring in shared memory, with one producer and one consumer: implements spec/rings.md. Linux on x86-64.

Words are read and written as four bytes at once, through a memoryview. That relies on x86-64, which keeps stores in order and
never moves a load behind a store before it; Python has no fences and no compare-and-exchange. So two that come for the same
end at the very same moment are not told apart, and a ring of the bell may be missed: who waits looks by itself as well.
"""

from __future__ import annotations

import os
import platform
import select
import time
from typing import Any, Iterator, Optional, Tuple

from .errors import TalkwireError
from .owner import id_of, is_alive, owner_of, ring

_HEADER = 4096
_KIND = 0x54521100
_TAIL, _HEAD, _WRITERS_SLEEP, _READERS_SLEEP = 16, 32, 48, 49
_SEATS = 60
_GENERATION, _BELL, _SLEEPING = 2, 3, 4
_SKIP = -1
_LOOK = 0.004
_LAST_LOOK = 0.064
_ORDERED = ("x86_64", "AMD64", "i386", "i686")

FULL = -1


class Ring:
    """A ring in `buffer`, anything that is writable memory, from byte `offset` on: the `buf` of SharedMemory, or an mmap.

    Raises INVALID_MEMORY, UNSUPPORTED; ValueError for a wrong place.
    """

    def __init__(self, buffer: Any, offset: int = 0, size: Optional[int] = None) -> None:
        if platform.machine() not in _ORDERED:
            raise TalkwireError("UNSUPPORTED", f"rings in Python need x86-64, this is {platform.machine()}; take unix:")
        view = memoryview(buffer)[offset : None if size is None else offset + size].cast("B")
        room = len(view) - _HEADER
        if offset % 8 or room < 1024:
            raise ValueError(f"{len(view)} bytes from byte {offset} on: take 4096 and a power of two from 1024 on, at a multiple of 8")
        log2 = min(30, room.bit_length() - 1)
        self._words = view[:_HEADER].cast("i")
        self._longs = view[:_HEADER].cast("q")
        if self._words[0] == 0:
            self._words[0] = _KIND | log2
        kind, found = self._words[0] & ~0xFF, self._words[0] & 0xFF
        if kind != _KIND or found < 10 or found > log2:
            raise TalkwireError("INVALID_MEMORY", f"there is no ring with one producer of this version at byte {offset}")
        self.capacity = 1 << found
        self.max_message = self.capacity // 4 - 8
        self._bytes = view[_HEADER : _HEADER + self.capacity]
        self._data = self._bytes.cast("i")

    def producer(self) -> "Producer":
        """The writing end. Raises UNAVAILABLE when a living one has it."""
        return Producer(self)

    def consumer(self) -> "Consumer":
        """The reading end. Raises UNAVAILABLE when a living one has it."""
        return Consumer(self)

    def close(self) -> None:
        """Lets go of the memory, so that it can be closed too. Its ends are of no use then."""
        for view in (self._data, self._bytes, self._longs, self._words):
            view.release()

    def __enter__(self) -> "Ring":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _broken(self, what: str) -> TalkwireError:
        return TalkwireError("INVALID_MEMORY", f"the ring is broken: {what}; somebody wrote into it who should not have")


class _End:
    def __init__(self, ring: Ring, seat: int) -> None:
        self._ring = ring
        self._seat = seat
        self._owner = os.getpid()
        self._bell: Optional[Tuple[int, int]] = None
        words, longs = ring._words, ring._longs
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

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Producer(_End):
    """The writing end of a ring."""

    def __init__(self, ring: Ring) -> None:
        super().__init__(ring, 0)
        self._needed = 0
        try:
            self._tail = self._pass_records()
        except TalkwireError:
            self.close()
            raise

    def try_write(self, message: "bytes | bytearray | memoryview") -> bool:
        """Copies it into the ring. False: no room now. Raises MESSAGE_TOO_LARGE, INVALID_MEMORY, CLOSED."""
        self._check_open()
        ring, size = self._ring, len(message) + 8
        if len(message) > ring.max_message:
            raise TalkwireError("MESSAGE_TOO_LARGE", f"{len(message)} bytes; the ring takes {ring.max_message} at most")
        total = size + 7 & ~7
        place = self._tail & ring.capacity - 1
        rest = ring.capacity - place
        self._needed = (rest + total if total > rest else total) + 8
        if not self._is_ready():
            return False
        data = ring._data
        if total > rest:
            data[0] = 0
            data[place // 4 + 1] = _SKIP
            data[place // 4] = rest
            self._move(rest)
            place = 0
        data[(place + total & ring.capacity - 1) // 4] = 0
        ring._bytes[place + 8 : place + size] = message
        data[place // 4 + 1] = 0
        data[place // 4] = size
        self._move(total)
        self._wake(_READERS_SLEEP, _SEATS)
        return True

    def write(self, message: "bytes | bytearray | memoryview", timeout: Optional[float] = None) -> bool:
        """The same, and waits for room, for `timeout` seconds at most. False: there was none."""
        while not self.try_write(message):
            if not self._wait(_WRITERS_SLEEP, timeout):
                return False
        return True

    def _move(self, by: int) -> None:
        self._tail = _signed(self._tail + by)
        self._ring._words[_TAIL] = self._tail

    def _is_ready(self) -> bool:
        used = self._used(self._tail)
        return used + self._needed <= self._ring.capacity

    def _used(self, tail: int) -> int:
        used = _signed(tail - self._ring._words[_HEAD])
        if used < 0 or used > self._ring.capacity or tail & 7:
            raise self._ring._broken(f"{used} of {self._ring.capacity} bytes are in it")
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
            size = ring._data[place // 4]
            if size == 0:
                ring._words[_TAIL] = tail
                return tail
            total = size + 7 & ~7
            if size < 8 or place + total > ring.capacity or used + total > ring.capacity:
                raise ring._broken(f"a record of {size} bytes at {place}")
            tail = _signed(tail + total)


class Consumer(_End):
    """The reading end of a ring."""

    def __init__(self, ring: Ring) -> None:
        super().__init__(ring, _SEATS)
        self._head = ring._words[_HEAD] & ~7

    def try_read(self) -> Optional[bytes]:
        """A copy of the next message; None: nothing is there. Raises INVALID_MEMORY, CLOSED."""
        self._check_open()
        ring = self._ring
        while True:
            place = self._head & ring.capacity - 1
            size = ring._data[place // 4]
            if size == 0:
                return None
            total = size + 7 & ~7
            if size < 8 or place + total > ring.capacity:
                raise ring._broken(f"a record of {size} bytes at {place}")
            skip = ring._data[place // 4 + 1] < 0
            message = None if skip else bytes(ring._bytes[place + 8 : place + size])
            self._head = _signed(self._head + total)
            ring._words[_HEAD] = self._head
            self._wake(_WRITERS_SLEEP, 0)
            if message is not None:
                return message

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

    def _is_ready(self) -> bool:
        return self._ring._data[(self._head & self._ring.capacity - 1) // 4] != 0


def _signed(position: int) -> int:
    """Positions have 32 bits."""
    return (position + 0x80000000 & 0xFFFFFFFF) - 0x80000000


def _self() -> int:
    """As the seats have it: signed."""
    word = owner_of(os.getpid())
    return word - (1 << 64) if word >> 63 else word
