"""What wakes a thread that waits: a pipe of its own. spec/sync.md, section 4."""

from __future__ import annotations

import os
import select
from contextlib import contextmanager
from typing import Iterator, List, Tuple

_free: List[Tuple[int, int]] = []
"""Never closed: somebody may be about to ring one whose number must not become another file's by then."""


@contextmanager
def borrowed_bell() -> Iterator[int]:
    """The end that is read from; nobody else in this process waits for it. A ring of the wait before may be in it."""
    ends = _free.pop() if _free else os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    pid = os.getpid()
    try:
        yield ends[0]
    finally:
        if pid == os.getpid():
            _free.append(ends)


def await_ring(bell: int, seconds: float) -> bool:
    """Sleeps until somebody rings, or so many seconds have passed. True when somebody rang."""
    if not select.select([bell], [], [], max(0.0, seconds))[0]:
        return False
    os.read(bell, 4096)
    return True


def _forget() -> None:
    """Whoever rings for the parent opens the parent's."""
    while _free:
        for end in _free.pop():
            os.close(end)


os.register_at_fork(after_in_child=_forget)
