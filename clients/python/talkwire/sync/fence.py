"""Numbers of grants: each larger than those before, also than those of a lock of the same name that was taken away."""

from __future__ import annotations

import ctypes
import time

from .layout import FENCE, LABEL, LABEL_BYTES, SINCE
from .place import Block


def begin_grant(block: Block) -> float:
    """Of a grant to one alone: it is not one step. The number is a float there. Says since when, and that there is no label."""
    fence = block.float(FENCE)
    fence.value = (fence.value or _first()) + 1
    block.float(SINCE).value = time.time() * 1000
    ctypes.memset(block.at + LABEL, 0, LABEL_BYTES)
    return fence.value


def next_fence_of_many(block: Block) -> int:
    """Of a grant to one of many. The number is an integer there."""
    if block.load(FENCE, 8) == 0:
        block.swap(FENCE, 0, _first(), 8)
    return block.add(FENCE, 1, 8)


def _first() -> int:
    """Microseconds since 1970."""
    return int(time.time() * 1e6)
