"""Running handlers on threads."""

from __future__ import annotations

from collections.abc import Iterator as IteratorType
from typing import Any, Iterator, Optional

from .connection import Connection
from .context import CallContext
from .descriptor import close_given
from .errors import TalkwireError
from .remote import Remote
from .session import END, Incoming


def run_call(call: Incoming) -> None:
    """Runs a handler on this thread and answers."""
    stopped = call.stop_reason(started=False)
    try:
        if stopped is not None:
            call.session._answer_error(call, stopped)
            return
        try:
            result = _invoke(call)
        except BaseException as error:  # SystemExit too: the caller must be told
            call.fail(error)
        else:
            answer_value(call, result)
    except TalkwireError:
        if call.session.ended is None:
            raise
        # otherwise the connection has gone: nobody is left to be told


def answer_value(call: Incoming, result: Any) -> None:
    """Answers with what a handler returned; an iterator is an output stream."""
    if call.method.streams or isinstance(result, IteratorType):
        try:
            _stream_out(call, result)
        except BaseException as error:
            return call.fail(error)
        result = None
    late = call.late()
    if late is None:
        call.respond(result)
    else:
        call.session._answer_error(call, late)


def _invoke(call: Incoming) -> Any:
    method, connection = call.method, call.session
    if not method.wants_ctx and call.input is None:
        if call.kwargs is None:
            return method.function(*call.args)
        return method.function(**call.kwargs)
    assert isinstance(connection, Connection)
    named = dict(call.kwargs or {})
    if method.wants_ctx:
        named["ctx"] = Context(connection, call)
    args = call.args if call.input is None else [Input(connection, call)]
    return method.function(*args, **named)


def _stream_out(call: Incoming, source: Any) -> None:
    """Sends the items of an output stream as the caller's credit allows."""
    connection = call.session
    assert isinstance(connection, Connection)
    credit = call.credit
    if call.signal is None:
        call.signal = connection._new_signal()
    call.streaming = True
    try:
        for value in source:
            if credit is not None and not credit.ready():
                connection.wait(lambda: credit.ready() or call.stop_reason() is not None, call.signal, call.remaining())
            stopped = call.stop_reason()
            if stopped is not None:
                close_given(value)
                raise stopped
            connection.send_value("$/item", call.id, value, credit)
        stopped = call.stop_reason()
        if stopped is not None:
            raise stopped  # a stream that was cut short must not look complete
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            close()


class Input(IteratorType):  # type: ignore[type-arg]
    """The items that the caller streams to a handler."""

    def __init__(self, connection: Connection, call: Incoming) -> None:
        self._connection = connection
        self._call = call

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """Waits for an item. Raises the caller's error, CANCELLED, DEADLINE_EXCEEDED."""
        items = self._call.input
        assert items is not None
        if not items.ready():
            self._connection.wait(items.ready, self._call.signal, self._call.remaining())
        value = self._call.next_input()
        if value is END:
            raise StopIteration
        return value


class Context(CallContext):
    """What a handler knows of its call: give it a parameter named `ctx`."""

    def wait_cancelled(self, timeout: Optional[float] = None) -> bool:
        """Waits until the work should stop, at most `timeout` s. Other calls go on meanwhile."""
        remaining = self._call.remaining()
        if remaining is not None:
            timeout = remaining if timeout is None else min(timeout, remaining)
        self._connection.wait(self.cancelled, self._call.signal, timeout)
        return self.cancelled()

    @property
    def caller(self) -> Remote:
        """Calls the other side back; such calls end with this one."""
        return Remote(self._connection, self._call)
