"""A connection of `shm:` as a session sees it: a byte stream, which is messages in two rings.

Whoever waits, for messages or for room, sleeps at the one socket. The thread that takes what has come there opens the
gate of the other one, so that no word is lost between them.
"""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING, Any, Callable, List, Optional

from ..atomics import atomics
from ..errors import TalkwireError
from ..framing import LENGTH
from ..memory import SharedMemory
from ..ring import Ring
from ..wire import Peer, Wire
from .ring_stream import Incoming, Outgoing
from .shm_line import Gate, Line

if TYPE_CHECKING:
    import asyncio

_LOOK = 0.1  # seconds until one who waits for room looks whether the connection was aborted


class ShmWire(Wire):
    """Owner of the socket, and of the memory once it has begun."""

    framing = LENGTH

    def __init__(self, line: Line, peer: Peer) -> None:
        self.peer = peer
        self.line = line
        line.sock.setblocking(True)
        self._memory: Optional[SharedMemory] = None
        self._outgoing: Optional[Outgoing] = None
        self._incoming: Optional[Incoming] = None
        self._expected: Optional[Callable[[Any], SharedMemory]] = None
        self._messages = Gate(line.sock)
        self._room: Optional[Gate] = None
        self._writing = threading.Lock()
        self._listening = threading.Lock()
        self._far_ended = self._end_said = False
        self._aborted = False
        self._refusal: Optional[TalkwireError] = None

    def expect(self, memory_of: Callable[[Any], SharedMemory]) -> None:
        """The other side's first note tells where the memory is."""
        self._expected = memory_of

    def begin(self, memory: SharedMemory, side: str) -> None:
        """Takes the memory over. Raises as `Ring`, and UNAVAILABLE when another one has an end."""
        self._memory = memory
        half = memory.size // 2
        to_server, to_client = Ring(memory.buf, 0, half), Ring(memory.buf, half, half)
        ours, theirs = (to_server, to_client) if side == "client" else (to_client, to_server)
        self._outgoing = Outgoing(ours, self._tell)
        self._incoming = Incoming(theirs)

    # -- the socket

    def _take_notes(self, other: Optional[Gate]) -> None:
        """What has come. `other`: who else waits for it. Raises INVALID_MESSAGE."""
        with self._listening:
            notes = self.line.take()
            for note in notes:
                if note is not None:
                    self._heard(note)
        if other is not None and (notes or self.line.gone):
            other.open()

    def _heard(self, note: Any) -> None:
        if "end" in note:
            self._far_ended = True
        elif "error" in note:
            error = note["error"] if type(note["error"]) is dict else {}
            self._refusal = TalkwireError(str(error.get("code")), str(error.get("message")))
        elif self._expected is None:
            raise TalkwireError("INVALID_MESSAGE", "a second hello")
        else:
            self._hello(note, self._expected)

    def _hello(self, note: Any, memory_of: Callable[[Any], SharedMemory]) -> None:
        self._expected = None
        try:
            self.begin(memory_of(note), "server")
        except TalkwireError as error:
            self._end_said = True  # by this
            self.line.say({"error": {"code": error.code, "message": error.text}})
            raise

    def _tell(self) -> None:
        """Rings, if the other side wants to hear of what was written, or of the room."""
        outgoing, incoming = self._outgoing, self._incoming
        if outgoing is None or incoming is None:
            return
        # It says that it sleeps, and then looks; we the other way round, and never at the same time.
        atomics().fence()
        for_messages, for_room = outgoing.wakes(), incoming.wakes()
        if for_messages or for_room:
            self.line.ring()

    # -- reading

    def fileno(self) -> int:
        return self._messages.fileno()

    @property
    def _is_over(self) -> bool:
        return self._far_ended or self._refusal is not None or self.line.gone

    @property
    def pending(self) -> bool:
        """False: we sleep, and the other side rings."""
        incoming = self._incoming
        if self._is_over or incoming is None:
            return self._is_over
        if incoming.has_message:
            return True
        incoming.say_sleeps()
        return incoming.has_message

    def receive(self, buffer: memoryview, wait: float = 0.0) -> int:
        while True:
            count = self._read(buffer)
            if count is not None:
                return count
            if self.pending:
                continue
            if wait <= 0.0 or not self._messages.wait(wait):
                raise BlockingIOError
            wait = 0.0

    def _read(self, buffer: memoryview) -> Optional[int]:
        """None: no message has come, but perhaps a note."""
        if self._aborted:
            return 0
        self._messages.shut()
        over = self._is_over  # before the ring: what was sent before the end is in it
        count = self._incoming.read_into(buffer) if self._incoming is not None else 0
        if count:
            self._tell()
            return count
        if not over:
            self._take_notes(self._room)
            return None
        if self._refusal is not None:
            raise self._refusal
        if not self._far_ended:
            raise ConnectionResetError(errno.ECONNRESET, "the other side ended without a last word; it may have crashed")
        return 0

    def wait_readable(self, timeout: Optional[float]) -> bool:
        return self.pending or self._messages.wait(timeout)

    def hung_up(self) -> bool:
        self._take_notes(self._room)
        return self.line.gone

    # -- writing

    def send(self, parts: List[Any]) -> List[Any]:
        views = [view for view in (memoryview(part).cast("B") for part in parts) if len(view)]
        with self._writing:
            if self._aborted or self.line.gone or self._end_said:
                raise BrokenPipeError(errno.EPIPE, "the connection has ended")
            outgoing = self._outgoing
            if outgoing is None:
                return []  # what is refused before it has told its memory can be told nothing
            try:
                views = outgoing.put(views)
                if views:
                    self._sleep_for_room(outgoing)
                    views = outgoing.put(views)
            except TalkwireError as error:
                self.abort()
                raise BrokenPipeError(errno.EPIPE, error.text) from error
            return views

    def _sleep_for_room(self, outgoing: Outgoing) -> None:
        """From here on the other side rings. Look once more."""
        if self._room is None:
            self._room = Gate(self.line.sock)
        self._room.shut()
        self._take_notes(self._messages)
        outgoing.say_sleeps()

    def wait_writable(self, timeout: Optional[float]) -> bool:
        room = self._room
        if self._aborted or room is None:
            raise BrokenPipeError(errno.EPIPE, "the connection has ended")
        return room.wait(_LOOK if timeout is None else min(timeout, _LOOK))

    def add_writer(self, loop: "asyncio.AbstractEventLoop", ready: Callable[[], None]) -> None:
        if self._room is not None:
            loop.add_reader(self._room.fileno(), ready)

    def remove_writer(self, loop: "asyncio.AbstractEventLoop") -> None:
        if self._room is not None:
            loop.remove_reader(self._room.fileno())

    # -- the end

    def end_sending(self) -> None:
        with self._writing:
            self._say_end()

    def _say_end(self) -> None:
        if not self._end_said:
            self._end_said = True
            if self._outgoing is not None:
                self._outgoing.needs_no_room()
            self.line.say({"end": True})

    def abort(self) -> None:
        self._aborted = True
        if self._far_ended:
            self._take_notes(None)  # what is left unread would be a loss to the other side
            self._say_end()
        self.line.shut()

    def _close(self) -> None:
        with self._writing:
            self._aborted = True
            for part in (self._outgoing, self._incoming, self._memory, self._messages, self._room, self.line):
                if part is not None:
                    part.close()
            self._outgoing = self._incoming = None
