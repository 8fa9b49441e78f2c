"""Locks between processes, the same as TypeScript's `talkwire/sync`: implements spec/sync.md. Linux, with libatomic.

All are opened by name; other processes, in any language, open the same ones. Threads of one process may share an object, or
open one each. Waiting blocks the calling thread, which looks at the lock by itself at least every 32 ms, so that no wait holds
up the end of the process or Ctrl-C. After a fork the child opens its own. Times are seconds.

Errors are TalkwireError: INVALID_ADDRESS, INVALID_MEMORY, NO_SPACE, PERMISSION_DENIED, MISSING_PACKAGE when one is opened;
DEADLINE_EXCEEDED from what waits; CLOSED after `close()` and in a child of a fork.
"""

from .barrier import Barrier
from .condition import Condition
from .event import Event
from .inspect import BarrierInfo, ConditionInfo, EventInfo, Holder, LockInfo, OnceInfo, Party, RwLockInfo, SemaphoreInfo, Share
from .mutex import Grant, Mutex
from .once import Once
from .rwlock import ReadGrant, RwLock, WriteGrant
from .semaphore import Permit, Semaphore

__all__ = [
    "Barrier",
    "BarrierInfo",
    "Condition",
    "ConditionInfo",
    "Event",
    "EventInfo",
    "Grant",
    "Holder",
    "LockInfo",
    "Mutex",
    "Once",
    "OnceInfo",
    "Party",
    "Permit",
    "ReadGrant",
    "RwLock",
    "RwLockInfo",
    "Semaphore",
    "SemaphoreInfo",
    "Share",
    "WriteGrant",
]
