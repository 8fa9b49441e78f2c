"""What a service can do: a table from method names to functions, made once. The wire never reaches attributes."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from .errors import TalkwireError

MethodTable = Dict[str, "Method"]
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_UNLIMITED = 1 << 30


class Method:
    """One callable with what is known of its parameters."""

    __slots__ = ("name", "function", "streams", "wants_ctx", "least", "most", "names", "required", "any_name", "signature", "simple")

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.function = function
        self.streams = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
        self.signature = _signature(function)
        self.wants_ctx = False
        self.least, self.most = 0, _UNLIMITED
        self.names: "frozenset[str]" = frozenset()
        self.required: "frozenset[str]" = frozenset()
        self.any_name = self.signature is None
        if self.signature is not None:
            self._describe(self.signature)
        #: takes plain values and gives one: may be called without any context
        self.simple = not self.streams and not self.wants_ctx and not inspect.iscoroutinefunction(function)

    def _describe(self, signature: inspect.Signature) -> None:
        parameters = [p for p in signature.parameters.values() if p.name != "ctx"]
        self.wants_ctx = "ctx" in signature.parameters
        positional = [p for p in parameters if p.kind in _POSITIONAL]
        named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        self.least = sum(p.default is p.empty for p in positional)
        self.most = _UNLIMITED if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len(positional)
        self.names = frozenset(p.name for p in named)
        self.required = frozenset(p.name for p in named if p.default is p.empty)
        self.any_name = any(p.kind is p.VAR_KEYWORD for p in parameters)

    def bind(self, params: Any) -> Tuple[List[Any], Optional[Dict[str, Any]]]:
        """Positional and keyword arguments. Raises INVALID_INPUT, so that a TypeError is always the handler's own."""
        if type(params) is list:
            if self.least <= len(params) <= self.most:
                return params, None
            raise TalkwireError("INVALID_INPUT", f"{self.name} takes {self._arity()}, not {len(params)}")
        if type(params) is dict and (self.any_name or params.keys() <= self.names) and self.required <= params.keys():
            return [], params
        if self.least <= 1 <= self.most:
            return [params], None
        wanted = ", ".join(sorted(self.names)) or "nothing"
        raise TalkwireError("INVALID_INPUT", f"{self.name} takes {wanted} by name")

    def _arity(self) -> str:
        if self.most == _UNLIMITED:
            return f"at least {self.least} values"
        return f"{self.least} values" if self.least == self.most else f"{self.least} to {self.most} values"


def _signature(function: Callable[..., Any]) -> Optional[inspect.Signature]:
    try:
        return inspect.signature(function)
    except (ValueError, TypeError):
        return None  # some built-in functions have none


def method_table(handlers: Any) -> MethodTable:
    """From a dict, a module (its own public functions, or `__all__`) or an object (its public methods)."""
    if inspect.isroutine(handlers) or inspect.isclass(handlers) or isinstance(handlers, str):
        raise TypeError("handlers are a dict of functions, a module or an object with public methods, such as {'add': add}")
    if isinstance(handlers, Mapping):
        found = dict(handlers)
    elif isinstance(handlers, ModuleType):
        found = _of_module(handlers)
    else:
        found = _of_object(handlers)
    for name, function in found.items():
        if not callable(function):
            raise TypeError(f"the handler {name!r} is no function")
    return {_checked(name): Method(name, function) for name, function in found.items()}


def _checked(name: Any) -> str:
    if not isinstance(name, str) or not name or name.startswith(("rpc.", "$/", "#")):
        raise ValueError(f"not a method name: {name!r}")
    return name


def _of_module(module: ModuleType) -> Dict[str, Any]:
    exported = getattr(module, "__all__", None)
    if exported is not None:
        return {name: getattr(module, name) for name in exported if callable(getattr(module, name))}
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and not name.startswith("_") and value.__module__ == module.__name__
    }


def _of_object(target: Any) -> Dict[str, Any]:
    names = [name for name in dir(type(target)) if not name.startswith("_")]
    names += [name for name in getattr(target, "__dict__", {}) if not name.startswith("_")]
    return {name: getattr(target, name) for name in names if inspect.isroutine(getattr(target, name))}


# -- rpc.discover

_SCHEMA_TYPES = {int: "integer", float: "number", str: "string", bool: "boolean", list: "array", dict: "object"}


def _schema(annotation: Any) -> Dict[str, str]:
    kind = _SCHEMA_TYPES.get(annotation) or _SCHEMA_TYPES.get(getattr(annotation, "__origin__", None))  # type: ignore[arg-type]
    if kind is None and isinstance(annotation, str):
        kind = next((text for type_, text in _SCHEMA_TYPES.items() if type_.__name__ == annotation), None)
    return {"type": kind} if kind else {}


def _describe_method(method: Method) -> Dict[str, Any]:
    parameters = method.signature.parameters.values() if method.signature else ()
    described: Dict[str, Any] = {
        "name": method.name,
        "params": [
            {"name": p.name, "required": p.default is p.empty, "schema": _schema(p.annotation)}
            for p in parameters
            if p.name != "ctx" and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        ],
        "result": {"name": "result", "schema": _schema(method.signature.return_annotation) if method.signature else {}},
        "paramStructure": "either",
    }
    text = inspect.getdoc(method.function)
    if text:
        described["summary"] = text.partition("\n")[0]
        described["description"] = text
    if method.streams:
        described["x-stream"] = True
    return described


def openrpc(contract: Optional[str], methods: MethodTable) -> Dict[str, Any]:
    """The OpenRPC document of a service."""
    title, _, version = (contract or "service").partition("/")
    return {
        "openrpc": "1.3.2",
        "info": {"title": title, "version": version or "0"},
        "methods": [_describe_method(method) for method in methods.values()],
    }
