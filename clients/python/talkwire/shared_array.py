"""Typed arrays that several processes share, NumPy's without a copy: implements spec/memory.md, section 3. Linux."""

from __future__ import annotations

import os
import stat
import struct
import time
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple, Union

from .arrays import FORMATS, numpy_module
from .errors import TalkwireError
from .memory import SharedMemory
from .owner import ring

HEADER_BYTES = 512
MAX_DIMENSIONS = 8
_MAGIC, _VERSION = b"TWAR", 1
_AT_SEALED, _AT_GENERATION, _AT_SHAPE, _AT_STRIDES, _AT_WATCHERS, _WATCHERS = 32, 36, 64, 128, 256, 16
_DTYPES = {name: width for name, (_, width) in FORMATS.items() if name != "c1"}
_SAFE = 2**53 - 1  # what every client can count


class Header(NamedTuple):
    """What a header says of an array; `strides` in bytes, from one element to the next."""

    dtype: str
    shape: Tuple[int, ...]
    strides: Tuple[int, ...]
    offset: int
    bytes: int


def header_for(dtype: str, shape: Sequence[int]) -> Header:
    """What an array of that shape needs, its last index the fastest. Raises ValueError."""
    if dtype not in _DTYPES:
        raise ValueError(f"{dtype!r} is no element type; take one of {', '.join(_DTYPES)}")
    if len(shape) > MAX_DIMENSIONS or not all(isinstance(length, int) and length >= 0 for length in shape):
        raise ValueError(f"shape {list(shape)}: take at most {MAX_DIMENSIONS} whole numbers from 0 on")
    strides: List[int] = []
    step = _DTYPES[dtype]
    for length in reversed(shape):
        strides.insert(0, step)
        step *= length
    if max([step, *strides]) > _SAFE:
        raise ValueError(f"shape {list(shape)} of {dtype} has more bytes than can be counted")
    return Header(dtype, tuple(shape), tuple(strides), HEADER_BYTES, step)


def encode_header(header: Header) -> bytes:
    data = bytearray(HEADER_BYTES)
    struct.pack_into("<4sI4sIQQ", data, 0, _MAGIC, _VERSION, header.dtype.encode(), len(header.shape), header.offset, header.bytes)
    struct.pack_into(f"<{len(header.shape)}Q", data, _AT_SHAPE, *header.shape)
    struct.pack_into(f"<{len(header.strides)}Q", data, _AT_STRIDES, *header.strides)
    return bytes(data)


def parse_header(data: bytes, size: int) -> Header:
    """What a header says, of memory that has `size` bytes. Every element that it reaches is within them. Raises INVALID_MEMORY."""
    if size < HEADER_BYTES or len(data) < HEADER_BYTES:
        raise _invalid("has no room for a header")
    magic, version, letters, dimensions, offset, length = struct.unpack_from("<4sI4sIQQ", data)
    if magic != _MAGIC:
        raise _invalid("holds no shared array")
    if version != _VERSION:
        raise _invalid(f"has a layout of version {version}, and this is version {_VERSION}")
    dtype = letters.rstrip(b"\0").decode("latin-1")
    if dtype not in _DTYPES:
        raise _invalid("has elements of an unknown type")
    if dimensions > MAX_DIMENSIONS or struct.unpack_from("<I", data, _AT_SEALED)[0] > 1:
        raise _invalid("has a broken header")
    shape = struct.unpack_from(f"<{dimensions}Q", data, _AT_SHAPE)
    strides = struct.unpack_from(f"<{dimensions}Q", data, _AT_STRIDES)
    header = Header(dtype, shape, strides, offset, length)
    if not _fits(header, size):
        raise _invalid("has a shape that does not fit its bytes")
    return header


def _fits(header: Header, size: int) -> bool:
    width = _DTYPES[header.dtype]
    if header.offset < HEADER_BYTES or header.offset % 8 or header.bytes % width or header.offset + header.bytes > size:
        return False
    if any(length > _SAFE for length in header.shape):
        return False
    if any(stride > _SAFE or stride % width for stride in header.strides):
        return False
    if 0 in header.shape:
        return True
    steps = list(zip(header.shape, header.strides))
    if any(length > 1 and stride == 0 for length, stride in steps):
        return False
    return sum((length - 1) * stride for length, stride in steps) + width <= header.bytes


def _invalid(what: str) -> TalkwireError:
    return TalkwireError("INVALID_MEMORY", f"the memory {what}; unlink it, or open what SharedArray.create() has made")


class SharedArray:
    """A typed array that several processes share. Made by `create`, `open` and `attach`. A context manager.

    `dtype` is one of u1 i1 u2 i2 u4 i4 u8 i8 f4 f8. Errors are those of `SharedMemory`.
    """

    def __init__(self, memory: SharedMemory, header: Header) -> None:
        self.memory = memory
        self.dtype = header.dtype
        self.shape = header.shape
        #: bytes from one element to the next, for each dimension, as NumPy has them
        self.strides = header.strides
        self._header = header

    @classmethod
    def create(
        cls, name: str, dtype: str, shape: Union[int, Sequence[int]], *, mode: int = 0o600, persist: bool = False
    ) -> "SharedArray":
        """A new one of zeros, under a name that nobody has."""
        header = header_for(dtype, [shape] if isinstance(shape, int) else list(shape))
        size = HEADER_BYTES + header.bytes
        return cls(SharedMemory.create(name, size, mode=mode, persist=persist, content=encode_header(header)), header)

    @classmethod
    def open(cls, name: str, *, dtype: Optional[str] = None, read_only: bool = False) -> "SharedArray":
        """What is there. PERMISSION_DENIED when it is sealed and not opened with `read_only`."""
        try:
            return cls._in(SharedMemory.open(name, read_only=read_only), dtype)
        except TalkwireError as error:
            # A sealed one cannot even be opened: say so, and not that a mode is wrong.
            if error.code == "PERMISSION_DENIED" and not read_only and _is_sealed(name):
                raise _sealed(name) from error
            raise

    @classmethod
    def attach(cls, path: str, *, dtype: Optional[str] = None, read_only: bool = False) -> "SharedArray":
        """Another process's anonymous one, by the path of its memory."""
        return cls._in(SharedMemory.attach(path, read_only=read_only), dtype)

    @classmethod
    def _in(cls, memory: SharedMemory, dtype: Optional[str]) -> "SharedArray":
        try:
            # One copy, which nobody changes any more, is looked at.
            header = parse_header(bytes(memory.buf[:HEADER_BYTES]), memory.size)
            if dtype is not None and header.dtype != dtype:
                raise TalkwireError("INVALID_MEMORY", f"its elements are {header.dtype}, not {dtype}")
            array = cls(memory, header)
            if array.sealed and not memory.read_only:
                raise _sealed(memory.name or "the memory")
            return array
        except BaseException:
            memory.close()
            raise

    @property
    def values(self) -> memoryview:
        """All elements in the order of the memory, not a copy. Needs no NumPy."""
        begin = self._header.offset
        return self._buf()[begin : begin + self._header.bytes].cast(FORMATS[self.dtype][0])  # type: ignore[call-overload, no-any-return]

    @property
    def numpy(self) -> Any:
        """The array for NumPy, not a copy; not writable when it is sealed or was opened with `read_only`."""
        numpy = numpy_module()
        if not numpy:
            raise TalkwireError("MISSING_PACKAGE", "NumPy is not installed; pip install numpy, or take .values")
        view = numpy.ndarray(self.shape, "<" + self.dtype, self._buf(), self._header.offset, self.strides)
        if self.sealed:
            view.flags.writeable = False
        return view

    @property
    def generation(self) -> int:
        """How often something was published: 0 to 2**32 - 1, and 0 again."""
        return self._word(_AT_GENERATION)

    @property
    def sealed(self) -> bool:
        """Nobody writes to it any more."""
        word = self._word(_AT_SEALED)
        if word > 1:
            raise TalkwireError("INVALID_MEMORY", "its header was overwritten; unlink it")
        return word == 1

    def publish(self) -> int:
        """Says that what was written is complete. Wakes who waits for it. Returns the new generation.

        Python cannot add atomically: who publishes from several processes at once guards that with a mutex.
        """
        if self.sealed:
            raise _sealed(self.memory.name or "the memory")
        if self.memory.read_only:
            raise TalkwireError("PERMISSION_DENIED", "it was opened with read_only; open it without to publish")
        return self._next()

    def seal(self) -> None:
        """Nobody shall write to it any more: who opens it from now on gets it for reading only."""
        if self.sealed and self.memory.read_only:
            return
        if self.memory.read_only:
            raise TalkwireError("PERMISSION_DENIED", "it was opened with read_only; open it without to seal it")
        self._set_word(_AT_SEALED, 1)
        self._next()
        if self.memory.name is not None:
            os.fchmod(self.memory.fd, stat.S_IMODE(os.fstat(self.memory.fd).st_mode) & 0o555)

    def wait(self, since: int, timeout: Optional[float] = None) -> int:
        """Blocks until the generation is not `since` any more, or the array is sealed; looks every 2 to 20 ms.

        Returns the generation. Raises DEADLINE_EXCEEDED after `timeout` seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        pause = 0.002
        while self.generation == since and not self.sealed:
            if end is not None and time.monotonic() >= end:
                raise TalkwireError("DEADLINE_EXCEEDED", f"it did not change within {timeout} s")
            time.sleep(pause)
            pause = min(2 * pause, 0.02)
        return self.generation

    def unlink(self) -> None:
        """As `SharedMemory.unlink`."""
        self.memory.unlink()

    def close(self) -> None:
        """As `SharedMemory.close`: arrays that were given stay valid."""
        self.memory.close()

    def __enter__(self) -> "SharedArray":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _buf(self) -> memoryview:
        if self.memory.closed:
            raise TalkwireError("CLOSED", "it was closed; open it again")
        return self.memory.buf

    def _word(self, at: int) -> int:
        # A native word of its own: read in one piece.
        return int(self._buf()[at : at + 4].cast("I")[0])

    def _set_word(self, at: int, value: int) -> None:
        self._buf()[at : at + 4].cast("I")[0] = value

    def _next(self) -> int:
        generation = (self.generation + 1) & 0xFFFFFFFF
        self._set_word(_AT_GENERATION, generation)
        for n in range(_WATCHERS):
            who, bell = struct.unpack_from("<QI", self._buf(), _AT_WATCHERS + 16 * n)
            if who:
                ring(who, bell)
        return generation


def _is_sealed(name: str) -> bool:
    try:
        with SharedArray.open(name, read_only=True) as array:
            return array.sealed
    except TalkwireError:
        return False


def _sealed(what: str) -> TalkwireError:
    return TalkwireError("PERMISSION_DENIED", f"{what} is sealed; open it with read_only=True")
