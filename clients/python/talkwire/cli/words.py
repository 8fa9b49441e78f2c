"""Arguments as they are typed (docs/cli.md, "Arguments")."""

from __future__ import annotations

import json
import re
import sys
from typing import Any, Dict, Iterator, List, Optional, Tuple

from .output import UsageError

STDIN = "-"
_NAMED = re.compile(r"([A-Za-z_$][\w$]*)=(.*)\Z", re.ASCII | re.DOTALL)


def read_word(word: str) -> Any:
    """JSON, or else the word as it is. Raises UsageError for broken JSON."""
    try:
        return json.loads(word)
    except ValueError as error:
        # Whoever begins so means JSON; taking it for a word would hide a missing bracket.
        if word[:1] in ("[", "{", '"'):
            raise UsageError(f"{word[:60]} is no JSON: {error}; quote it for the shell") from error
        return word


def read_arguments(words: List[str]) -> Tuple[List[Any], Dict[str, Any]]:
    """Positional and named arguments. Raises UsageError."""
    if sum(word == STDIN or word.endswith("=" + STDIN) for word in words) > 1:
        raise UsageError("only one argument can come from stdin")
    positional: List[Any] = []
    named: Dict[str, Any] = {}
    for word in words:
        found = _NAMED.match(word)
        if found is None:
            positional.append(_read(word))
        elif found[1] in named:
            raise UsageError(f"{found[1]}= is given twice")
        else:
            named[found[1]] = _read(found[2])
    if positional and named:
        raise UsageError("arguments go by position or as name=value, not both; write a word with \"=\" as JSON: '\"a=b\"'")
    return positional, named


def _read(word: str) -> Any:
    if word != STDIN:
        return read_word(word)
    try:
        return json.load(sys.stdin)
    except ValueError as error:
        raise UsageError(f"stdin is no JSON: {error}") from error


def elements(words: List[str]) -> Iterator[Any]:
    """The elements of an input stream; `-` reads one from each line of stdin."""
    for word in words:
        if word == STDIN:
            yield from (read_word(line.strip()) for line in sys.stdin if line.strip())
        else:
            yield read_word(word)


def read_pairs(pairs: List[str]) -> Dict[str, str]:
    """`key=value` pairs of text. Raises UsageError."""
    for pair in pairs:
        if "=" not in pair[1:]:
            raise UsageError(f"--metadata takes key=value, not {pair!r}")
    return dict((pair[: pair.index("=", 1)], pair[pair.index("=", 1) + 1 :]) for pair in pairs)


def read_timeout(text: Optional[str]) -> Optional[float]:
    """Milliseconds as seconds. Raises UsageError."""
    if text is None:
        return None
    try:
        milliseconds = float(text)
    except ValueError:
        milliseconds = 0.0
    if not 0 < milliseconds < float("inf"):
        raise UsageError(f"--timeout takes a positive number of milliseconds, not {text!r}")
    return milliseconds / 1000
