"""The latest value, for many readers: implements spec/values.md, sections 1 and 2. Linux, with libatomic."""

from __future__ import annotations

import os
import time
from typing import Any, Optional

from .errors import TalkwireError
from .owner import id_of, is_alive, owner_of
from .versions import Versions, Words, padded, read_version, until_seen, write_version
from .watchers import ring_watchers, watch

_KIND = 0x54560101
_SIZE, _WRITER, _VERSION, _BEGUN, _LENGTHS, _WATCHED = 4, 8, 16, 20, (24, 28), 32
_WATCHERS, _BUFFERS = 64, 320


def value_bytes(size: int) -> int:
    """Bytes of memory for a value of at most so many."""
    return _BUFFERS + 2 * padded(size)


class SharedValue:
    """A value in `buffer`, anything that is writable memory, from byte `offset` on: the `buf` of SharedMemory, or an mmap.

    `size`: bytes that a value has at most; whoever comes first says it, all others say the same or nothing. Raises
    INVALID_MEMORY, MISSING_PACKAGE; ValueError for a wrong place. The memory stays mapped for as long as this is alive.
    """

    def __init__(self, buffer: Any, offset: int = 0, *, size: Optional[int] = None) -> None:
        view = memoryview(buffer).cast("B")
        if offset % 8 or not 0 <= offset <= len(view) - value_bytes(size or 1) or (size is not None and not 1 <= size <= 1 << 30):
            raise ValueError(f"a shared value of {size or 1} bytes at byte {offset} of {len(view)}: take a multiple of 8, and {value_bytes(size or 1)} bytes")
        self._words = words = Words(view[offset:])
        there = words.load(0)
        if there not in (0, _KIND):
            raise TalkwireError("INVALID_MEMORY", f"at byte {offset} is no shared value of this version; take another place")
        if size is not None and there == 0:
            words.swap(_SIZE, 0, size)
        self.size = words.load(_SIZE)
        if self.size == 0 or (size is not None and self.size != size) or offset + value_bytes(self.size) > len(view):
            raise TalkwireError("INVALID_MEMORY", f"the shared value at byte {offset} has {self.size} bytes; say the same size, and share all of them")
        words.swap(0, 0, _KIND)
        self._versions = Versions(words, _VERSION, _BEGUN, _LENGTHS, (_BUFFERS, _BUFFERS + padded(self.size)), self.size)

    @property
    def version(self) -> int:
        """Changes with each value; 0 before the first."""
        return self._words.load(_VERSION)

    def read(self) -> Optional[bytes]:
        """A copy of the latest value, whole; None before the first. Raises INVALID_MEMORY when none can be read."""
        if self.version == 0:
            return None
        seen = until_seen(lambda: read_version(self._versions))
        if seen is None:
            raise TalkwireError("INVALID_MEMORY", "the shared value changes all the time, or is broken; is its writer the only one who writes there?")
        return seen.value

    def changed(self, since: int, timeout: Optional[float] = None) -> int:
        """Blocks this thread until the version is not `since` any more, for `timeout` seconds at most; returns it. 0 waits for the first value.

        What is written meanwhile is not counted: `read()` gives the latest. Raises DEADLINE_EXCEEDED.
        """
        end = float("inf") if timeout is None else time.monotonic() + timeout
        words = self._words
        with watch(words, _WATCHERS, lambda: words.store(_WATCHED, 1)) as sleep:
            while True:
                version = self.version
                if version != since:
                    return version
                left = end - time.monotonic()
                if left <= 0:
                    raise TalkwireError("DEADLINE_EXCEEDED", f"the shared value did not change within {timeout} s")
                sleep(left)

    def writer(self) -> "ValueWriter":
        """The writing end. Raises UNAVAILABLE when a living one has it."""
        words, me = self._words, owner_of(os.getpid())
        other = words.load(_WRITER, 8)
        if not words.swap(_WRITER, 0, me, 8) and (is_alive(other) or not words.swap(_WRITER, other, me, 8)):
            raise TalkwireError("UNAVAILABLE", f"the shared value has a writer already (pid {id_of(other)}); end it, or close() it there")
        return ValueWriter(self._versions, me)


class ValueWriter:
    """The one who writes. A context manager."""

    def __init__(self, versions: Versions, me: int) -> None:
        self._versions = versions
        self._me = me
        self._open = True

    def write(self, value: bytes) -> None:
        """All readers see it from now on. Who dies here leaves the old value. Raises LIMIT_EXCEEDED, CLOSED."""
        if not self._open or id_of(self._me) != os.getpid():
            raise TalkwireError("CLOSED", "this writer of a shared value was closed, or is the parent process's; make another one")
        if len(value) > self._versions.most:
            raise TalkwireError("LIMIT_EXCEEDED", f"{len(value)} bytes; the shared value takes {self._versions.most} at most. Make it larger")
        write_version(self._versions, bytes(value))
        if self._versions.words.load(_WATCHED) != 0:
            self._wake()

    def _wake(self) -> None:
        words = self._versions.words
        # Whoever comes from here on says so again, and whoever did before is found.
        words.store(_WATCHED, 0)
        if ring_watchers(words, _WATCHERS):
            words.store(_WATCHED, 1)

    def close(self) -> None:
        """Lets somebody else write. A second time does nothing."""
        if self._open:
            self._open = False
            self._versions.words.swap(_WRITER, self._me, 0, 8)

    def __enter__(self) -> "ValueWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
