"""Values as JSON text (spec/wire.md § 5).

Ordinary data goes straight through the C encoder and decoder of `json`. Only
what they would get wrong (tags, deep or forbidden structure) is walked in Python.
"""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Dict, List, Optional, Tuple

from .arrays import from_view, is_array, to_bytes_view
from .errors import TalkwireError
from .framing import MAX_ATTACHMENTS

SAFE = 2**53 - 1
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


class Map(dict):  # type: ignore[type-arg]
    """A dict that travels as a Map though all its keys are strings. Such an arriving Map is one."""


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)
scan: Callable[[str, int], Tuple[Any, int]] = _decoder.scan_once  # type: ignore[attr-defined]


def _decode(text: str) -> Any:
    if text[:1] == "{" or text[:1] == "[":
        # JSONDecoder.decode() would run two regular expressions to find white space.
        value, end = scan(text, 0)
        if end == len(text):
            return value
    return _decoder.decode(text)


# check_circular is off: a cycle has been refused as too deep before.
_encode: Callable[[Any], str] = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
).encode


def dumps(value: Any) -> str:
    if type(value) is int:
        return str(value)  # encode() builds a whole encoder first
    return _encode(value)



# -- from the wire


def parse(payload: Any, max_depth: int = 64) -> Tuple[Any, bool]:
    """(JSON value, must be walked). Raises INVALID_MESSAGE, or TOO_DEEP beyond what `json` can nest."""
    try:
        text = str(payload, "utf-8")
        message = _decode(text)
    except RecursionError:
        raise TalkwireError("TOO_DEEP", "the message is nested too deep") from None
    except (ValueError, StopIteration):
        raise TalkwireError("INVALID_MESSAGE", "the message is not valid UTF-8 JSON") from None
    return message, suspicious(text, max_depth)


def suspicious(text: str, max_depth: int = 64) -> bool:
    """May this text hold a tag, a forbidden key or too much depth? Escapes could hide the first two."""
    return (
        '"$' in text
        or "__proto__" in text
        or '"constructor"' in text
        or "\\u00" in text
        or text.count("[") + text.count("{") > max_depth
    )


class Reader:
    """Turns parsed JSON into Python values: checks depth and keys, and resolves tags if `tags`."""

    def __init__(
        self,
        max_depth: int,
        tags: bool,
        attachments: Optional[List[memoryview]] = None,
        reference: Optional[Callable[[int, Optional[List[str]]], Any]] = None,
        own: Optional[Callable[[int], Any]] = None,
        descriptor: Optional[Callable[[int], Any]] = None,
    ) -> None:
        self._descriptor_of = descriptor
        self._max_depth = max_depth
        self._tags = tags
        self._attachments = attachments or []
        self._unused = set(range(len(self._attachments)))
        self._reference = reference
        self._own = own

    def read(self, value: Any, depth: int = 1) -> Any:
        """The value. Raises INVALID_MESSAGE, TOO_DEEP, FORBIDDEN_KEY."""
        kind = type(value)
        if depth >= self._max_depth and (kind is list or kind is dict):
            return self._at_limit(value, depth)
        if kind is list:
            if _flat(value):
                return value
            return [self.read(entry, depth + 1) for entry in value]
        if kind is dict:
            return self._object(value, depth)
        return value

    def _at_limit(self, value: Any, depth: int) -> Any:
        """Only a tag that stands for a scalar may be as deep as a scalar. An empty array counts like a full one."""
        if depth == self._max_depth and self._tags and type(value) is dict and len(value) == 1:
            ((key, content),) = value.items()
            if key in _SCALAR_TAGS:
                return self._tag(key, content, depth)
        raise TalkwireError("TOO_DEEP", f"a value is nested deeper than {self._max_depth}")

    def finish(self) -> None:
        """Raises INVALID_MESSAGE unless every attachment was used."""
        if self._unused:
            raise TalkwireError("INVALID_MESSAGE", "an attachment is not used")

    def _object(self, value: Dict[str, Any], depth: int) -> Any:
        if self._tags and len(value) == 1:
            ((key, content),) = value.items()
            if key.startswith("$"):
                if key.startswith("$$"):
                    return {key[1:]: self.read(content, depth + 1)}
                return self._tag(key, content, depth)
        for key, content in value.items():
            if key == "__proto__":
                raise _forbidden(key)
            if type(content) is list or type(content) is dict:
                value[key] = content = self.read(content, depth + 1)
                # After decoding: a tagged date, say, is an object in JSON only.
                if key == "constructor" and isinstance(content, dict):
                    raise _forbidden(key)
        return value

    def _tag(self, key: str, content: Any, depth: int) -> Any:
        handler = _TAGS.get(key)
        if handler is None:
            raise TalkwireError("INVALID_MESSAGE", f"unknown tag {key!r}")
        try:
            return handler(self, content, depth)
        except (ValueError, TypeError, KeyError, OverflowError):
            raise TalkwireError("INVALID_MESSAGE", f"the tag {key!r} has a malformed value") from None

    def _number(self, content: Any, depth: int) -> float:
        return {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf, "-0": -0.0}[_checked(content, str)]

    def _descriptor(self, content: Any, depth: int) -> Any:
        if self._descriptor_of is None:
            raise ValueError
        return self._descriptor_of(_checked(content, int))

    def _undefined(self, content: Any, depth: int) -> None:
        if type(content) is not int or content != 0:
            raise ValueError

    def _bigint(self, content: Any, depth: int) -> int:
        digits = _checked(content, str)
        if not digits.isascii() or not digits[digits.startswith("-") :].isdigit():
            raise ValueError
        return int(digits)

    def _date(self, content: Any, depth: int) -> datetime:
        if type(content) is float and math.isfinite(content):
            return EPOCH + timedelta(milliseconds=content)
        milliseconds = _checked(content, int)
        return EPOCH + timedelta(seconds=milliseconds // 1000, milliseconds=milliseconds % 1000)

    def _map(self, content: Any, depth: int) -> Dict[Any, Any]:
        result: Dict[Any, Any] = {}
        for entry in _checked(content, list):
            key, value = _checked(entry, list)
            result[_hashable(self.read(key, depth + 1))] = self.read(value, depth + 1)
        # With other keys than strings it will travel as a Map again anyway.
        return Map(result) if all(type(key) is str for key in result) else result

    def _set(self, content: Any, depth: int) -> set:  # type: ignore[type-arg]
        return {_hashable(self.read(entry, depth + 1)) for entry in _checked(content, list)}

    def _bin(self, content: Any, depth: int) -> Any:
        index, dtype, shape = (_checked(content, list) + ["u1", None])[:3] if len(content) == 1 else _pad(content)
        if _checked(index, int) not in self._unused:
            raise ValueError
        self._unused.remove(index)
        return from_view(self._attachments[index], _checked(dtype, str), shape)

    def _ref(self, content: Any, depth: int) -> Any:
        number, *names = _checked(content, list)
        if len(names) > 1 or _checked(number, int) < 0 or self._reference is None:
            raise ValueError
        methods = [_checked(name, str) for name in _checked(names[0], list)] if names else None
        return self._reference(number, methods)

    def _home(self, content: Any, depth: int) -> Any:
        if self._own is None:
            raise ValueError
        return self._own(_checked(content, int))


_TAGS: Dict[str, Callable[[Reader, Any, int], Any]] = {
    "$number": Reader._number,
    "$undefined": Reader._undefined,
    "$bigint": Reader._bigint,
    "$date": Reader._date,
    "$map": Reader._map,
    "$set": Reader._set,
    "$bin": Reader._bin,
    "$ref": Reader._ref,
    "$own": Reader._home, "$fd": Reader._descriptor,
}


_SCALAR_TAGS = frozenset(_TAGS) - {"$map", "$set"}


def _forbidden(key: str) -> TalkwireError:
    return TalkwireError("FORBIDDEN_KEY", f"the key {key!r} is refused")


def _flat(values: Any) -> bool:
    kinds = set(map(type, values))
    return list not in kinds and dict not in kinds


def _checked(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError
    return value


def _pad(content: Any) -> Tuple[Any, Any, Any]:
    fields = _checked(content, list)
    if not 2 <= len(fields) <= 3:
        raise ValueError
    shape = fields[2] if len(fields) == 3 else None
    if shape is not None and any(type(n) is not int or n < 0 for n in _checked(shape, list)):
        raise ValueError
    return fields[0], fields[1], shape


def _hashable(value: Any) -> Any:
    """Arrays as keys and set elements become tuples; what cannot be hashed is refused (TypeError)."""
    if type(value) is list:
        return tuple(_hashable(entry) for entry in value)
    hash(value)
    return value


# -- to the wire


class Writer:
    """Encodes the values of one message. `plain`: for a peer that never said hello."""

    def __init__(
        self,
        max_depth: int,
        plain: bool,
        attach: bool = False,
        export: Optional[Callable[[Any], Optional[Dict[str, Any]]]] = None,
    ) -> None:
        self.attachments: List[memoryview] = []
        self._max_depth = max_depth
        self._plain = plain
        self._attach = attach
        self._export = export

    def text(self, value: Any) -> str:
        """JSON text. Raises TypeError for what cannot travel, TOO_DEEP, FORBIDDEN_KEY."""
        return dumps(value if ordinary(value, self._max_depth) else self.tree(value, 1))

    def tree(self, value: Any, depth: int) -> Any:
        """`value` in terms of JSON."""
        if depth >= self._max_depth and isinstance(value, (dict, list, tuple, set, frozenset)):
            raise TalkwireError("TOO_DEEP", f"a value is nested deeper than {self._max_depth}, or contains itself")
        if value is None or isinstance(value, (str, bool)):
            return value
        if isinstance(value, int):
            return int(value) if -SAFE <= value <= SAFE else self._tagged("$bigint", str(int(value)), str(int(value)))
        if isinstance(value, float):
            return self._float(float(value))
        if isinstance(value, dict):
            return self._dict(value, depth)
        if isinstance(value, (list, tuple)):
            return [self.tree(entry, depth + 1) for entry in value]
        if isinstance(value, (set, frozenset)):
            entries = [self.tree(entry, depth + 1) for entry in value]
            return self._tagged("$set", entries, entries)
        if isinstance(value, datetime):
            return self._datetime(value)
        if is_array(value):
            return self._array(value)
        return self._other(value, depth)

    def _tagged(self, tag: str, content: Any, plain: Any) -> Any:
        return plain if self._plain else {tag: content}

    def _float(self, value: float) -> Any:
        if value == 0.0:
            return self._tagged("$number", "-0", 0) if math.copysign(1.0, value) < 0 else value
        if value - value == 0.0:
            return value
        name = "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
        return self._tagged("$number", name, None)

    def _dict(self, value: Dict[Any, Any], depth: int) -> Any:
        if isinstance(value, Map) or any(type(key) is not str for key in value):
            return self._map(value, depth)
        result = {}
        for key, content in value.items():
            if key == "__proto__" or (key == "constructor" and isinstance(content, dict)):
                raise _forbidden(key)
            result[key] = self.tree(content, depth + 1)
        if len(result) == 1 and not self._plain and key.startswith("$"):
            return {"$" + key: result[key]}
        return result

    def _map(self, value: Dict[Any, Any], depth: int) -> Any:
        if self._plain:
            return {str(key): self.tree(content, depth + 1) for key, content in value.items()}
        return {"$map": [[self.tree(k, depth + 1), self.tree(v, depth + 1)] for k, v in value.items()]}

    def _datetime(self, value: datetime) -> Any:
        if value.tzinfo is None:
            raise TypeError("a datetime without tzinfo cannot be sent; say datetime.now(timezone.utc)")
        whole, rest = divmod((value - EPOCH) // _MICROSECOND, 1000)
        text = value.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return self._tagged("$date", whole + rest / 1000 if rest else whole, text)

    def _array(self, value: Any) -> Any:
        data, dtype, shape = to_bytes_view(value)
        if self._plain:
            import base64

            return base64.b64encode(data).decode("ascii")
        if not self._attach:
            raise TalkwireError("UNSUPPORTED", "this connection carries text only, so no arrays; take the length framing")
        if len(self.attachments) >= MAX_ATTACHMENTS:
            raise TypeError(f"more than {MAX_ATTACHMENTS} arrays in one message")
        self.attachments.append(data)
        index = len(self.attachments) - 1
        if shape is not None:
            return {"$bin": [index, dtype, shape]}
        return {"$bin": [index] if dtype == "u1" else [index, dtype]}

    def _other(self, value: Any, depth: int) -> Any:
        item = getattr(value, "item", None)
        if item is not None and type(value).__module__ == "numpy":
            return self.tree(item(), depth)
        if not self._plain and self._export is not None:
            reference = self._export(value)
            if reference is not None:
                return reference
        raise TypeError(f"a {type(value).__name__} cannot be sent" + (" to a plain JSON-RPC peer" if self._plain else ""))


def ordinary(value: Any, depth: int) -> bool:
    """Does `json.dumps` alone give exactly the wire form? `depth`: levels that are left."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return depth > 0
    if kind is int:
        return -SAFE <= value <= SAFE and depth > 0
    if kind is float:
        return value - value == 0.0 and (value != 0.0 or math.copysign(1.0, value) > 0) and depth > 0
    if kind is list or kind is tuple:
        return _ordinary_all(value, depth)
    if kind is dict:
        return _ordinary_dict(value, depth)
    return False


_TRIVIAL = {str, bool, type(None)}


def _ordinary_all(values: Any, depth: int) -> bool:
    """As `ordinary` for many; homogeneous ones are checked at the speed of C."""
    if depth <= 1:
        return False
    if len(values) > 8:
        kinds = set(map(type, values))
        if kinds <= _TRIVIAL:
            return True
        if kinds == {int}:
            return bool(max(values) <= SAFE and min(values) >= -SAFE)
        if kinds == {float} and math.isfinite(sum(values)) and 0.0 not in values:
            return True
    for value in values:
        if not ordinary(value, depth - 1):
            return False
    return True


def _ordinary_dict(value: Dict[Any, Any], depth: int) -> bool:
    for key in value:
        if type(key) is not str or key == "__proto__" or key == "constructor":
            return False
    if len(value) == 1 and key[:1] == "$":
        return False
    return _ordinary_all(list(value.values()), depth)


def to_utf8(text: str) -> bytes:
    """UTF-8; a lone surrogate, which UTF-8 cannot hold, makes the whole text ASCII with escapes."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return _escape_surrogates(text).encode("utf-8")


def _escape_surrogates(text: str) -> str:
    # Surrogates occur inside JSON strings only, so each can be escaped where it stands.
    return "".join(f"\\u{ord(c):04x}" if 0xD800 <= ord(c) <= 0xDFFF else c for c in text)


def quote(text: str) -> str:
    """One JSON string."""
    return dumps(text)
