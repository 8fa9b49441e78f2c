"""Functions and objects passed by reference (spec/wire.md § 5)."""

from __future__ import annotations

import threading
import weakref
from typing import Any, Callable, Dict, List, Optional, Tuple

from .errors import TalkwireError
from .methods import Method, MethodTable, method_table


class ByReference:
    """Marks an object: the peer gets a proxy with its public methods instead of a copy."""

    def __init__(self, target: Any) -> None:
        self.target = target


def ref(target: Any) -> ByReference:
    """`ref(obj)` as an argument or result: the peer calls the object's methods here."""
    return ByReference(target)


class Reference:
    """A function or object of the peer. Calling it calls the peer; `close()`, `with` or GC gives it back."""

    def __init__(self, call: Callable[..., Any], release: Callable[[int, int], None], number: int, methods: Any) -> None:
        self._call = call
        self._release = release
        self._number = number
        self._count = 0
        self._methods = None if methods is None else frozenset(methods)

    def __call__(self, *args: Any) -> Any:
        return self._invoke(f"#{self._number}", args)

    def _invoke(self, method: str, args: Tuple[Any, ...]) -> Any:
        if not self._count:
            raise TalkwireError("METHOD_NOT_FOUND", "this reference was given back")
        return self._call(method, list(args))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        methods = self.__dict__.get("_methods")
        if methods is None or name not in methods:
            raise AttributeError(name)
        return lambda *args: self._invoke(f"#{self._number}.{name}", args)

    def close(self) -> None:
        """Gives the reference back; calls fail afterwards."""
        count, self._count = self._count, 0
        if count:
            self._release(self._number, count)

    def __enter__(self) -> "Reference":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if self.__dict__.get("_count"):
            self.close()


class _Exported:
    __slots__ = ("target", "methods", "names", "count")

    def __init__(self, target: Any, methods: MethodTable, names: Optional[List[str]]) -> None:
        self.target, self.methods, self.names, self.count = target, methods, names, 0


class References:
    """Both directions of one connection. Thread-safe."""

    def __init__(self, limit: int, make: Callable[[int, Any], Reference]) -> None:
        self._limit = limit
        self._make = make
        self._lock = threading.RLock()  # reentrant: a garbage collection inside may run __del__
        self._exported: Dict[int, _Exported] = {}
        self._numbers: Dict[int, int] = {}  # id(target) -> number
        self._last = 0
        self._imported: Dict[int, "weakref.ref[Reference]"] = {}

    def export(self, value: Any) -> Optional[Dict[str, Any]]:
        """The JSON for a callable, `ref(…)` or a proxy going home; None if `value` is none of these."""
        if isinstance(value, Reference) and self._is_ours(value):
            return {"$own": value._number}
        by_reference = isinstance(value, ByReference)
        if not by_reference and (not callable(value) or isinstance(value, type)):
            return None
        target = value.target if by_reference else value
        with self._lock:
            number = self._numbers.get(id(target)) or self._add(target, by_reference)
            entry = self._exported[number]
            entry.count += 1
        return {"$ref": [number] if entry.names is None else [number, entry.names]}

    def _is_ours(self, proxy: Reference) -> bool:
        held = self._imported.get(proxy._number)
        return held is not None and held() is proxy

    def _add(self, target: Any, by_reference: bool) -> int:
        if len(self._exported) >= self._limit:
            raise TalkwireError("LIMIT_EXCEEDED", f"more than {self._limit} references on one connection")
        methods = method_table(target) if by_reference else {"": Method("function", target)}
        self._last += 1
        self._exported[self._last] = _Exported(target, methods, list(methods) if by_reference else None)
        self._numbers[id(target)] = self._last
        return self._last

    def find(self, method: str) -> Method:
        """The method behind `#n` or `#n.name`. Raises METHOD_NOT_FOUND."""
        digits, _, name = method[1:].partition(".")
        entry = self._exported.get(int(digits)) if digits.isascii() and digits.isdigit() and len(digits) < 16 else None
        found = entry.methods.get(name) if entry else None
        if found is None:
            raise TalkwireError("METHOD_NOT_FOUND", "no such reference, or it was given back")
        return found

    def home(self, number: int) -> Any:
        """Our own object that came back. Raises INVALID_MESSAGE."""
        entry = self._exported.get(number)
        if entry is None:
            raise TalkwireError("INVALID_MESSAGE", "a reference came home that is not ours")
        return entry.target

    def released(self, number: int, count: int) -> None:
        """The peer gave `count` back."""
        with self._lock:
            entry = self._exported.get(number)
            if entry is None:
                return
            entry.count -= count
            if entry.count <= 0:
                del self._exported[number]
                self._numbers.pop(id(entry.target), None)

    def arrived(self, number: int, methods: Optional[List[str]]) -> Reference:
        """The proxy for a `$ref`. Raises LIMIT_EXCEEDED."""
        with self._lock:
            held = self._imported.get(number)
            proxy = held() if held is not None else None
            if proxy is None:
                if len(self._imported) >= self._limit:
                    self._forget_dead()
                proxy = self._make(number, methods)
                self._imported[number] = weakref.ref(proxy)
            proxy._count += 1
            return proxy

    def _forget_dead(self) -> None:
        self._imported = {number: held for number, held in self._imported.items() if held() is not None}
        if len(self._imported) >= self._limit:
            raise TalkwireError("LIMIT_EXCEEDED", f"more than {self._limit} references on one connection")

    def clear(self) -> None:
        """The connection has ended: forget all."""
        with self._lock:
            self._exported.clear()
            self._numbers.clear()
            self._imported.clear()


def read_release(params: Any) -> List[Tuple[int, int]]:
    """Pairs from the params of `$/release`; what is malformed is left out."""
    refs = params.get("refs") if isinstance(params, dict) else None
    if not isinstance(refs, list):
        return []
    return [
        (pair[0], pair[1])
        for pair in refs
        if isinstance(pair, list) and len(pair) == 2 and type(pair[0]) is int and type(pair[1]) is int and pair[1] > 0
    ]
