"""What goes to stdout and stderr (docs/cli.md, "What is printed")."""

from __future__ import annotations

import json
import math
import re
import sys
from datetime import date
from typing import Any, List, Tuple, Union

from ..errors import TalkwireError

_WIDTH = 100
# What a terminal would obey, a reader be misled by, or UTF-8 has no bytes for.
_UNSAFE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class UsageError(Exception):
    """The command line itself is wrong."""


def _quote(text: str) -> str:
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


#: a finished text, or the opening of a container with its members and their keys
_Node = Union[str, Tuple[str, List[Tuple[str, Any]]]]


def _node(value: Any) -> _Node:
    if isinstance(value, str):
        return _quote(value)
    if value is None or isinstance(value, (bool, int)):
        return json.dumps(value)
    if isinstance(value, float):
        return json.dumps(value) if math.isfinite(value) else '"NaN"' if math.isnan(value) else f'"{"-" * (value < 0)}Infinity"'
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return "{", [(_quote(key), member) for key, member in value.items()]
        return "[", [("", list(pair)) for pair in value.items()]
    return _node_of_object(value)


def _node_of_object(value: Any) -> _Node:
    if isinstance(value, date):
        return _quote(value.isoformat())
    if hasattr(value, "tolist"):
        return _node(value.tolist())
    if isinstance(value, (list, tuple, set, frozenset, bytes, bytearray)):
        return "[", [("", member) for member in value]
    return '"[function]"'


def to_line(value: Any) -> str:
    """One line of JSON."""
    node = _node(value)
    if isinstance(node, str):
        return node
    opening, members = node
    inner = ",".join(f"{key}:{to_line(member)}" if key else to_line(member) for key, member in members)
    return f"{{{inner}}}" if opening == "{" else f"[{inner}]"


def to_text(value: Any, indent: str = "") -> str:
    """JSON to be read: what fits stands on one line, and so does a list of plain values."""
    node = _node(value)
    if isinstance(node, str):
        return node
    opening, pairs = node
    inner = indent + "  "
    members = [f"{key}: {to_text(member, inner)}" if key else to_text(member, inner) for key, member in pairs]
    if not members:
        return "{}" if opening == "{" else "[]"
    line = "{ " + ", ".join(members) + " }" if opening == "{" else "[" + ", ".join(members) + "]"
    plain = opening == "[" and all(isinstance(_node(member), str) for _, member in pairs)
    if plain or (len(indent) + len(line) <= _WIDTH and "\n" not in line):
        return line
    lines = ",\n".join(inner + member for member in members)
    return f"{opening}\n{lines}\n{indent}" + ("}" if opening == "{" else "]")


def show(value: Any, one_line: bool) -> None:
    """A value on stdout, at once."""
    print(to_line(value) if one_line else to_text(value), flush=True)


def note(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr, flush=True)


def _clean(text: str) -> str:
    """Text from elsewhere, for the eyes of a person: one line that moves no cursor."""
    return _quote(text)[1:-1].replace('\\"', '"').replace("\\\\", "\\")


def print_error(error: Exception, one_line: bool) -> None:
    """Code, text and outcome on stderr, then the details; or all of it as one line of JSON."""
    if not isinstance(error, TalkwireError):
        return note(to_line({"error": {"code": "USAGE", "message": str(error)}}) if one_line else f"talkwire: {error}")
    if one_line:
        told = {"code": error.code, "message": error.text, "outcome": error.outcome, "declared": error.declared}
        return note(to_line({"error": told if error.details is None else {**told, "details": error.details}}))
    note(f"[{_clean(error.code)}] {_clean(error.text)} (outcome: {error.outcome})")
    if error.details is not None:
        note(f"details: {to_text(error.details)}")
