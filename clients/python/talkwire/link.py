"""What is under a blocking client: a connection, and when that is lost the next one."""

from __future__ import annotations

import os
import threading
import time
from typing import Callable, Optional

from .connection import Connection
from .errors import TalkwireError
from .pool import pool
from .reconnecting import HOPELESS, Reconnect, closed_error, late_error, not_sent

Dial = Callable[[bool, Callable[[Connection], None]], Connection]


class _Attempt:
    """One time of reconnecting, over all its tries."""

    done = False
    error: Optional[TalkwireError] = None


class Link:
    """`dial(start, on_end)` makes a connection that has shaken hands; `start`: the service may be started."""

    def __init__(self, dial: Dial, reconnect: Optional[Reconnect]) -> None:
        self._dial = dial
        self._reconnect = reconnect
        self._changed = threading.Condition()
        self._attempt: Optional[_Attempt] = None
        self._wanted = False  # a call waits, and not only a subscription
        self._closing = threading.Event()
        self._pid = os.getpid()  # a forked child must make its own connections
        self.connection = dial(True, self._lost)

    def ready(self, timeout: Optional[float]) -> Connection:
        """The open connection; waits for the next one if need be. One that does not reconnect raises by itself when it is used.

        Raises CONNECTION_CLOSED, DEADLINE_EXCEEDED after `timeout` s, and what kept it from opening.
        """
        connection = self.connection
        if connection.is_open or self._reconnect is None or self._pid != os.getpid():
            return connection
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.connection.is_open:
            self._wanted = True
            self._await(self._begin(), deadline, timeout or 0.0)
        return self.connection

    def _await(self, attempt: _Attempt, deadline: Optional[float], timeout: float) -> None:
        with self._changed:
            while not attempt.done:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise late_error(timeout)
                self._changed.wait(left)
        if attempt.error is not None:
            raise not_sent(attempt.error)

    def _begin(self) -> _Attempt:
        with self._changed:
            if self._closing.is_set():
                raise closed_error()
            if self._attempt is None:
                self._attempt = _Attempt()
                pool().submit(self._reopen, self._attempt, urgent=True)
            return self._attempt

    def _reopen(self, attempt: _Attempt) -> None:
        """(a thread of the pool)"""
        try:
            self._try_until_open()
        except TalkwireError as error:
            attempt.error = error
        except Exception as error:
            attempt.error = TalkwireError("CONNECTION_LOST", f"reconnecting failed: {error!r}")
            raise
        finally:
            with self._changed:
                attempt.done, self._attempt = True, None
                self._changed.notify_all()
        if attempt.error is None and not self.connection.is_open:
            self._lost(self.connection)  # it has ended in the moment between

    def _try_until_open(self) -> None:
        assert self._reconnect is not None
        last = closed_error()
        for pause in self._reconnect.pauses():
            try:
                return self._adopt(self._dial(self._wanted, self._lost))
            except TalkwireError as error:
                last = error
                if error.code in HOPELESS or self._closing.is_set():
                    break
            if self._closing.wait(pause):
                break
        raise closed_error() if self._closing.is_set() else last

    def _adopt(self, connection: Connection) -> None:
        listeners = self.connection.listeners
        connection.listeners = listeners
        try:
            for event in list(listeners):
                connection.result(connection.open("rpc.on", {"event": event}))
        except BaseException:
            connection.abort()
            raise
        self._wanted = False
        with self._changed:
            closing = self._closing.is_set()
            if not closing:
                self.connection = connection
        if closing:
            connection.close()

    def _lost(self, connection: Connection) -> None:
        """Subscriptions are a standing wish: they heal without waiting for a call, but start no service."""
        with self._changed:
            self._changed.notify_all()  # whoever waits for the end
        if not self.lasts or self.__dict__.get("connection") is not connection or not connection.listeners or self._attempt is not None:
            return
        try:
            attempt = self._begin()
        except TalkwireError:
            return  # closed just now
        pool().submit(self._report, attempt)

    def _report(self, attempt: _Attempt) -> None:
        try:
            self._await(attempt, None, 0.0)
        except TalkwireError as error:
            if not self._closing.is_set():
                import logging

                logging.getLogger("talkwire").error("events stay away: the service did not come back: %s", error)

    @property
    def lasts(self) -> bool:
        """Is a lost connection made again?"""
        return self._reconnect is not None and self._pid == os.getpid() and not self._closing.is_set()

    @property
    def ended(self) -> bool:
        """Is there no connection, and will there be none unless somebody calls?"""
        if self._closing.is_set() or self._reconnect is None:
            return self.connection.ended is not None
        return self.connection.ended is not None and self._attempt is None

    def wait(self, timeout: Optional[float]) -> bool:
        """Until `ended`; False after `timeout` s."""
        with self._changed:
            return self._changed.wait_for(lambda: self.ended, timeout)

    def end_with_this(self) -> None:
        """No other connection is made after the one that is there; who waits for another is told."""
        self._closing.set()

    def close(self, timeout: Optional[float]) -> None:
        self._closing.set()
        self.connection.close(timeout)

    def abort(self) -> None:
        self._closing.set()
        self.connection.abort()
