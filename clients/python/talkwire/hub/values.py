"""Values to what the hub takes by hand, and back: `data`, `text` or `bytes`."""

from __future__ import annotations

from typing import Any, Dict, Mapping


def written(value: Any) -> Dict[str, Any]:
    """Bytes go as they are, everything else as JSON."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"bytes": bytes(value)}
    return {"data": value}


def read(told: Mapping[str, Any]) -> Any:
    """JSON as its value, text and bytes as they are."""
    for kind in ("data", "text"):
        if kind in told:
            return told[kind]
    return bytes(told["bytes"])


def milliseconds(what: str, seconds: float, least: float = 0) -> float:
    if not isinstance(seconds, (int, float)) or not seconds >= least or seconds == float("inf"):
        raise TypeError(f"{what} is a number of seconds")
    return seconds * 1000
