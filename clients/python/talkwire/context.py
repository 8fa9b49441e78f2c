"""What a handler knows of its call, in both front ends."""

from __future__ import annotations

from typing import Any, Dict, Optional

from .session import Incoming
from .wire import Peer


class CallContext:
    """See the front ends' `Context`."""

    def __init__(self, connection: Any, call: Incoming) -> None:
        self._connection = connection
        self._call = call

    @property
    def peer(self) -> Peer:
        return self._call.session.peer

    @property
    def metadata(self) -> Dict[str, str]:
        return self._call.metadata

    @property
    def deadline(self) -> Optional[float]:
        """On `time.monotonic()`, or None."""
        return self._call.deadline

    def remaining(self) -> Optional[float]:
        """Seconds until the deadline, or None."""
        return self._call.remaining()

    def cancelled(self) -> bool:
        """Should the work stop: cancelled by the caller, its deadline passed, or the caller gone?"""
        return self._call.stop_reason() is not None

    def raise_if_cancelled(self) -> None:
        """Raises CANCELLED, DEADLINE_EXCEEDED, or for a stream UNAVAILABLE."""
        stopped = self._call.stop_reason()
        if stopped is not None:
            raise stopped

    def progress(self, value: Any) -> None:
        """Tells the caller how far the work is. Never blocks. Raises TypeError for what cannot travel."""
        self._call.session.send_progress(self._call, value)
