"""`talkwire serve file.py`."""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import os
import re
import signal
import sys
import threading
from typing import Any, List, Optional

from .. import service as services
from ..methods import method_table
from ..transports.stdio import adopt_parent_fd
from .authkey import read_authkey
from .output import UsageError, note, to_line

_DRAIN = 5.0  # seconds that calls in flight get to finish


def run(arguments: argparse.Namespace) -> int:
    has_parent = adopt_parent_fd()
    ending = _Ending()
    authkey = read_authkey(arguments.authkey_file)
    module = _load(arguments.file)
    handlers = _choose(module, arguments.file, arguments.export)
    wish = arguments.name or os.environ.get("TALKWIRE_START")
    listen: Optional[List[str]] = arguments.listen or (["stdio:"] if has_parent else None)
    service = services.serve(
        wish or _name_of(module.__name__), handlers, listen=listen, authkey=authkey, insecure=arguments.insecure,
        announce=wish is not None and "stdio:" not in (listen or ()),
    )  # fmt: skip
    try:
        ending.watch_over(service)
        _tell(service, arguments.json)
        service.wait()
    finally:
        service.close(_DRAIN)
    return 0


def _name_of(module: str) -> str:
    """A service name from a file's: with "-" for what a name cannot hold."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", module).lstrip("._-")[:64] or "service"


def _tell(service: services.Service, in_json: bool) -> None:
    if in_json:
        print(to_line({"name": service.name, "addresses": service.addresses, "pid": os.getpid()}), flush=True)
        return
    for address in service.addresses:
        if address != "stdio:":
            note(f"{service.name} serves {address}")


class _Ending:
    """Ctrl-C and SIGTERM: the first lets calls in flight finish, the second ends at once."""

    def __init__(self) -> None:
        self._service: Optional[services.Service] = None
        self._asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)

    def watch_over(self, service: services.Service) -> None:
        self._service = service
        if self._asked:
            self._close(service)

    def _stop(self, number: int, frame: Any) -> None:
        if self._asked:
            os._exit(128 + number)
        self._asked = True
        if self._service is not None:
            self._close(self._service)

    def _close(self, service: services.Service) -> None:
        # Not here: a signal handler runs inside whatever the main thread holds at the moment.
        threading.Thread(target=service.close, args=(_DRAIN,), daemon=True).start()


def _load(file: str) -> Any:
    """Imports a file as a module named after it."""
    name = os.path.splitext(os.path.basename(file))[0]
    specification = importlib.util.spec_from_file_location(name, file)
    if specification is None or specification.loader is None or not os.path.isfile(file):
        raise UsageError(f"not a Python file: {file}")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    sys.path.insert(0, os.path.dirname(os.path.abspath(file)))
    specification.loader.exec_module(module)
    return module


def _choose(module: Any, file: str, export: Optional[str]) -> Any:
    """The handlers. Raises UsageError if nothing can be called."""
    if export is None:
        if not method_table(module):
            raise UsageError(f"{file} has no public functions; __all__ or --export says what to serve")
        return module
    value = vars(module).get(export)
    if export.startswith("_") or value is None or inspect.isclass(value):
        public = ", ".join(name for name, each in vars(module).items() if not name.startswith("_") and _servable(each))
        raise UsageError(f"{file} has nothing to serve named {export}; it has {public or 'nothing'}")
    if inspect.isroutine(value):
        return {export: value}
    if not _servable(value):
        raise UsageError(f"{export} in {file} has no public functions")
    return value


def _servable(value: Any) -> bool:
    if inspect.isroutine(value):
        return True
    if isinstance(value, dict):
        return bool(value) and all(map(callable, value.values()))
    return type(value).__module__ != "builtins" and bool(method_table(value))
