"""Numbers of grants: each larger than those before, also than those of a lock of the same name that was taken away."""

from __future__ import annotations

import ctypes
import time

from .layout import FENCE, LABEL, LABEL_BYTES, SINCE
from .place import Block


def begin_grant(block: Block, label: bytes) -> float:
    """Of a grant to one alone: it is not one step. The number is a float there. Says since when, and by whom: `label_bytes`."""
    fence = block.float(FENCE)
    fence.value = (fence.value or _first()) + 1
    block.float(SINCE).value = time.time() * 1000
    ctypes.memmove(block.at + LABEL, label, LABEL_BYTES)
    return fence.value


def label_bytes(label: str) -> bytes:
    """As it stands in the memory. Raises ValueError."""
    data = label.encode()
    if len(data) > LABEL_BYTES or b"\0" in data:
        raise ValueError(f"a label has at most {LABEL_BYTES} bytes, and no NUL")
    return data.ljust(LABEL_BYTES, b"\0")


def next_fence_of_many(block: Block) -> int:
    """Of a grant to one of many. The number is an integer there."""
    if block.load(FENCE, 8) == 0:
        block.swap(FENCE, 0, _first(), 8)
    return block.add(FENCE, 1, 8)


def _first() -> int:
    """Microseconds since 1970."""
    return int(time.time() * 1e6)
