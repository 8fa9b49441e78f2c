"""Frames in a byte stream (spec/wire.md § 1): three framings, no I/O.

`FrameDecoder` is fed like an asyncio `BufferedProtocol`: `get_buffer()`, fill,
`received(n)`, then `next()` until it says None. A large body is received
straight into the memory that the message then owns.
"""

from __future__ import annotations

import struct
from typing import Any, List, Optional, Tuple

from .errors import TalkwireError
from .landing import Landing

LENGTH, HEADER, LINE = "length", "header", "line"

_CHUNK = 64 * 1024
_GROWTH = 128  # a length that was only announced takes at most so many times what has arrived
_MAX_HEADER = 4096
ENVELOPE = 0xC1  # the first byte of a payload with attachments
_U32 = struct.Struct(">I")

Buffer = Any  # bytes, bytearray or memoryview


def recognise(first: int) -> str:
    """The framing that a first byte announces. Raises INVALID_MESSAGE."""
    if first <= 0x08:
        return LENGTH
    if first in b"Cc":
        return HEADER
    if first in b"\t\n\r [{":
        return LINE
    raise TalkwireError("INVALID_MESSAGE", f"no framing begins with the byte 0x{first:02x}")


def frame(framing: str, payload: bytes) -> bytes:
    """A whole small frame in one piece."""
    if framing == LENGTH:
        return _U32.pack(len(payload)) + payload
    if framing == HEADER:
        return b"Content-Length: %d\r\n\r\n" % len(payload) + payload
    return payload + b"\n"


def frame_parts(framing: str, parts: List[Buffer], size: int) -> List[Buffer]:
    """A frame as pieces for a gathering write; nothing is copied."""
    if framing == LENGTH:
        return [_U32.pack(size), *parts]
    if framing == HEADER:
        return [b"Content-Length: %d\r\n\r\n" % size, *parts]
    return [*parts, b"\n"]


class FrameDecoder:
    """Incremental decoder. `framing` None: recognised from the first byte."""

    def __init__(self, max_message: int, framing: Optional[str] = None) -> None:
        self.framing = framing
        self._max = max_message
        self._view = memoryview(bytearray(_CHUNK))
        self._start = self._end = 0
        self._scanned = 0  # line framing: no LF before this position
        self._big: Optional[Landing] = None
        self._big_size = self._big_got = 0
        self._body = -1  # header framing: length of the body that is awaited

    # -- filling

    def get_buffer(self) -> memoryview:
        """Where to receive next; never empty. Keep no reference to it. Payloads of `next()` in shared memory die here."""
        if self._big is not None:
            if self._big_got == len(self._big):
                self._big.grow(min(self._big_size, self._big_got * _GROWTH))
            return self._big.room(self._big_got)
        if self._start == self._end:
            self._reset_small()
        elif self._end == len(self._view):
            self._compact()
        return self._view[self._end :]

    def received(self, count: int) -> None:
        if self._big is not None:
            self._big_got += count
        else:
            self._end += count

    def feed(self, data: Buffer) -> List[bytes]:
        """Convenience for tests and pipes: takes `data`, gives copies of all whole payloads."""
        found: List[bytes] = []
        rest = memoryview(data)
        while len(rest):
            count = self._fill(rest)
            rest = rest[count:]
            payload = self.next()
            while payload is not None:
                found.append(bytes(payload))
                payload = self.next()
        return found

    def _fill(self, data: memoryview) -> int:
        target = self.get_buffer()
        count = min(len(target), len(data))
        target[:count] = data[:count]
        self.received(count)
        return count

    @property
    def pending(self) -> bool:
        """Bytes have arrived that `next()` has not handed out: the stream must not end here."""
        return self._big is not None or self._start != self._end or self._body >= 0

    # -- taking

    def next(self) -> Optional[memoryview]:
        """The next whole payload or None. Raises INVALID_MESSAGE or MESSAGE_TOO_LARGE: the stream is unusable.

        A small payload is a view that lives until `get_buffer()`; one with
        attachments and every large one owns its memory.
        """
        if self._big is not None:
            return self._take_big()
        if self._start == self._end:
            return None
        if self.framing is None:
            self.framing = recognise(self._view[self._start])
        if self.framing == LENGTH:
            return self._next_length()
        if self.framing == HEADER:
            return self._next_header()
        return self._next_line()

    def _next_length(self) -> Optional[memoryview]:
        start = self._start
        if self._end - start < 4:
            return None
        (size,) = _U32.unpack_from(self._view, start)
        return self._take_body(start + 4, size)

    def _next_header(self) -> Optional[memoryview]:
        if self._body < 0:
            block = bytes(self._view[self._start : min(self._end, self._start + _MAX_HEADER)])
            end = block.find(b"\r\n\r\n")
            if end < 0:
                if len(block) >= _MAX_HEADER:
                    raise TalkwireError("INVALID_MESSAGE", f"a header block is longer than {_MAX_HEADER} bytes")
                return None
            self._body = _content_length(block[:end])
            self._start += end + 4
        payload = self._take_body(self._start, self._body)
        if payload is not None or self._big is not None:
            self._body = -1
        return payload

    def _take_body(self, begin: int, size: int) -> Optional[memoryview]:
        if size > self._max:
            raise TalkwireError("MESSAGE_TOO_LARGE", f"a message of {size} bytes; at most {self._max} are accepted")
        end = begin + size
        if end <= self._end:
            self._start = end
            return _own(self._view[begin:end])
        if begin - self._start + size > _CHUNK:
            self._begin_big(begin, size)
        return None

    def _next_line(self) -> Optional[memoryview]:
        while True:
            begin = self._start
            lf = self._find_lf(max(begin, self._scanned))
            if lf < 0:
                self._scanned = self._end
                if self._end - begin > self._max:
                    raise TalkwireError("MESSAGE_TOO_LARGE", f"a line is longer than {self._max} bytes")
                return None
            self._start = self._scanned = lf + 1
            end = lf - 1 if lf > begin and self._view[lf - 1] == 0x0D else lf
            if end - begin > self._max:
                raise TalkwireError("MESSAGE_TOO_LARGE", f"a line is longer than {self._max} bytes")
            line = self._view[begin:end]
            if end - begin < 64 and not bytes(line).strip():
                continue
            return line

    def _find_lf(self, begin: int) -> int:
        found = self._view.obj.find(b"\n", begin, self._end)  # type: ignore[attr-defined]
        return int(found)

    # -- memory

    def _reset_small(self) -> None:
        self._start = self._end = self._scanned = 0
        if len(self._view) != _CHUNK:
            self._view = memoryview(bytearray(_CHUNK))

    def _compact(self) -> None:
        kept = self._end - self._start
        size = len(self._view) if kept <= len(self._view) // 2 else 2 * kept
        fresh = memoryview(bytearray(size))
        fresh[:kept] = self._view[self._start : self._end]
        self._scanned = max(0, self._scanned - self._start)
        self._view, self._start, self._end = fresh, 0, kept

    def _begin_big(self, begin: int, size: int) -> None:
        arrived = self._end - begin
        self._big = Landing(min(size, max(_CHUNK, arrived * _GROWTH)))
        self._big.room(0)[:arrived] = self._view[begin : self._end]
        self._big_size, self._big_got = size, arrived
        self._reset_small()

    def _take_big(self) -> Optional[memoryview]:
        if self._big is None or self._big_got < self._big_size:
            return None
        payload, self._big = self._big.finish(), None
        return payload


def _own(payload: memoryview) -> memoryview:
    if len(payload) and payload[0] == ENVELOPE:
        return memoryview(bytearray(payload))
    return payload


def _content_length(block: bytes) -> int:
    for line in block.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon and name.strip().lower() == b"content-length":
            digits = value.strip()
            if digits.isdigit() and len(digits) <= 10:
                return int(digits)
            break
    raise TalkwireError("INVALID_MESSAGE", "a header block without a usable Content-Length")


# -- envelope: a message with attachments (spec/wire.md § 2)

_ENVELOPE_HEAD = struct.Struct(">BBHI")
MAX_ATTACHMENTS = 65_535


def encode_envelope(head: bytes, attachments: List[memoryview]) -> Tuple[List[Buffer], int]:
    """Pieces of the payload and their total size. `attachments` are views of bytes."""
    count = len(attachments)
    sizes = [part.nbytes for part in attachments]
    if max(sizes) > 0xFFFFFFFF:
        raise TalkwireError("MESSAGE_TOO_LARGE", "one array has more than 4 GiB")
    parts: List[Buffer] = [
        _ENVELOPE_HEAD.pack(ENVELOPE, 0, count, len(head)) + struct.pack(f">{count}I", *sizes) + head
    ]
    at = len(parts[0])
    for part, size in zip(attachments, sizes):
        padding = -at % 8
        if padding:
            parts.append(bytes(padding))
        if size:
            parts.append(part)
        at += padding + size
    return parts, at


def decode_envelope(payload: memoryview) -> Tuple[memoryview, List[memoryview]]:
    """Head and attachments as views. Raises INVALID_MESSAGE."""
    if len(payload) < 8:
        raise _bad_envelope("is cut off")
    _, zero, count, head_size = _ENVELOPE_HEAD.unpack_from(payload)
    at = 8 + 4 * count + head_size
    if zero != 0 or count == 0 or at > len(payload):
        raise _bad_envelope("has a bad head")
    sizes = struct.unpack_from(f">{count}I", payload, 8)
    head = payload[at - head_size : at]
    attachments: List[memoryview] = []
    for size in sizes:
        begin = at + (-at % 8)
        if begin + size > len(payload) or any(payload[at:begin]):
            raise _bad_envelope("does not hold its attachments")
        at = begin + size
        attachments.append(payload[begin:at])
    if at != len(payload):
        raise _bad_envelope("has bytes after its last attachment")
    return head, attachments


def _bad_envelope(what: str) -> TalkwireError:
    return TalkwireError("INVALID_MESSAGE", f"the envelope {what}")
