"""Locks between processes, the same as TypeScript's `talkwire/sync`: implements spec/sync.md. Linux.

The words of a lock are changed by the functions of libatomic, which comes with GCC and many other packages; the standard
library has none. Where it is missing, MISSING_PACKAGE says how to get it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import time
from typing import Any, NamedTuple, Optional

from .errors import TalkwireError
from .memory import SharedMemory
from .names import check_name
from .owner import id_of, is_alive, owner_of, ring

_BYTES = 1024
_MUTEX = 0x54570101
_WAITERS = 29
_KIND, _FLAGS, _OWNER, _FENCE, _SINCE, _DAMAGED, _WAITING, _SEQUENCE, _HUNGRY, _LABEL = 0, 4, 8, 16, 24, 32, 36, 40, 44, 64
_WHO, _MINE, _BELL, _WAITS_SINCE, _RUNG, _MODE = 0, 8, 12, 16, 24, 28  # of a waiter
_FAIR = 1
_SPINS = 100
_FIRST_LOOK, _LAST_LOOK, _HUNGRY_AFTER = 0.004, 0.032, 0.002  # seconds
_SEQ_CST = 5


class _Atomics:
    """The changes of spec/sync.md, by address."""

    def __init__(self) -> None:
        try:
            library = ctypes.CDLL("libatomic.so.1")
        except OSError as error:
            raise TalkwireError("MISSING_PACKAGE", "locks need libatomic.so.1; install libatomic1 (Debian) or libatomic (Fedora)") from error
        for bits, word in ((4, ctypes.c_uint32), (8, ctypes.c_uint64)):
            for name, result, arguments in (
                ("load", word, [ctypes.c_void_p, ctypes.c_int]),
                ("store", None, [ctypes.c_void_p, word, ctypes.c_int]),
                ("fetch_add", word, [ctypes.c_void_p, word, ctypes.c_int]),
                ("compare_exchange", ctypes.c_bool, [ctypes.c_void_p, ctypes.c_void_p, word, ctypes.c_int, ctypes.c_int]),
            ):
                function = getattr(library, f"__atomic_{name}_{bits}")
                function.restype, function.argtypes = result, arguments
                setattr(self, f"_{name}{bits}", function)

    def load(self, address: int, size: int = 4) -> int:
        return int(getattr(self, f"_load{size}")(address, _SEQ_CST))

    def store(self, address: int, value: int, size: int = 4) -> None:
        getattr(self, f"_store{size}")(address, value, _SEQ_CST)

    def add(self, address: int, value: int) -> int:
        """Returns what is there now."""
        return (int(getattr(self, "_fetch_add4")(address, value, _SEQ_CST)) + value) & 0xFFFFFFFF

    def swap(self, address: int, before: int, after: int, size: int = 4) -> bool:
        """True when `before` was there, and `after` is now."""
        expected = ctypes.c_uint32(before) if size == 4 else ctypes.c_uint64(before)
        return bool(getattr(self, f"_compare_exchange{size}")(address, ctypes.addressof(expected), after, _SEQ_CST, _SEQ_CST))


_atomics: Optional[_Atomics] = None


class Grant(NamedTuple):
    """A grant of a mutex."""

    fence: float
    """Larger than that of every earlier grant."""
    abandoned: bool
    """An owner died within, and nobody has called `repaired()` since."""


class Mutex:
    """One at a time, across processes and languages. `with mutex as grant: …`

    Opened by name; other processes, in any language, open the same one. A thread that has it and wants it again waits for
    itself. Threads of one process share a Mutex object: they take turns like processes. After a fork the child opens its own.
    """

    def __init__(self, name: str) -> None:
        global _atomics
        _atomics = _atomics or _Atomics()
        self._atomics = _atomics
        self.name = check_name(name)
        self._memory = _segment(f"talkwire-{os.getuid()}-mutex-{self.name}")
        self._bytes = ctypes.c_char.from_buffer(self._memory.buf)
        self._at = ctypes.addressof(self._bytes)
        self._self = owner_of(os.getpid())
        self._bell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._load(_KIND) != _MUTEX and not self._swap(_KIND, 0, _MUTEX) and self._load(_KIND) != _MUTEX:
            raise TalkwireError("INVALID_MEMORY", f"there is no mutex (of this version) in the memory of mutex {name}; unlink it, or take another name")

    def acquire(self, timeout: Optional[float] = None) -> Grant:
        """Waits for it, at most `timeout` s. Raises DEADLINE_EXCEEDED."""
        self._check_fork()
        for _ in range(_SPINS):
            if self._may_go(None) and self._take(False):
                return self._granted()
        return self._wait(timeout)

    def try_acquire(self) -> Optional[Grant]:
        """At once or not at all; from a dead owner too."""
        self._check_fork()
        return self._granted() if self._may_go(None) and self._take(True) else None

    def repaired(self) -> None:
        """Says that the data are whole again, while it is held."""
        self._store(_DAMAGED, 0)

    def release(self) -> None:
        self._swap(_OWNER, self._self, 0, 8)
        self._wake_first()

    def close(self) -> None:
        """Gives up this object. The last one to close a free mutex takes its name away."""
        idle = self._load(_OWNER, 8) == 0 and self._load(_DAMAGED) == 0
        del self._bytes
        for end in self._bell:
            os.close(end)
        _close(self._memory, idle)

    def __enter__(self) -> Grant:
        return self.acquire()

    def __exit__(self, *_: Any) -> None:
        self.release()

    # Words, by their offsets.

    def _load(self, offset: int, size: int = 4) -> int:
        return self._atomics.load(self._at + offset, size)

    def _store(self, offset: int, value: int, size: int = 4) -> None:
        self._atomics.store(self._at + offset, value, size)

    def _swap(self, offset: int, before: int, after: int, size: int = 4) -> bool:
        return self._atomics.swap(self._at + offset, before, after, size)

    def _float(self, offset: int) -> ctypes.c_double:
        return ctypes.c_double.from_address(self._at + offset)

    def _check_fork(self) -> None:
        if id_of(self._self) != os.getpid():
            raise TalkwireError("CLOSED", f"mutex {self.name} was opened before the fork; open it again in the child")

    # § 5

    def _take(self, late: bool) -> bool:
        owner = self._load(_OWNER, 8)
        if owner != 0:
            if not late or is_alive(owner) or not self._swap(_OWNER, owner, self._self, 8):
                return False
            self._store(_DAMAGED, 1)
        elif not self._swap(_OWNER, 0, self._self, 8):
            return False
        fence = self._float(_FENCE)
        fence.value = (fence.value or time.time() * 1e6) + 1
        self._float(_SINCE).value = time.time() * 1000
        ctypes.memset(self._at + _LABEL, 0, 32)
        return True

    def _granted(self) -> Grant:
        return Grant(self._float(_FENCE).value, self._load(_DAMAGED) != 0)

    # § 4

    def _wait(self, timeout: Optional[float]) -> Grant:
        begin = time.monotonic()
        end = float("inf") if timeout is None else begin + timeout
        place: Optional[int] = None
        taken = False
        watch = _Watch(self._bell[0])
        left: Optional[float] = None
        late = False
        try:
            while True:
                if place is None:
                    place = self._enqueue()
                else:
                    self._store(place + _RUNG, 0)
                taken = self._may_go(place) and self._take(late)
                if late and not taken:
                    owner = self._load(_OWNER, 8)
                    grant = None if is_alive(owner) else self._float(_FENCE).value
                    taken = grant is not None and grant == left and self._take(True)
                    left = grant
                    watch.follow(owner, self._self)
                if taken:
                    return self._granted()
                now = time.monotonic()
                if place is not None and now - begin > _HUNGRY_AFTER:
                    self._store(_HUNGRY, 1)
                if now >= end:
                    raise TalkwireError("DEADLINE_EXCEEDED", f"mutex {self.name} was not to be had within {timeout} s")
                late = watch.sleep(end - now)
        finally:
            watch.close()
            if place is not None:
                self._leave(place, taken)

    def _enqueue(self) -> Optional[int]:
        for purge in (False, True):
            for place in _PLACES:
                if purge:
                    self._clear_dead(place)
                if self._swap(place + _WHO, 0, self._self, 8):
                    self._fill(place)
                    return place
        return None

    def _fill(self, place: int) -> None:
        for offset, value in ((_MINE, 0), (_BELL, self._bell[0]), (_RUNG, 0), (_MODE, 0)):
            self._store(place + offset, value)
        self._float(place + _WAITS_SINCE).value = time.time() * 1000
        sequence = 0
        while sequence == 0:
            sequence = self._atomics.add(self._at + _SEQUENCE, 1)
        self._store(place + _MINE, sequence)
        self._store(_WAITING, 1)

    def _leave(self, place: int, taken: bool) -> None:
        if self._load(_HUNGRY) and self._is_first(place):
            self._store(_HUNGRY, 0)
        self._store(place + _MINE, 0)
        self._store(place + _WHO, 0, 8)
        if not taken:
            self._wake_first()

    def _clear_dead(self, place: int) -> bool:
        who = self._load(place + _WHO, 8)
        return who != 0 and not is_alive(who) and self._swap(place + _WHO, who, 0, 8)

    def _first(self) -> Optional[int]:
        found: Optional[int] = None
        lowest = 0
        for place in _PLACES:
            sequence = self._load(place + _MINE)
            if sequence == 0 or self._load(place + _WHO, 8) == 0:
                continue
            if found is None or (sequence - lowest) & 0x80000000:
                found, lowest = place, sequence
        return found

    def _is_first(self, mine: Optional[int]) -> bool:
        while True:
            first = self._first()
            if first is None or first == mine:
                return True
            if not self._clear_dead(first):
                return False

    def _may_go(self, mine: Optional[int]) -> bool:
        strict = self._load(_HUNGRY) or self._load(_FLAGS) & _FAIR
        return not strict or self._load(_WAITING) == 0 or self._is_first(mine)

    def _wake_first(self) -> None:
        if self._load(_WAITING) == 0:
            return
        self._store(_WAITING, 0)
        while True:
            first = self._first()
            if first is None:
                return
            self._store(_WAITING, 1)
            if not self._swap(first + _RUNG, 0, 1):
                return
            if ring(self._load(first + _WHO, 8), self._load(first + _BELL)) or not self._clear_dead(first):
                return


def _segment(name: str) -> SharedMemory:
    while True:
        try:
            return SharedMemory.create(name, _BYTES, persist=True)
        except TalkwireError as error:
            if error.code != "ALREADY_EXISTS":
                raise
        try:
            return SharedMemory.open(name)
        except TalkwireError as error:
            if error.code != "NOT_FOUND":
                raise


def _close(memory: SharedMemory, idle: bool) -> None:
    """§ 1: whoever goes last takes the name of a free lock away."""
    fcntl.flock(memory.fd, fcntl.LOCK_UN)
    try:
        if idle:
            fcntl.flock(memory.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            memory.unlink()
    except BlockingIOError:
        pass  # somebody else has it open
    memory.close()


_PLACES = range(96, 96 + 32 * _WAITERS, 32)


class _Watch:
    """Sleeps until the bell rings, the owner ends, or it is time to look."""

    def __init__(self, bell: int) -> None:
        self._bell = bell
        self._pause = _FIRST_LOOK
        self._owner = 0
        self._process: Optional[int] = None

    def follow(self, owner: int, own: int) -> None:
        self._pause = min(2 * self._pause, _LAST_LOOK) if owner == self._owner else _FIRST_LOOK
        if owner == self._owner:
            return
        self.close()
        self._owner = owner
        if owner not in (0, own):
            try:
                self._process = os.pidfd_open(id_of(owner))
            except OSError:
                self._process = None  # it has ended, or is a thread: the next look tells

    def sleep(self, most: float) -> bool:
        """True when nobody rang."""
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        if self._process is not None:
            poll.register(self._process, select.POLLIN)
        ready = [fd for fd, _ in poll.poll(max(0.0, min(self._pause, most)) * 1000)]
        if self._bell in ready:
            os.read(self._bell, 4096)
        return self._bell not in ready or len(ready) > 1

    def close(self) -> None:
        if self._process is not None:
            os.close(self._process)
        self._process = None
