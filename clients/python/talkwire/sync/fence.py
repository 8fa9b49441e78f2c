"""Numbers of grants: each larger than those before, also than those of a lock of the same name that was taken away."""

from __future__ import annotations

import time

from .layout import FENCE
from .place import Block


def next_fence(block: Block) -> float:
    """Of a grant to one alone: it is not one step. The number is a float there."""
    fence = block.float(FENCE)
    fence.value = (fence.value or _first()) + 1
    return fence.value


def next_fence_of_many(block: Block) -> int:
    """Of a grant to one of many. The number is an integer there."""
    if block.load(FENCE, 8) == 0:
        block.swap(FENCE, 0, _first(), 8)
    return block.add(FENCE, 1, 8)


def _first() -> int:
    """Microseconds since 1970."""
    return int(time.time() * 1e6)
