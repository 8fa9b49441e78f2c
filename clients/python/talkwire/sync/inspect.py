"""Who holds a lock and who waits, for people: the words of TypeScript's `inspect()`. Others may change what it reads meanwhile."""

from __future__ import annotations

import ctypes
from datetime import datetime, timezone
from typing import List, NamedTuple, Optional

from ..owner import id_of, is_alive
from .layout import DAMAGED, FENCE, LABEL, LABEL_BYTES, OWNER, SINCE
from .place import Block
from .queue import waiters
from .slots import shares_of

_MOST = 200


class Party(NamedTuple):
    """One who waits."""

    pid: int
    """Of the process; of a worker of Node: of its thread."""
    command: str
    """As it was started; empty when it has ended."""
    since: Optional[datetime]
    """Since when it waits, UTC. None where the memory holds no moment."""


class Share(NamedTuple):
    """Who has a part of something: a permit, a reader's share."""

    pid: int
    command: str
    since: Optional[datetime]
    alive: bool


class Holder(NamedTuple):
    pid: int
    command: str
    label: str
    """What it said of itself."""
    since: Optional[datetime]
    alive: bool


class LockInfo(NamedTuple):
    """Of a mutex. Those who wait are in the order in which they came; more than 29 are not listed."""

    holder: Optional[Holder]
    waiters: List[Party]
    abandoned: bool
    """An owner died within, and nobody has repaired yet."""
    fence: float
    """Of the last grant; 0 before the first."""


class RwLockInfo(NamedTuple):
    holder: Optional[Holder]
    """The writer, or the one who waits for the readers to go."""
    waiters: List[Party]
    abandoned: bool
    fence: float
    readers: List[Share]
    """One for each share; the one who may become the writer is the last."""


class SemaphoreInfo(NamedTuple):
    holders: List[Share]
    """One for each permit that was taken; nobody with `signalling`."""
    waiters: List[Party]
    available: int
    """How many could be had at this moment, those of the dead among them."""
    fence: int


class ConditionInfo(NamedTuple):
    waiters: List[Party]


class EventInfo(NamedTuple):
    is_set: bool
    waiters: List[Party]


class OnceInfo(NamedTuple):
    holder: Optional[Holder]
    waiters: List[Party]
    abandoned: bool
    fence: float
    is_done: bool


class BarrierInfo(NamedTuple):
    parties: int
    waiters: List[Party]
    """Those who are there."""
    broken: bool
    """Or it will be, as soon as one of them looks: a party died."""


def inspect_lock(block: Block) -> LockInfo:
    owner = block.load(OWNER, 8)
    alive = is_alive(owner)
    # It may have let go, and ended, in between.
    if owner != 0 and not alive and block.load(OWNER, 8) != owner:
        return inspect_lock(block)
    holder = None
    if owner != 0:
        pid, command, since = _party(owner, block.float(SINCE).value)
        holder = Holder(pid, command, _label_of(block), since, alive)
    abandoned = block.load(DAMAGED) != 0 or (owner != 0 and not alive)
    return LockInfo(holder, waiters_of(block), abandoned, block.float(FENCE).value)


def waiters_of(block: Block) -> List[Party]:
    return [_party(who, since) for who, since in waiters(block)]


def holders_of(block: Block, among: range) -> List[Share]:
    return [Share(*_party(owner, since), is_alive(owner)) for owner, since in shares_of(block, among)]


def _party(owner: int, since: float) -> Party:
    return Party(id_of(owner), _command_of(id_of(owner)), _moment(since))


def _moment(milliseconds: float) -> Optional[datetime]:
    """The memory is not believed: it may hold anything."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return None


def _label_of(block: Block) -> str:
    return ctypes.string_at(block.at + LABEL, LABEL_BYTES).split(b"\0")[0].decode(errors="replace")


def _command_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace").strip()[:_MOST]
    except OSError:
        return ""
