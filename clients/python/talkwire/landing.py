"""Memory that large messages are received into, and then own.

Fresh pages cost more than receiving into them: the kernel clears each one. So
the memory of the last large messages is used again once nobody holds a view of
it, and a mapping that was too small grows without being copied.
"""

from __future__ import annotations

import mmap
from collections import deque
from typing import Deque, Optional

_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # the default is shared: a forked child would write into ours
_KEPT = 16 * 1024 * 1024  # bytes; a larger one goes back to the system with its last view
_spares: Deque[mmap.mmap] = deque(maxlen=2)  # two: the next message arrives while the last one is still in use


class Landing:
    """Room for one message that grows as its bytes arrive: what was only announced takes no memory."""

    def __init__(self, size: int) -> None:
        self._map = _spare(size) or mmap.mmap(-1, size, flags=_PRIVATE)
        self._size = size

    def __len__(self) -> int:
        return self._size

    def room(self, filled: int) -> memoryview:
        """Where the next bytes go. It must be gone when `grow` is called."""
        return memoryview(self._map)[filled : self._size]

    def grow(self, size: int) -> None:
        if size > len(self._map):
            self._map.resize(size)
        self._size = size

    def finish(self) -> memoryview:
        """The message: the memory is its own until the last view of it has gone."""
        if len(self._map) <= _KEPT:
            _spares.append(self._map)
        return memoryview(self._map)[: self._size]


def _spare(size: int) -> Optional[mmap.mmap]:
    """A mapping that nobody looks into any more, of `size` bytes or somewhat more."""
    try:
        found = _spares.popleft()
    except IndexError:
        return None
    try:
        # Refused while any view lives, which is what makes it safe. Pages that are there already are kept.
        found.resize(len(found) if size <= len(found) <= 4 * size else size)
    except BufferError:
        return None
    return found
