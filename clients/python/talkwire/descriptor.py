"""File descriptors as values of calls (spec/descriptors.md)."""

from __future__ import annotations

import os
import socket
import struct
import threading
from typing import Any, Callable, Dict, List, Optional

from .errors import TalkwireError

_MOST = 16  # in one message
_MOST_SKIPPED = 64  # sent and not referred to, before one that is
_NUMBER = struct.Struct(">I")
_ONE = struct.Struct("i")


class Descriptor:
    """`Descriptor.lend(file)` and `Descriptor.give(fd)` are sent. What arrives with a call is closed when the call is over, with an
    event or with progress when its functions are done; what a call returns, and what comes in a stream, belongs to whoever gets
    it. `take()` keeps the number."""

    def __init__(self, fd: int, ownership: str, left: Optional[Callable[[], None]] = None) -> None:
        self._fd = fd
        self._ownership = ownership
        self._left = left

    @classmethod
    def lend(cls, file: Any) -> "Descriptor":
        """A number, or anything with `fileno()`: it stays the caller's, who closes it."""
        return cls(_number_of(file), "lent")

    @classmethod
    def give(cls, fd: int) -> "Descriptor":
        """Closed once it was sent, or could not be."""
        return cls(_number_of(fd), "given")

    def fileno(self) -> int:
        """Its number, for as long as it is open. Raises CLOSED."""
        if self._fd < 0:
            raise TalkwireError("CLOSED", "this descriptor was closed or taken; take() it before its call is over")
        return self._fd

    def take(self) -> int:
        """The number becomes the caller's, who closes it. Raises CLOSED."""
        fd = self.fileno()
        self._forget()
        return fd

    def close(self) -> None:
        """Closes it, unless it is lent or was taken."""
        fd = self._fd
        self._forget()
        if fd >= 0 and self._ownership != "lent":
            os.close(fd)

    def _forget(self) -> None:
        self._fd = -1
        left, self._left = self._left, None
        if left is not None:
            left()

    def __enter__(self) -> "Descriptor":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if self.__dict__.get("_fd", -1) >= 0 and self._ownership != "lent":
            self.close()


def _number_of(file: Any) -> int:
    fd = file if type(file) is int else file.fileno()
    if fd < 0:
        raise ValueError(f"{fd} is no file descriptor")
    return int(fd)


def contains_descriptor(value: Any) -> bool:
    """Whether one stands in a value that is about to be sent."""
    if isinstance(value, Descriptor):
        return True
    if isinstance(value, dict):
        return any(map(contains_descriptor, value.values()))
    return isinstance(value, (list, tuple)) and any(map(contains_descriptor, value))


def close_given(value: Any) -> None:
    """Closes what was given within a value that is not sent."""
    _close_in(value, "given")


def close_received(value: Any) -> None:
    """Closes what came with a value that nobody takes."""
    _close_in(value, "received")


def _close_in(value: Any, ownership: str) -> None:
    if isinstance(value, Descriptor):
        if value._ownership == ownership:
            value.close()
    elif isinstance(value, (list, tuple, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            _close_in(each, ownership)


def close_all(descriptors: List[Descriptor]) -> None:
    for each in descriptors:
        each.close()


def weight_of(count: int, window: int) -> int:
    """What an element of a stream counts besides its bytes, when that was the first credit: few are on their way at a time, not as many as are short."""
    return count * -(-window // _MOST)


class Descriptors:
    """Both directions of one connection. `refuse(error)` ends it. Owner of the socket."""

    def __init__(self, channel: socket.socket, limit: int, refuse: Callable[[TalkwireError], None]) -> None:
        channel.setblocking(False)
        self._channel = channel
        self._limit = limit
        self._refuse = refuse
        self._sent = 0
        self._held = 0
        self._fresh: List[Descriptor] = []
        #: held from the sending of descriptors to that of their message: both in one order
        self.order = threading.RLock()

    def export(self, value: Descriptor) -> Dict[str, Any]:
        """Sends it. Raises LIMIT_EXCEEDED, CLOSED, CONNECTION_LOST."""
        number = self._sent + 1
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, _ONE.pack(value.fileno()))]
        try:
            self._channel.sendmsg([_NUMBER.pack(number)], control, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            raise TalkwireError("LIMIT_EXCEEDED", "too many descriptors are on their way to a peer that reads too slowly") from None
        except OSError as error:
            raise TalkwireError("CONNECTION_LOST", f"a descriptor cannot be sent: {error.strerror}", outcome="not-sent") from error
        self._sent = number
        return {"$fd": number}

    @property
    def sent(self) -> int:
        """How many so far; those of one message are between two looks, with `order` held."""
        return self._sent

    def arrived(self, number: int) -> Descriptor:
        """(reader) The one that a message refers to. Raises LIMIT_EXCEEDED, INVALID_MESSAGE."""
        if len(self._fresh) >= _MOST:
            raise self._refused("LIMIT_EXCEEDED", f"more than {_MOST} descriptors in one message")
        if self._held >= self._limit:
            raise self._refused("LIMIT_EXCEEDED", f"{self._limit} descriptors of this connection are open; close or take them")
        for _ in range(_MOST_SKIPPED + 1):
            found, fd, cut = self._receive(number)
            if found == number and (fd >= 0 or cut):
                return self._take(fd)
            if fd >= 0:
                os.close(fd)  # its message could not be sent
            if found > number:
                break
        raise self._refused("INVALID_MESSAGE", f"the descriptor {number} is not the one that comes next")

    def _receive(self, wanted: int) -> "tuple[int, int, bool]":
        data, control, flags = b"", [], 0  # type: ignore[var-annotated]
        try:
            data, control, flags, _ = self._channel.recvmsg(_NUMBER.size, socket.CMSG_LEN(_ONE.size), socket.MSG_CMSG_CLOEXEC)
        except OSError:
            pass  # nothing has arrived, or the peer has closed
        if len(data) != _NUMBER.size:
            raise self._refused("INVALID_MESSAGE", f"the descriptor {wanted} was not sent")
        cut = bool(flags & socket.MSG_CTRUNC)
        fd: int = _ONE.unpack(control[0][2])[0] if control and control[0][1] == socket.SCM_RIGHTS else -1
        if cut and fd >= 0:
            os.close(fd)
            raise self._refused("LIMIT_EXCEEDED", "several descriptors where one goes")
        return _NUMBER.unpack(data)[0], fd, cut

    def _take(self, fd: int) -> Descriptor:
        if fd < 0:
            raise TalkwireError("LIMIT_EXCEEDED", "this process has as many files open as it may, so a descriptor was lost")
        self._held += 1
        descriptor = Descriptor(fd, "received", self._released)
        self._fresh.append(descriptor)
        return descriptor

    def _released(self) -> None:
        self._held -= 1

    def _refused(self, code: str, text: str) -> TalkwireError:
        error = TalkwireError(code, text)
        self._refuse(error)
        return error

    def arrivals(self) -> List[Descriptor]:
        """(reader) Those of the message that was just read."""
        fresh, self._fresh = self._fresh, []
        return fresh

    @property
    def holds_arrivals(self) -> bool:
        return bool(self._fresh)

    def close(self) -> None:
        close_all(self.arrivals())
        self._channel.close()
