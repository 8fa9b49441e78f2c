"""Waiting until something can be had: woken by a bell, by the owner's end, and by the clock. spec/sync.md, section 4."""

from __future__ import annotations

import os
import select
import time
from typing import Callable, Optional

from ..errors import TalkwireError
from ..owner import id_of, is_alive

_FIRST_LOOK, _LAST_LOOK = 0.004, 0.032  # seconds


def wait_until(title: str, bell: int, attempt: Callable[[bool], bool], owner: Callable[[], int], me: int, timeout: Optional[float]) -> None:
    """Blocks this thread until `attempt(late)` is true; `late`: nobody rang. Raises DEADLINE_EXCEEDED."""
    end = float("inf") if timeout is None else time.monotonic() + timeout
    watch = _Watch(bell, me)
    late = False
    try:
        while not attempt(late):
            now = time.monotonic()
            if now >= end:
                raise TalkwireError("DEADLINE_EXCEEDED", f"{title} was not to be had within {timeout} s")
            if late:
                watch.follow(owner())
            late = watch.sleep(end)
    finally:
        watch.close()


class _Watch:
    """Sleeps until the bell rings, the owner ends, or it is time to look."""

    def __init__(self, bell: int, me: int) -> None:
        self._bell = bell
        self._me = me
        self._pause = _FIRST_LOOK
        self._next = time.monotonic() + self._pause
        self._owner = 0
        self._process: Optional[int] = None

    def follow(self, owner: int) -> None:
        """After a look that nobody asked for."""
        same = owner == self._owner
        self._pause = min(2 * self._pause, _LAST_LOOK) if same else _FIRST_LOOK
        self._next = time.monotonic() + self._pause
        if same:
            return
        self.close()
        self._owner = owner
        if owner in (0, self._me):
            return
        try:
            self._process = os.pidfd_open(id_of(owner))
        except OSError:
            return  # it has ended, or is a thread: the next look tells
        if not is_alive(owner):
            self.close()

    def sleep(self, end: float) -> bool:
        """True when nobody rang."""
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        if self._process is not None:
            poll.register(self._process, select.POLLIN)
        pause = max(0.0, min(self._next, end) - time.monotonic())
        ready = [fd for fd, _ in poll.poll(pause * 1000)]
        if self._bell in ready:
            os.read(self._bell, 4096)
        return self._bell not in ready or self._process in ready

    def close(self) -> None:
        if self._process is not None:
            os.close(self._process)
        self._process = None
