"""Changes of words that other processes change too: sequentially consistent, by address.

The standard library has none. libatomic has them as functions; it comes with GCC and many other packages.
"""

from __future__ import annotations

import ctypes
from typing import Any, Optional

from .errors import TalkwireError

_SEQ_CST = 5


class Atomics:
    """Words of 4 bytes, or 8 with `size=8`, unsigned; the address is a multiple of their size."""

    def __init__(self) -> None:
        try:
            library = ctypes.CDLL("libatomic.so.1")
        except OSError as error:
            raise TalkwireError(
                "MISSING_PACKAGE", "changing shared words needs libatomic.so.1; install libatomic1 (Debian) or libatomic (Fedora)"
            ) from error
        self._functions = {
            (name, bits): _function(library, name, bits) for name in ("load", "store", "fetch_add", "fetch_or", "compare_exchange") for bits in (4, 8)
        }
        self._fence = library.atomic_thread_fence
        self._fence.restype, self._fence.argtypes = None, [ctypes.c_int]

    def fence(self) -> None:
        """What was read or written before is done before what comes after, also of bytes that are not read in one step."""
        self._fence(_SEQ_CST)

    def load(self, address: int, size: int = 4) -> int:
        return int(self._functions["load", size](address, _SEQ_CST))

    def store(self, address: int, value: int, size: int = 4) -> None:
        self._functions["store", size](address, value, _SEQ_CST)

    def add(self, address: int, value: int, size: int = 4) -> int:
        """Returns what is there now."""
        return (int(self._functions["fetch_add", size](address, value, _SEQ_CST)) + value) & ((1 << 8 * size) - 1)

    def set_bits(self, address: int, bits: int) -> None:
        self._functions["fetch_or", 4](address, bits, _SEQ_CST)

    def swap(self, address: int, before: int, after: int, size: int = 4) -> bool:
        """True when `before` was there, and `after` is now."""
        expected = ctypes.c_uint32(before) if size == 4 else ctypes.c_uint64(before)
        return bool(self._functions["compare_exchange", size](address, ctypes.addressof(expected), after, _SEQ_CST, _SEQ_CST))


def _function(library: ctypes.CDLL, name: str, size: int) -> Any:
    word, address = (ctypes.c_uint32 if size == 4 else ctypes.c_uint64), ctypes.c_void_p
    function = getattr(library, f"__atomic_{name}_{size}")
    if name == "load":
        function.restype, function.argtypes = word, [address, ctypes.c_int]
    elif name == "compare_exchange":
        function.restype, function.argtypes = ctypes.c_bool, [address, address, word, ctypes.c_int, ctypes.c_int]
    else:
        function.restype, function.argtypes = (None if name == "store" else word), [address, word, ctypes.c_int]
    return function


_atomics: Optional[Atomics] = None


def atomics() -> Atomics:
    """Raises MISSING_PACKAGE."""
    global _atomics
    _atomics = _atomics or Atomics()
    return _atomics
