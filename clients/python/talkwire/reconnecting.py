"""When a lost connection is made again, in both front ends."""

from __future__ import annotations

import time
from typing import Iterator, Optional, Union

from .errors import NOT_SENT, TalkwireError
from .session import Session
from .transports import registry

#: what another attempt cannot mend
HOPELESS = frozenset(("CONTRACT_MISMATCH", "UNAUTHENTICATED", "PERMISSION_DENIED", "INVALID_ADDRESS"))
_LASTING = frozenset(("", "unix", "tcp", "tls", "fifo", "shm"))  # a child that has ended is not started again


class Reconnect:
    """Seconds: the first pause (doubled each time, with jitter), the longest, and when waiting calls fail."""

    def __init__(self, initial: float = 0.05, longest: float = 2.0, give_up: float = 30.0) -> None:
        self.initial, self.longest, self.give_up = initial, longest, give_up

    def pauses(self) -> Iterator[float]:
        """How long to wait before each new attempt; it ends when there should be none."""
        import random  # costs more than all else here, and is needed when something has gone wrong

        end = time.monotonic() + self.give_up
        pause = self.initial
        while time.monotonic() + pause <= end:
            yield pause * (0.5 + random.random() / 2)
            pause = min(self.longest, pause * 2)


def reconnect_for(target: str, wish: Union[Reconnect, bool, None]) -> Optional[Reconnect]:
    """By default on for what has a name or an address, off for child processes."""
    if isinstance(wish, Reconnect):
        return wish
    if wish is None:
        wish = registry.split(target)[0] in _LASTING
    return Reconnect() if wish else None


def may_repeat(session: Session, error: TalkwireError, idempotent: bool) -> bool:
    """Can this call be made once more on the next connection: it has not run, or may run twice?"""
    if session.is_open:
        return False
    return error.outcome == NOT_SENT or (idempotent and error.code.startswith("CONNECTION_"))


def not_sent(error: TalkwireError) -> TalkwireError:
    """Why there is no connection, for a call that waited for it."""
    return TalkwireError(error.code, error.text, outcome=NOT_SENT, details=error.details)


def closed_error() -> TalkwireError:
    return TalkwireError("CONNECTION_CLOSED", "this client is closed; connect() makes a new one", outcome=NOT_SENT)


def late_error(timeout: float) -> TalkwireError:
    return TalkwireError("DEADLINE_EXCEEDED", f"no connection within {timeout:.3g} s", outcome=NOT_SENT)
