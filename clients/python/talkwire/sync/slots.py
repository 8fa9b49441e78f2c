"""Words of which each says who has one part of something. A dead one's is free."""

from __future__ import annotations

import time
from typing import List, NamedTuple, Optional, Tuple

from ..owner import is_alive
from .layout import SLOT, SLOT_SINCE
from .place import Block


class Taken(NamedTuple):
    slot: int
    inherited: bool
    """Whoever had it before has died."""


def take_slot(block: Block, among: range, late: bool) -> Optional[Taken]:
    """A free one of them; with `late` also a dead one's."""
    for slot in among:
        if _owner(block, slot) == 0 and block.swap(SLOT + 8 * slot, 0, block.me, 8):
            return Taken(slot, False)
    for slot in among if late else ():
        owner = _owner(block, slot)
        if owner != 0 and not is_alive(owner) and block.swap(SLOT + 8 * slot, owner, block.me, 8):
            return Taken(slot, True)
    return None


def take_share(block: Block, among: range, late: bool) -> Optional[Taken]:
    """The same of a lock that tells since when each is held."""
    taken = take_slot(block, among, late)
    if taken:
        block.float(SLOT_SINCE + 8 * taken.slot).value = time.time() * 1000
    return taken


def free_slot(block: Block, slot: int) -> None:
    block.store(SLOT + 8 * slot, 0, 8)


def owners_of(block: Block, among: range) -> List[int]:
    """Who has them, without those that are free."""
    return [owner for owner in (_owner(block, slot) for slot in among) if owner != 0]


def shares_of(block: Block, among: range) -> List[Tuple[int, float]]:
    """Who has them, and since when: milliseconds since 1970."""
    found = [(_owner(block, slot), block.float(SLOT_SINCE + 8 * slot).value) for slot in among]
    return [(owner, since) for owner, since in found if owner != 0]


def free_mine(block: Block, among: range) -> bool:
    """Frees one that this process has. False when it has none."""
    return any(_owner(block, slot) == block.me and block.swap(SLOT + 8 * slot, block.me, 0, 8) for slot in among)


def reap(block: Block, among: range) -> None:
    """Frees what the dead have."""
    for slot in among:
        owner = _owner(block, slot)
        if owner != 0 and not is_alive(owner):
            block.swap(SLOT + 8 * slot, owner, 0, 8)


def _owner(block: Block, slot: int) -> int:
    return block.load(SLOT + 8 * slot, 8)
