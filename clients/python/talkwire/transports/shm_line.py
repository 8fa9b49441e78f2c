"""The socket beside the rings of `shm:`: spec/shm.md, section 1. Nothing here blocks."""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
from typing import Any, Dict, List, Optional

from ..errors import TalkwireError

_LENGTH = struct.Struct(">I")
_BELL = _LENGTH.pack(0)
_MOST = 4096  # bytes of a note
_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


class Line:
    """Owner of the socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.gone = False  # the other side has none any more
        self._arrived = b""

    def ring(self) -> None:
        """Has the other side look at the rings. A full socket has rung often enough."""
        try:
            self.sock.send(_BELL, _FLAGS)
        except OSError:
            pass  # it has gone, which whoever reads finds out

    def say(self, note: Dict[str, Any]) -> None:
        text = json.dumps(note).encode()
        try:
            self.sock.send(_LENGTH.pack(len(text)) + text, _FLAGS)
        except OSError:
            # Who leaves hundreds of bells unread is not told of the end by a word, but by the end.
            self.shut()

    def take(self) -> List[Any]:
        """What was said; None for a bell. Raises INVALID_MESSAGE."""
        self._receive()
        notes: List[Any] = []
        while len(self._arrived) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._arrived)
            if size > _MOST:
                raise TalkwireError("INVALID_MESSAGE", f"{size} bytes on the socket of shm:, which takes {_MOST}")
            end = _LENGTH.size + size
            if len(self._arrived) < end:
                break
            notes.append(_note(self._arrived[_LENGTH.size : end]) if size else None)
            self._arrived = self._arrived[end:]
        return notes

    def _receive(self) -> None:
        more = _LENGTH.size + _MOST
        while not self.gone and len(self._arrived) <= _MOST:
            try:
                data = self.sock.recv(more, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            self.gone = not data
            self._arrived += data
            if len(data) < more:
                return

    def shut(self) -> None:
        """Ends both directions, and wakes whoever waits."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other side was faster

    def close(self) -> None:
        self.sock.close()


def _note(text: bytes) -> Dict[str, Any]:
    try:
        note = json.loads(text)
    except ValueError:
        note = None
    if type(note) is not dict:
        raise TalkwireError("INVALID_MESSAGE", "what is said on the socket of shm: is a JSON object")
    return note


class Gate:
    """Ready when something has come by the socket, and when another thread, which took it, opens this."""

    def __init__(self, sock: socket.socket) -> None:
        self._fd = sock.fileno()
        self._epoll = select.epoll()
        self._epoll.register(self._fd, select.EPOLLIN)
        self._is_open = False
        self._lock = threading.Lock()

    def fileno(self) -> int:
        return self._epoll.fileno()

    def open(self) -> None:
        # The socket takes bytes at any time, so whoever waits for that is awake at once.
        self._turn(True, select.EPOLLIN | select.EPOLLOUT)

    def shut(self) -> None:
        """Look once more after this."""
        self._turn(False, select.EPOLLIN)

    def _turn(self, to: bool, events: int) -> None:
        with self._lock:
            if self._is_open != to:
                self._is_open = to
                self._epoll.modify(self._fd, events)

    def wait(self, seconds: Optional[float]) -> bool:
        return bool(self._epoll.poll(None if seconds is None else max(0.0, seconds)))

    def close(self) -> None:
        self._epoll.close()
