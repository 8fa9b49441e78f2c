"""Waiting in the main thread without missing a signal.

The kernel may hand a signal to any thread. Python runs its handler in the main thread, and that does not
wake up from a lock when another thread was handed the signal: Ctrl-C would wait for the next event, for ever.
A byte in a pipe wakes it whoever was handed the signal.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from typing import Optional


class WakeUp:
    """A pipe that signals, and `notify()`, write to."""

    def __init__(self) -> None:
        # Reentrant: a signal's handler may notify in the middle of close().
        self._lock = threading.RLock()
        self._open = True
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    @staticmethod
    def of_main_thread() -> "Optional[WakeUp]":
        """None in other threads, and where somebody else (asyncio) is woken by signals already."""
        if threading.current_thread() is not threading.main_thread():
            return None
        other = signal.set_wakeup_fd(-1)
        if other == -1:
            return WakeUp()
        signal.set_wakeup_fd(other)
        return None

    def notify(self) -> None:
        """Wakes whoever waits. For any thread."""
        with self._lock:
            if not self._open:
                return
            try:
                os.write(self._write, b"n")
            except BlockingIOError:
                pass  # full: it will wake anyway

    def wait(self, timeout: Optional[float]) -> None:
        """Blocks until there is a signal or `notify()`, at most so many seconds."""
        if select.select([self._read], [], [], timeout)[0]:
            os.read(self._read, 4096)

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        with self._lock:
            self._open = False
            os.close(self._read)
            os.close(self._write)
