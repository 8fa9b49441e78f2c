"""Keys and values with revisions."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence

from ..remote import Stream
from .base import Base
from .values import milliseconds, read, written

#: how many entries one question lists
PAGE = 500


class Value(NamedTuple):
    key: str
    value: Any
    #: opaque: equal, or not; None: the key is gone
    revision: Optional[int]


class State:
    def __init__(self, base: Base, name: str, ttl: Optional[float]) -> None:
        self._base = base
        self._client = base.client
        self._prefix = f"{name}."
        self._ttl = ttl

    def get(self, key: str) -> Optional[Value]:
        found = self._client.call("get", {"key": self._prefix + key}, idempotent=True)
        return None if found is None else Value(key, read(found), found["revision"])

    def set(
        self, key: str, value: Any, revision: Optional[int] = None, absent: bool = False, ttl: Optional[float] = None
    ) -> Optional[int]:
        """The new revision. With `revision`: only if it is the value's; with `absent`: only if there is none; else None, and
        nothing is changed. `ttl`: seconds until it is gone."""
        told = self._client.call("set", self._setting(key, value, revision, absent, ttl))
        return None if told.get("conflict") else int(told["revision"])

    def delete(self, key: str, revision: Optional[int] = None) -> bool:
        """False: there was none, or not at this revision."""
        wish: Dict[str, Any] = {"key": self._prefix + key}
        if revision is not None:
            wish["revision"] = revision
        return bool(self._client.call("delete", wish)["done"])

    def update(self, key: str, change: Callable[[Any], Any], ttl: Optional[float] = None) -> Any:
        """`change` gets the value or None, and returns the next one, or None to delete; again as often as somebody else was
        faster. Returns what is there then. `ttl`: seconds until it is gone."""
        while True:
            now = self.get(key)
            after = change(None if now is None else now.value)
            if after is None:
                if now is None or self.delete(key, now.revision):
                    return None
            elif now is None:
                if self.set(key, after, absent=True, ttl=ttl) is not None:
                    return after
            elif self.set(key, after, revision=now.revision, ttl=ttl) is not None:
                return after

    def batch(self, changes: Sequence[Mapping[str, Any]]) -> Optional[List[int]]:
        """All of them or, None, none: one of the revisions was another. A change is `{"set": key, "value": …}`, with `revision`
        or `absent`, and `ttl`, or `{"delete": key}`, with `revision`. Returns the new revisions."""
        told = self._client.call("batch", {"changes": [self._change(each) for each in changes]})
        return None if told.get("conflict") else list(told["revisions"])

    def entries(self, prefix: str = "") -> Iterator[Value]:
        """What begins so, in the order of the keys."""
        after: Optional[str] = None
        while True:
            wish: Dict[str, Any] = {"prefix": self._prefix + prefix, "limit": PAGE}
            if after is not None:
                wish["after"] = after
            found = self._client.call("list", wish, idempotent=True)
            for each in found:
                yield self._value(each)
            if len(found) < PAGE:
                return
            after = found[-1]["key"]

    def watch(self, prefix: str = "") -> "Watch":
        """What is there, then what changes. Somebody slow gets each key's last value, and not all between."""
        return Watch(self, self._client.stream("watch", {"prefix": self._prefix + prefix}))

    def _change(self, wish: Mapping[str, Any]) -> Dict[str, Any]:
        if "delete" not in wish:
            return self._setting(wish["set"], wish["value"], wish.get("revision"), wish.get("absent", False), wish.get("ttl"))
        change: Dict[str, Any] = {"key": self._prefix + wish["delete"], "delete": True}
        if wish.get("revision") is not None:
            change["revision"] = wish["revision"]
        return change

    def _setting(
        self, key: str, value: Any, revision: Optional[int], absent: bool, ttl: Optional[float]
    ) -> Dict[str, Any]:
        change: Dict[str, Any] = {"key": self._prefix + key, **written(value)}
        lasts = self._ttl if ttl is None else ttl
        if lasts is not None:
            change["ttl"] = milliseconds("ttl", lasts)
        if absent or revision is not None:
            change["revision"] = 0 if absent else revision
        return change

    def _value(self, told: Dict[str, Any]) -> Value:
        key = told["key"][len(self._prefix) :]
        return Value(key, None, None) if told.get("gone") else Value(key, read(told), told["revision"])


class Watch:
    """Iterates over changes. Ends with its connection (TalkwireError), or when it is closed; or use `with`."""

    def __init__(self, state: State, stream: Stream) -> None:
        self._state = state
        self._stream = stream
        state._base.keep(self)

    def __iter__(self) -> Iterator[Value]:
        return self

    def __next__(self) -> Value:
        told = next(self._stream)
        while "ready" in told:
            told = next(self._stream)
        return self._state._value(told)

    def close(self) -> None:
        self._state._base.forget(self)
        self._stream.close()

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
