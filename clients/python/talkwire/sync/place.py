"""Where a lock lives: a segment of its own, by name. spec/sync.md, section 1."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import weakref
from typing import Dict, Tuple

from ..atomics import Atomics, atomics
from ..errors import TalkwireError
from ..memory import SharedMemory, unlink
from ..names import check_name
from ..owner import owner_of
from .layout import BYTES, COUNTING, DAMAGED, FLAGS, KIND, KIND_WORD, KINDS, LASTING, OWNER, SLOTTED

_mapped: Dict[Tuple[int, int], int] = {}
"""Addresses, by device and inode. Never unmapped: a thread may still look at a lock that another one closes."""


class Block:
    """One lock's words, by their offsets, and who asks."""

    def __init__(self, kind: str, name: str) -> None:
        self.title = f"{kind} {check_name(name)}"
        self.atomics = atomics()
        size = SLOTTED.get(kind, BYTES)
        memory = _open(_segment(kind, name), size)
        if memory.size < size:
            memory.close()
            raise _other_kind(kind, self.title)
        self.at = _map(memory.fd, size)
        self.me = owner_of(os.getpid())
        self._pid = os.getpid()
        # Also at the end of the process, and when it is only forgotten.
        self._close = weakref.finalize(self, _let_go, kind, memory, self.at, self._pid)
        wanted = KIND_WORD | KINDS[kind]
        if self.load(KIND) != wanted and not self.swap(KIND, 0, wanted) and self.load(KIND) != wanted:
            self.close()
            raise _other_kind(kind, self.title)

    def check(self) -> None:
        if self._pid != os.getpid():
            raise TalkwireError("CLOSED", f"{self.title} was opened before the fork; open it again in the child")
        if not self._close.alive:
            raise TalkwireError("CLOSED", f"{self.title} is closed; open it again")

    @property
    def forked(self) -> bool:
        """What it has belongs to the parent."""
        return self._pid != os.getpid()

    def close(self) -> None:
        self._close()

    def load(self, offset: int, size: int = 4) -> int:
        return self.atomics.load(self.at + offset, size)

    def store(self, offset: int, value: int, size: int = 4) -> None:
        self.atomics.store(self.at + offset, value, size)

    def swap(self, offset: int, before: int, after: int, size: int = 4) -> bool:
        return self.atomics.swap(self.at + offset, before, after, size)

    def add(self, offset: int, value: int, size: int = 4) -> int:
        return self.atomics.add(self.at + offset, value, size)

    def set_bits(self, offset: int, bits: int) -> None:
        self.atomics.set_bits(self.at + offset, bits)

    def float(self, offset: int) -> ctypes.c_double:
        return ctypes.c_double.from_address(self.at + offset)

    def agree(self, offset: int, value: int, what: str) -> None:
        """The word that all who use it must say the same; the first one sets it."""
        if self.load(offset) != value and not self.swap(offset, 0, value) and self.load(offset) != value:
            raise TalkwireError(
                "INVALID_MEMORY", f"{self.title} has {self.load(offset)} {what}, not {value}; say the same everywhere, or take another name"
            )


def unlink_lock(kind: str, name: str) -> None:
    """Takes the name away. Who has it open keeps the old one: for locks that nobody uses any more. Raises NOT_FOUND."""
    unlink(_segment(kind, check_name(name)))


def _segment(kind: str, name: str) -> str:
    return f"talkwire-{os.getuid()}-{kind}-{name}"


def _other_kind(kind: str, title: str) -> TalkwireError:
    return TalkwireError("INVALID_MEMORY", f"there is no {kind} (of this version) in the memory of {title}; unlink it, or take another name")


def _open(name: str, size: int) -> SharedMemory:
    while True:
        try:
            return SharedMemory.create(name, size, persist=True)
        except TalkwireError as error:
            if error.code != "ALREADY_EXISTS":
                raise
        try:
            return SharedMemory.open(name)
        except TalkwireError as error:
            if error.code != "NOT_FOUND":
                raise


def _map(fd: int, size: int) -> int:
    """Not by the module mmap, which keeps a descriptor for as long."""
    found = os.fstat(fd)
    if (found.st_dev, found.st_ino) not in _mapped:
        function = ctypes.CDLL(None, use_errno=True).mmap
        function.restype = ctypes.c_void_p
        function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
        address = function(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, fd, 0)
        if address == ctypes.c_void_p(-1).value:
            raise TalkwireError("NO_SPACE", f"a lock could not be mapped: {errno.errorcode.get(ctypes.get_errno())}")
        _mapped[found.st_dev, found.st_ino] = address
    return _mapped[found.st_dev, found.st_ino]


def _let_go(kind: str, memory: SharedMemory, at: int, pid: int) -> None:
    """Whoever goes last takes the name of a free lock away."""
    if pid != os.getpid():
        return  # the lock on the file is the parent's, too
    # Two that go at the same time must not each leave it to the other.
    fcntl.flock(memory.fd, fcntl.LOCK_UN)
    try:
        if kind not in LASTING and _is_idle(atomics(), at):
            fcntl.flock(memory.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            memory.unlink()
    except BlockingIOError:
        pass  # somebody else has it open
    memory.close()


def _is_idle(words: Atomics, at: int) -> bool:
    return words.load(at + OWNER, 8) == 0 and words.load(at + DAMAGED) == 0 and not words.load(at + FLAGS) & COUNTING
