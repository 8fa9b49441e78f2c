"""Many readers or one writer, across processes and languages: spec/sync.md, section 7."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator, NamedTuple, Optional

from ..errors import TalkwireError
from ..owner import is_alive
from .fence import begin_grant, label_bytes
from .inspect import RwLockInfo, holders_of, inspect_lock
from .layout import DAMAGED, FAIR, FENCE, FLAGS, OWNER, SLOTS
from .line import Offer, take, try_take
from .place import Block, unlink_lock
from .queue import wake_all
from .slots import free_mine, free_slot, owners_of, reap, take_share

_READERS = range(SLOTS - 1)
_UPGRADER = range(SLOTS - 1, SLOTS)
"""Of the one reader who may become the writer."""
_SHARES = range(SLOTS)


class ReadGrant(NamedTuple):
    """A grant that others may have at the same time."""

    abandoned: bool
    """A writer died within, and nobody has called `repaired()` since."""


class WriteGrant(NamedTuple):
    """A grant to one alone."""

    fence: float
    """Larger than that of every earlier writer."""
    abandoned: bool


class RwLock:
    """Many readers or one writer. `with lock.read() as grant: …`, `with lock.write() as grant: …`

    At most 127 readers at a time; more of them wait. A thread that has it and wants what excludes that waits for itself.
    `label`: what `inspect()` tells of the writer, as of a mutex.
    """

    def __init__(self, name: str, *, fair: bool = False, label: str = "") -> None:
        self._label = label_bytes(label)
        self.name = name
        self._block = Block("rwlock", name)
        if fair:
            self._block.set_bits(FLAGS, FAIR)

    def acquire_read(self, timeout: Optional[float] = None) -> ReadGrant:
        """Waits until nobody writes, at most `timeout` s. Raises DEADLINE_EXCEEDED, as do all that wait."""
        return take(_Share(self._block, _READERS), timeout)

    def acquire_write(self, timeout: Optional[float] = None) -> WriteGrant:
        """Waits until nobody reads or writes. Who comes to read meanwhile waits."""
        return take(_Writing(self._block, _SHARES, self._label), timeout)

    def acquire_upgradable(self, timeout: Optional[float] = None) -> ReadGrant:
        """Waits until nobody writes, and nobody else has such a one."""
        return take(_Share(self._block, _UPGRADER), timeout)

    def upgrade(self, timeout: Optional[float] = None) -> WriteGrant:
        """With the upgradable in hand, which stays: waits until the readers have gone. Raises CLOSED without it."""
        if owners_of(self._block, _UPGRADER) != [self._block.me]:
            raise TalkwireError("CLOSED", f"this process may not upgrade {self._block.title}; acquire_upgradable() first")
        return take(_Writing(self._block, _READERS, self._label), timeout)

    def try_acquire_read(self) -> Optional[ReadGrant]:
        """At once or not at all."""
        return try_take(_Share(self._block, _READERS))

    def try_acquire_write(self) -> Optional[WriteGrant]:
        """At once or not at all."""
        return try_take(_Writing(self._block, _SHARES, self._label))

    def release_read(self) -> None:
        """Does not block. Raises CLOSED when this process does not read."""
        self._give_back(_READERS)

    def release_upgradable(self) -> None:
        self._give_back(_UPGRADER)

    def release_write(self) -> None:
        """After an `upgrade()` the upgradable is held again."""
        if not self._block.forked:
            _let_go(self._block)

    def repaired(self) -> None:
        """Says that the data are whole again, while it is written."""
        self._block.store(DAMAGED, 0)

    @contextmanager
    def read(self, timeout: Optional[float] = None) -> Iterator[ReadGrant]:
        grant = self.acquire_read(timeout)
        try:
            yield grant
        finally:
            self.release_read()

    @contextmanager
    def write(self, timeout: Optional[float] = None) -> Iterator[WriteGrant]:
        grant = self.acquire_write(timeout)
        try:
            yield grant
        finally:
            self.release_write()

    def inspect(self) -> RwLockInfo:
        """The writer, or the one who waits for the readers to go; who reads, who waits."""
        self._block.check()
        return RwLockInfo(*inspect_lock(self._block), holders_of(self._block, _SHARES))

    def close(self) -> None:
        """Gives up this object. The last one to close it takes its name away."""
        self._block.close()

    @staticmethod
    def unlink(name: str) -> None:
        """Takes a name away. Who has it open keeps the old one. Raises NOT_FOUND."""
        unlink_lock("rwlock", name)

    def _give_back(self, among: range) -> None:
        if self._block.forked:
            return
        if not free_mine(self._block, among):
            raise TalkwireError("CLOSED", f"this process does not read {self._block.title}; release what was acquired, once")
        wake_all(self._block)


class _Share(Offer[ReadGrant]):
    many = True

    def __init__(self, block: Block, among: range) -> None:
        super().__init__(block)
        self._among = among

    def take(self, late: bool, waits: bool) -> Optional[ReadGrant]:
        block = self.block
        if self.owner() != 0 and not (late and self._unseat()):
            return None
        taken = take_share(block, self._among, late)
        if taken is None:
            return None
        if self.owner() == 0:
            return ReadGrant(block.load(DAMAGED) != 0)
        # A writer came in between; it may have seen the share and wait for its end.
        free_slot(block, taken.slot)
        wake_all(block)
        return None

    def is_ordered(self) -> bool:
        return False

    def is_free(self) -> bool:
        return self.owner() == 0

    def owner(self) -> int:
        return self.block.load(OWNER, 8)

    def last_grant(self) -> float:
        return self.block.float(FENCE).value

    def _unseat(self) -> bool:
        """Takes the writer's word from one who died, and gives it back."""
        if not _claim(self.block, True):
            return False
        self.block.swap(OWNER, self.block.me, 0, 8)
        return True


class _Writing(Offer[WriteGrant]):
    """Keeps new readers out, by the owner's word, and waits until the shares of `others` are free. For one wait."""

    def __init__(self, block: Block, others: range, label: bytes) -> None:
        super().__init__(block)
        self._label = label
        self._others = others
        self._upgrades = others is _READERS
        # An upgrader waits for the writer's word, so it is not kept from that one; from readers it is, until they have gone.
        self._first = range(0) if self._upgrades else _UPGRADER
        self._claimed = False

    def is_ordered(self) -> bool:
        # Whoever has claimed it keeps all others out, also those who were before: it has to go on.
        return not self._upgrades and not self._claimed

    def take(self, late: bool, waits: bool) -> Optional[WriteGrant]:
        block = self.block
        if late:
            reap(block, self._others)
        # To claim it only to give it back would keep readers out, and wake everybody, oneself too, who would claim it again.
        if not self._claimed and owners_of(block, self._first if waits else self._others):
            return None
        self._claimed = self._claimed or _claim(block, late)
        if not self._claimed:
            return None
        if not owners_of(block, self._others):
            self._claimed = False
            return WriteGrant(begin_grant(block, self._label), block.load(DAMAGED) != 0)
        # One who may upgrade came in between.
        if not waits or owners_of(block, self._first):
            self.give_up()
        return None

    def give_up(self) -> None:
        if self._claimed:
            self._claimed = False
            _let_go(self.block)

    def is_free(self) -> bool:
        return not is_alive(self.block.load(OWNER, 8))

    def owner(self) -> int:
        if not self._claimed:
            return self.block.load(OWNER, 8)
        owners = owners_of(self.block, self._others)
        return owners[0] if owners else 0

    def last_grant(self) -> float:
        return self.block.float(FENCE).value


def _claim(block: Block, late: bool) -> bool:
    owner = block.load(OWNER, 8)
    if owner == 0:
        return block.swap(OWNER, 0, block.me, 8)
    if not late or is_alive(owner) or not block.swap(OWNER, owner, block.me, 8):
        return False
    block.store(DAMAGED, 1)
    return True


def _let_go(block: Block) -> None:
    block.swap(OWNER, block.me, 0, 8)
    wake_all(block)
