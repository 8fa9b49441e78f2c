"""What blocking code holds in its hands: callers, contexts, streams."""

from __future__ import annotations

import time
from collections.abc import Iterator as IteratorType
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple, Union

from .connection import Connection
from .descriptor import close_given, close_received
from .errors import TalkwireError
from .pool import pool
from .session import Incoming, Outgoing, as_params


def split_input(args: Tuple[Any, ...]) -> Tuple[Tuple[Any, ...], Optional[Iterable[Any]]]:
    """A single argument that is an iterator is the call's input stream."""
    if len(args) == 1 and isinstance(args[0], IteratorType):
        return (), args[0]
    return args, None


def call_params(args: Tuple[Any, ...], named: Dict[str, Any]) -> Union[List[Any], Dict[str, Any]]:
    """Arguments as JSON-RPC params. Raises TypeError for a mixture."""
    if named:
        if args:
            raise TypeError("arguments go by position or by name, not both")
        return named
    if len(args) == 1:
        found: Union[List[Any], Dict[str, Any]] = as_params(args[0]) if type(args[0]) is dict else [args[0]]
        return found
    return list(args)


def _request_of(args: Tuple[Any, ...], named: Dict[str, Any]) -> Tuple[Any, Optional[Iterable[Any]]]:
    """(params, input stream). Raises TypeError for a mixture."""
    args, source = split_input(args)
    return call_params(args, named), source


class CallOptions(NamedTuple):
    """What is said of a call beside its arguments."""

    timeout: Optional[float] = None
    metadata: Optional[Dict[str, str]] = None
    on_progress: Optional[Callable[[Any], Any]] = None
    idempotent: bool = False
    #: has each call before it is sent, for who may be interrupted
    begun: Optional[List[Tuple[Connection, Outgoing]]] = None


PLAIN = CallOptions()


class Opened(NamedTuple):
    """A call that was sent, and where."""

    connection: Connection
    outgoing: Outgoing
    deadline: Optional[float]


class Call:
    """A call in flight. `result()` waits for it, `cancel()` stops it."""

    def __init__(self, connection: Connection, outgoing: Outgoing, deadline: Optional[float]) -> None:
        self._connection = connection
        self._outgoing = outgoing
        self._deadline = deadline

    def done(self) -> bool:
        return self._outgoing.done

    def result(self, timeout: Optional[float] = None) -> Any:
        """The result, or raises the call's error. Raises TimeoutError after `timeout` s: the call goes on."""
        call = self._outgoing
        if timeout is not None and not self._connection.wait(lambda: call.done, call.signal, timeout):
            raise TimeoutError(f"{call.method} has not answered within {timeout} s")
        return self._connection.result(call, left(self._deadline))

    def cancel(self) -> None:
        """Settles the call as CANCELLED and asks the other side to stop."""
        self._connection.cancel(self._outgoing)


def left(deadline: Optional[float]) -> Optional[float]:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


class Stream(IteratorType):  # type: ignore[type-arg]
    """Iterates over a call's output. Closing it (or leaving its `with`) cancels what is left."""

    def __init__(self, connection: Connection, outgoing: Outgoing, deadline: Optional[float]) -> None:
        self._connection = connection
        self._outgoing = outgoing
        self._deadline = deadline

    def __iter__(self) -> "Stream":
        return self

    def __next__(self) -> Any:
        call = self._outgoing
        items = call.items
        assert items is not None
        if not items.ready():
            self._wait(call)
        if len(items):
            value, credit = items.take()
            self._connection.give_credit("$/credit", call.id, credit)
            return value
        if call.error is not None and call.error.code != "STREAM_CLOSED":
            raise call.error
        raise StopIteration

    def _wait(self, call: Outgoing) -> None:
        assert call.items is not None
        try:
            self._connection.wait(call.items.ready, call.signal, left(self._deadline))
        except BaseException:
            self.close()
            raise
        if not call.items.ready():
            self._connection.cancel(call, TalkwireError("DEADLINE_EXCEEDED", f"{call.method} took too long"))

    @property
    def value(self) -> Any:
        """What the call returned at the end: None for a stream."""
        return self._outgoing.value

    def close(self) -> None:
        self._connection.cancel(self._outgoing, TalkwireError("STREAM_CLOSED", "the stream was closed here"))
        if self._outgoing.items is not None and self._connection.descriptors is not None:
            close_received(self._outgoing.items.clear())

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        outgoing = self.__dict__.get("_outgoing")
        if outgoing is not None and not outgoing.done:
            self._connection.cancel_later(outgoing)


class Subscription:
    """Events that arrive at a function, until `close()`. `lost` counts those that were dropped on the way."""

    def __init__(self, remote: "Remote", event: str, function: Callable[[Any], None]) -> None:
        self.event, self.function, self.lost = event, function, 0
        self._remote = remote

    def close(self) -> None:
        self._remote._off(self)

    def __enter__(self) -> "Subscription":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Remote:
    """The other side: `remote.add(2, 5)` or `remote.add(a=2, b=5)` calls its method `add`.

    A method that the service says is a stream gives a `Stream` to iterate over.

    A method whose name is taken here is called as `remote.call('close')`.
    """

    def __init__(self, connection: Connection, parent: Optional[Incoming] = None) -> None:
        self._connection = connection
        self._parent = parent

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._connection.peer.address}>"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)

        def method(*args: Any, **named: Any) -> Any:
            if name in self._connection.peer_streams:
                return self._open_stream(name, args, named, PLAIN)
            return self._call(name, args, named, PLAIN)

        method.__name__ = name
        self.__dict__[name] = method
        return method

    def call(
        self,
        method: str,
        *args: Any,
        timeout: Optional[float] = None,
        metadata: Optional[Dict[str, str]] = None,
        on_progress: Optional[Callable[[Any], None]] = None,
        idempotent: bool = False,
        **named: Any,
    ) -> Any:
        """Calls and waits. `timeout` in seconds reaches the handler too; `on_progress` runs on another thread.

        `idempotent`: may be repeated after a lost connection.
        Raises TalkwireError; TypeError for arguments that cannot travel.
        """
        return self._call(method, args, named, CallOptions(timeout, metadata, on_progress, idempotent))

    def start(
        self,
        method: str,
        *args: Any,
        timeout: Optional[float] = None,
        metadata: Optional[Dict[str, str]] = None,
        on_progress: Optional[Callable[[Any], None]] = None,
        **named: Any,
    ) -> Call:
        """Calls and does not wait. Ends with its connection."""
        opened = self._open(method, *_request_of(args, named), CallOptions(timeout, metadata, on_progress), False)
        return Call(opened.connection, opened.outgoing, opened.deadline)

    def stream(
        self,
        method: str,
        *args: Any,
        timeout: Optional[float] = None,
        metadata: Optional[Dict[str, str]] = None,
        on_progress: Optional[Callable[[Any], None]] = None,
        **named: Any,
    ) -> Stream:
        """Calls a method whose output is a stream; iterate over the result. An iterator as argument is sent meanwhile.

        Ends with its connection.
        """
        return self._open_stream(method, args, named, CallOptions(timeout, metadata, on_progress))

    def _open_stream(self, method: str, args: Tuple[Any, ...], named: Dict[str, Any], options: "CallOptions") -> Stream:
        opened = self._open(method, *_request_of(args, named), options, True)
        return Stream(opened.connection, opened.outgoing, opened.deadline)

    def notify(self, method: str, *args: Any, **named: Any) -> None:
        """Sends a notification: nobody answers."""
        self._connection.notify(method, call_params(args, named))

    def on(self, event: str, function: Callable[[Any], None]) -> Subscription:
        """Calls `function(payload)` for each such event, in order, on another thread."""
        if not callable(function):
            raise TypeError("on(event, function) takes a function")
        subscription = Subscription(self, event, function)
        held = self._connection.listeners.setdefault(event, [])
        held.append(subscription)
        if len(held) == 1:
            try:
                self.call("rpc.on", {"event": event}, idempotent=True)
            except BaseException:
                self._forget(subscription)
                raise
        return subscription

    def _forget(self, subscription: Subscription) -> bool:
        """True if it was the last one of its event."""
        held = self._connection.listeners.get(subscription.event, [])
        if subscription in held:
            held.remove(subscription)
            if not held:
                del self._connection.listeners[subscription.event]
                return True
        return False

    def _off(self, subscription: Subscription) -> None:
        if self._forget(subscription) and self._connection.ended is None and not self._connection.closing:
            self.call("rpc.off", {"event": subscription.event})

    def _call(self, method: str, args: Tuple[Any, ...], named: Dict[str, Any], options: "CallOptions") -> Any:
        params, source = _request_of(args, named)
        until = None if options.timeout is None else time.monotonic() + options.timeout
        begun: List[Tuple[Connection, Outgoing]] = []
        try:
            while True:
                wish = options._replace(timeout=left(until), begun=begun)
                opened = self._open(method, params, None, wish, False, source is not None)
                try:
                    return self._await(opened, source)
                except TalkwireError as error:
                    # An input stream has been used up: it cannot be sent again.
                    if source is not None or not self._again(opened.connection, error, options.idempotent):
                        raise
        except BaseException as error:
            # Ctrl-C may come between the sending and the waiting: a call that nobody waits for would keep `close` waiting.
            if not isinstance(error, Exception):
                for connection, call in begun:
                    connection.cancel(call)
            raise

    def _again(self, connection: Connection, error: TalkwireError, idempotent: bool) -> bool:
        """Is a call that failed so made once more, on another connection?"""
        return False

    def _await(self, opened: "Opened", source: Optional[Iterable[Any]]) -> Any:
        connection, outgoing, deadline = opened
        parent = self._parent
        if parent is not None:
            parent.children.add(outgoing)
            if parent.cancelled:  # meanwhile, so that nobody saw the child
                connection.cancel(outgoing)
        try:
            if source is not None:
                pump(connection, outgoing, source, left(deadline))
            return connection.result(outgoing, left(deadline))
        finally:
            if parent is not None:
                parent.children.discard(outgoing)

    def _open(
        self, method: str, params: Any, source: Optional[Iterable[Any]], options: "CallOptions", stream: bool, input: bool = False
    ) -> "Opened":
        """Sends the request; what is in `source` follows on another thread."""
        timeout = options.timeout if self._parent is None else self._parent.time_for(options.timeout)
        connection = self._connection
        outgoing = connection.open(
            method, params, timeout=timeout, metadata=options.metadata, on_progress=options.on_progress,
            stream=stream, input=input or source is not None, begun=options.begun,
        )  # fmt: skip
        if source is not None:
            pool().submit(pump_quietly, connection, outgoing, source)
        return Opened(connection, outgoing, None if timeout is None else time.monotonic() + timeout)


def pump(connection: Connection, call: Outgoing, source: Iterable[Any], timeout: Optional[float] = None) -> None:
    """Sends the input stream until it ends or the answer is there. Raises what the source raises."""
    credit = call.credit
    assert credit is not None
    try:
        for value in source:
            ready = credit.ready() or connection.wait(
                lambda: call.done or credit.ready(), call.signal, timeout
            )
            if call.done or not ready:
                return close_given(value)
            connection.send_value("$/input", call.id, value, credit)
        if not call.done:
            connection.end_input(call.id)
    except BaseException as error:
        if not isinstance(error, TalkwireError) or connection.ended is None:
            connection.end_input(call.id, TalkwireError("CANCELLED", "the input stream failed"))
            connection.cancel(call)
        raise
    finally:
        close = getattr(source, "close", None)
        if close is not None and call.done:
            close()


def pump_quietly(connection: Connection, call: Outgoing, source: Iterable[Any]) -> None:
    """As `pump`, on a thread of its own: a failing source fails the call."""
    try:
        pump(connection, call, source)
    except Exception as error:
        connection.settle(call, None, TalkwireError("INPUT_FAILED", f"the input stream failed: {error!r}", outcome="maybe-ran"))
        import logging

        logging.getLogger("talkwire").exception("an input stream failed")
