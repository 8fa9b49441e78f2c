"""Who holds or waits, as one word of 64 bits, and how it is woken: spec/sync.md, sections 2 and 4. Linux."""

from __future__ import annotations

import os
import stat

from .names import process_state

_START_BITS = 42
_WORD = (1 << 64) - 1


def owner_of(pid: int) -> int:
    """Who runs under this id; 0 for nobody, and for a zombie."""
    state, start = process_state(pid)
    return 0 if start is None or state in ("Z", "X") else pid << _START_BITS | int(start) & ((1 << _START_BITS) - 1)


def id_of(owner: int) -> int:
    """The process, or a worker's thread. The word may have been read as signed."""
    return (owner & _WORD) >> _START_BITS


def is_alive(owner: int) -> bool:
    return owner != 0 and owner_of(id_of(owner)) == owner & _WORD


def ring(owner: int, bell: int) -> bool:
    """A byte into the pipe of one who waits; False when that cannot be done: whoever waits looks by itself, too."""
    try:
        fd = os.open(f"/proc/{id_of(owner)}/fd/{bell}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Only a pipe of exactly that process: by the time it is open, the id could have been somebody else's.
        if not stat.S_ISFIFO(os.fstat(fd).st_mode) or not is_alive(owner):
            return False
        os.write(fd, b".")
        return True
    except BlockingIOError:
        return True  # a full pipe has rung often enough
    except OSError:
        return False
    finally:
        os.close(fd)
