"""Arrays in attachments: NumPy where it is there, `memoryview` and `bytes` where it is not."""

from __future__ import annotations

import sys
from typing import Any, List, Optional, Tuple

from .errors import TalkwireError

#: wire dtype -> (struct format, bytes per element)
FORMATS = {
    "u1": ("B", 1), "i1": ("b", 1), "u2": ("H", 2), "i2": ("h", 2), "u4": ("I", 4), "i4": ("i", 4),
    "u8": ("Q", 8), "i8": ("q", 8), "f4": ("f", 4), "f8": ("d", 8), "c1": ("B", 1),
}  # fmt: skip

_KINDS = {"b": "i", "h": "i", "i": "i", "l": "i", "q": "i", "B": "u", "H": "u", "I": "u", "L": "u", "Q": "u",
          "f": "f", "d": "f", "c": "u"}  # fmt: skip

_numpy: Any = None  # None: not looked for; False: not importable


def numpy_module() -> Any:
    """NumPy or False. Imports it (blocking, once) only when an array has arrived."""
    global _numpy
    if _numpy is None:
        try:
            import numpy  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            _numpy = False
        else:
            _numpy = numpy
    return _numpy


def is_array(value: Any) -> bool:
    """Bytes-like, or a NumPy array. Never imports NumPy: without it nobody can hold such an array."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return True
    numpy = sys.modules.get("numpy")
    return (numpy is not None and isinstance(value, numpy.ndarray)) or type(value).__name__ == "array" and hasattr(
        value, "typecode"
    )


def to_bytes_view(value: Any) -> Tuple[memoryview, str, Optional[List[int]]]:
    """(bytes in wire order, dtype, shape or None). Copies only what is not contiguous or not little-endian.

    `bytes` and one-dimensional arrays have no shape; a `u1` NumPy array always
    has one, so that it does not arrive as `bytes`. Raises TypeError.
    """
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray):
        return _from_numpy(numpy, value)
    view = memoryview(value)
    if not view.c_contiguous:
        view = memoryview(view.tobytes()).cast(view.format or "B", view.shape)  # type: ignore[call-overload]
    code = (view.format or "B").lstrip("@=")
    kind = _KINDS.get(code)
    if kind is None or sys.byteorder != "little":
        raise TypeError(f"a buffer of format {view.format!r} cannot be sent")
    shape = list(view.shape or ()) if view.ndim != 1 else None
    return _flat(view), f"{kind}{view.itemsize}", shape


def _flat(view: memoryview) -> memoryview:
    # cast() refuses a shape with a zero in it
    return view.cast("B") if view.nbytes else memoryview(b"")


def _from_numpy(numpy: Any, value: Any) -> Tuple[memoryview, str, Optional[List[int]]]:
    dtype = f"{value.dtype.kind}{value.dtype.itemsize}"
    if dtype not in FORMATS or dtype == "c1":
        raise TypeError(f"a NumPy array of {value.dtype} cannot be sent; convert it, e.g. with .astype('f8')")
    packed = numpy.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<"))
    shape = list(value.shape) if value.ndim != 1 or dtype == "u1" else None
    return _flat(packed.reshape(-1).data), dtype, shape


def from_view(data: memoryview, dtype: str, shape: Optional[List[int]]) -> Any:
    """The array that arrived: a view of `data`, except `bytes` for `u1` without shape. Raises INVALID_MESSAGE."""
    known = FORMATS.get(dtype)
    if known is None:
        raise TalkwireError("INVALID_MESSAGE", f"unknown dtype {dtype!r}")
    code, width = known
    count, rest = divmod(data.nbytes, width)
    if rest or (shape is not None and _product(shape) != count):
        raise TalkwireError("INVALID_MESSAGE", "an array's shape does not fit its bytes")
    if dtype == "u1" and shape is None:
        return bytes(data)
    numpy = numpy_module()
    if numpy:
        flat = numpy.frombuffer(data, dtype="u1" if dtype == "c1" else "<" + dtype)
        return flat if shape is None else flat.reshape(shape)
    if sys.byteorder != "little" and width > 1:
        raise TalkwireError("INVALID_MESSAGE", "arrays need NumPy on a big-endian machine")
    if shape is None or 0 in shape:
        return data.cast(code)  # type: ignore[call-overload]
    return data.cast(code, shape)  # type: ignore[call-overload]


def _product(shape: List[int]) -> int:
    total = 1
    for length in shape:
        total *= length
    return total
