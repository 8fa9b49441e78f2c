"""A call that the peer made, and a batch of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Set

from ..errors import MAYBE_RAN, NOT_SENT, RAN, TalkwireError, internal_error
from ..methods import Method
from ..streams import Credit, ItemQueue

if TYPE_CHECKING:
    from .outgoing import Outgoing
    from .serving import Serving

_SAME_DEADLINE = 0.01  # seconds that the timers of one deadline, in several processes, may be apart
END: Any = object()  # of an input stream, in place of an item
NO_ID: Any = object()  # the id of a notification: nobody waits for its answer


class Incoming:
    """A call that the peer made and that is not answered yet."""

    __slots__ = (
        "session", "id", "method", "args", "kwargs", "metadata", "deadline", "cancelled",
        "credit", "input", "batch", "signal", "children", "answered", "task", "streaming", "descriptors",
    )  # fmt: skip

    def __init__(self, session: "Serving", id: Any, method: Method, batch: Optional["Batch"]) -> None:
        self.session, self.id, self.method, self.batch = session, id, method, batch
        self.args: List[Any] = []
        self.kwargs: Optional[Dict[str, Any]] = None
        self.metadata: Dict[str, str] = {}
        self.deadline: Optional[float] = None  # on time.monotonic()
        self.cancelled = False
        self.credit: Optional[Credit] = None
        self.input: Optional[ItemQueue] = None
        self.signal: Any = None
        self.children: Set[Outgoing] = set()
        self.answered = False
        self.streaming = False  # its output stream has begun
        self.task: Any = None
        self.descriptors: List[Any] = []  # came with the call, and are closed with it

    def remaining(self) -> Optional[float]:
        """Seconds until the deadline (may be negative); None without one."""
        return None if self.deadline is None else self.deadline - time.monotonic()

    def time_for(self, timeout: Optional[float]) -> Optional[float]:
        """Seconds for a call that the handler makes: it ends with this one. Raises what stops this one."""
        stopped = self.stop_reason()
        if stopped is not None:
            raise stopped
        remaining = self.remaining()
        if remaining is None:
            return timeout
        return remaining if timeout is None else min(timeout, remaining)

    def next_input(self) -> Any:
        """An item of the input stream, or END; to be asked when one is there or none will come. Raises the caller's error, CANCELLED, DEADLINE_EXCEEDED."""
        items = self.input
        assert items is not None
        if len(items):
            value, credit = items.take()
            self.session.give_credit("$/inputCredit", self.id, credit)
            return value
        stopped = self.stop_reason()
        if stopped is not None:
            raise stopped
        if items.error is not None:
            raise items.error
        return END

    def stop_reason(self, started: bool = True) -> Optional[TalkwireError]:
        """Why the work should stop, if it should."""
        outcome = MAYBE_RAN if started else None
        if self.streaming and self.session.stops_streams:
            return TalkwireError("UNAVAILABLE", "the service is closing", outcome=MAYBE_RAN)
        if self.cancelled:
            return TalkwireError("CANCELLED", "the caller cancelled the call", outcome=outcome or NOT_SENT)
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return _deadline_passed(outcome or NOT_SENT)
        return None

    def _expired(self) -> Optional[TalkwireError]:
        # A call made on behalf of this one has its deadline, and a timer elsewhere may be the first to see it pass.
        if self.deadline is None or self.deadline - time.monotonic() >= _SAME_DEADLINE:
            return None
        return _deadline_passed(MAYBE_RAN)

    def late(self) -> Optional[TalkwireError]:
        """The error for a result that came after the deadline: the caller may not count on it any more."""
        if self.deadline is None or time.monotonic() < self.deadline:
            return None
        return TalkwireError("DEADLINE_EXCEEDED", "the result came after the call's deadline", outcome=RAN)

    def respond(self, value: Any) -> None:
        """Answers with a result. May block while the peer does not read. Raises if the connection is lost."""
        self.session._answer(self, value)

    def fail(self, error: BaseException) -> None:
        """Answers with an error; one that was not declared stays here, in the log."""
        self.session._answer_error(self, self._public(error))

    def _public(self, error: BaseException) -> TalkwireError:
        if isinstance(error, TalkwireError):
            if error.declared:
                return error
            stopped = self._expired() if error.code == "DEADLINE_EXCEEDED" else self.stop_reason()
            if stopped is not None and stopped.code == error.code:
                return stopped
        stopped = self.stop_reason()
        if stopped is not None and self.session.is_cancellation(error):
            return stopped
        import logging

        logging.getLogger("talkwire").error("the handler %s failed", self.method.name, exc_info=error)
        return internal_error()


def _deadline_passed(outcome: str) -> TalkwireError:
    return TalkwireError("DEADLINE_EXCEEDED", "the call's deadline has passed", outcome=outcome)


#: stands in `calls_in` for a call that the reader runs itself: nothing can stop it
INLINE: Any = Incoming(None, None, None, None)  # type: ignore[arg-type]


class Batch:
    """Collects the answers to one JSON-RPC batch."""

    def __init__(self, session: "Serving", size: int) -> None:
        self._session = session
        self._left = size
        self._texts: List[str] = []
        self._size = 0

    def done(self, text: Optional[str]) -> None:
        """One entry is finished, with an answer or (a notification) without."""
        with self._session.lock:
            if text is not None:
                self._texts.append(text)
            self._left -= 1
            complete = self._left == 0 and self._texts
        if complete:
            self._session._send("[" + ",".join(self._texts) + "]")
