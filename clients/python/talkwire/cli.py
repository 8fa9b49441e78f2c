"""`python -m talkwire …`: serve a file, call, list, describe, watch.

Exit codes: 0 ok, 1 the call failed, 2 wrong usage, 3 nothing found or no connection, 130 interrupted.
"""

from __future__ import annotations

import argparse
import base64
import importlib.util
import json
import os
import re
import sys
from datetime import datetime
from typing import Any, Dict, List, Optional, Tuple

from . import names
from .client import connect
from .errors import TalkwireError
from .service import serve

OK, FAILED, USAGE, NOT_FOUND, INTERRUPTED = 0, 1, 2, 3, 130
_NO_CONNECTION = frozenset(("PEER_NOT_FOUND", "START_FAILED", "CONNECTION_LOST", "CONTRACT_MISMATCH", "UNAUTHENTICATED"))


def main(argv: Optional[List[str]] = None) -> int:
    """The exit code; argparse itself ends with 2 for wrong usage."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except KeyboardInterrupt:
        return INTERRUPTED
    except TalkwireError as error:
        print(error, file=sys.stderr)
        return USAGE if error.code == "INVALID_ADDRESS" else NOT_FOUND if error.code in _NO_CONNECTION else FAILED
    except (ValueError, FileNotFoundError) as error:
        print(f"talkwire: {error}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:
        sys.stdout = None  # type: ignore[assignment]  # the reader of our output has gone: nothing to flush
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="talkwire", description="Call functions in other processes.")
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser("serve", help="serve the public functions of a Python file")
    command.add_argument("file")
    command.add_argument("--name", help="service or contract name; default: the file's name")
    command.add_argument("--listen", action="append", metavar="ADDRESS")
    command.set_defaults(run=_serve)
    command = commands.add_parser("call", help="call a method")
    command.add_argument("target", help="a name or an address")
    command.add_argument("method")
    command.add_argument("args", nargs="*", help="JSON, a word, name=value, or - for JSON from stdin")
    command.add_argument("--timeout", type=float, metavar="SECONDS")
    _json_option(command)
    command.set_defaults(run=_call)
    command = commands.add_parser("ls", help="list the services of this machine")
    _json_option(command)
    command.set_defaults(run=_ls)
    command = commands.add_parser("describe", help="what a service offers")
    command.add_argument("target")
    _json_option(command)
    command.set_defaults(run=_describe)
    command = commands.add_parser("watch", help="print events, one a line")
    command.add_argument("target")
    command.add_argument("event")
    _json_option(command)
    command.set_defaults(run=_watch)
    return parser


def _json_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="compact JSON, one value a line")


# -- serve


def _serve(arguments: argparse.Namespace) -> int:
    from .transports.stdio import adopt_parent_fd

    listen = arguments.listen
    if adopt_parent_fd() and not listen:
        listen = ["stdio:"]
    module = _load(arguments.file)
    name = arguments.name or os.environ.get("TALKWIRE_START") or _name_of(module.__name__)
    announce = arguments.name is not None and listen != ["stdio:"]
    with serve(name, module, listen=listen, announce=announce) as service:
        _stop_on_sigterm(service)
        if listen != ["stdio:"]:
            print(f"{name} serves {' '.join(service.addresses)}", file=sys.stderr)
        service.wait()
    return OK


def _name_of(module: str) -> str:
    """A service name from a file's: with "-" for what a name cannot hold."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", module).lstrip("._-")[:64] or "service"


def _stop_on_sigterm(service: Any) -> None:
    import signal
    import threading

    def stop(signum: int, frame: Any) -> None:
        threading.Thread(target=service.close, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)


def _load(file: str) -> Any:
    """Imports a file as a module named after it."""
    name = os.path.splitext(os.path.basename(file))[0]
    specification = importlib.util.spec_from_file_location(name, file)
    if specification is None or specification.loader is None or not os.path.isfile(file):
        raise FileNotFoundError(f"not a Python file: {file}")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    sys.path.insert(0, os.path.dirname(os.path.abspath(file)))
    specification.loader.exec_module(module)
    return module


# -- call


def read_argument(text: str) -> Any:
    """JSON, or else the word as it stands; `-` reads JSON from stdin. Raises ValueError."""
    if text == "-":
        return json.load(sys.stdin)
    try:
        return json.loads(text)
    except ValueError:
        return text


def read_arguments(texts: List[str]) -> Tuple[List[Any], Dict[str, Any]]:
    """Positional and named arguments. Raises ValueError for a mixture."""
    positional: List[Any] = []
    named: Dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if equals and name.isidentifier():
            named[name] = read_argument(value)
        else:
            positional.append(read_argument(text))
    if positional and named:
        raise ValueError("arguments go by position or as name=value, not both")
    return positional, named


def _printable(value: Any) -> Any:
    """What JSON has no word for, as text or list."""
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    return str(value)


def _print(value: Any, compact: bool) -> None:
    if compact:
        print(json.dumps(value, default=_printable, separators=(",", ":"), ensure_ascii=False), flush=True)
    else:
        print(json.dumps(value, default=_printable, indent=2, ensure_ascii=False), flush=True)


def _call(arguments: argparse.Namespace) -> int:
    positional, named = read_arguments(arguments.args)
    with connect(arguments.target) as client:
        # Asked for as a stream, which a method with a single result simply answers.
        with client.stream(arguments.method, *positional, timeout=arguments.timeout, **named) as stream:
            streamed = False
            for value in stream:
                _print(value, True)
                streamed = True
            if not streamed:
                _print(stream.value, arguments.json)
    return OK


# -- ls, describe, watch


def _ls(arguments: argparse.Namespace) -> int:
    entries = names.list_services()
    if arguments.json:
        _print(entries, True)
        return OK
    for entry in entries:
        addresses = " ".join(map(str, entry.get("addresses") or []))
        print(f"{entry.get('name'):<20} {entry.get('pid'):>8} {entry.get('language') or '?':<8} {addresses}")
    return OK


def _describe(arguments: argparse.Namespace) -> int:
    with connect(arguments.target) as client:
        document = client.call("rpc.discover")
    if arguments.json:
        _print(document, True)
        return OK
    for method in document.get("methods", []):
        parameters = ", ".join(p["name"] for p in method.get("params", []))
        arrow = "  -> stream" if method.get("x-stream") else ""
        print(f"{method['name']}({parameters}){arrow}  {method.get('summary', '')}".rstrip())
    return OK


def _watch(arguments: argparse.Namespace) -> int:
    with connect(arguments.target) as client:
        client.on(arguments.event, lambda payload: _print(payload, True))
        client.wait()
    return OK
