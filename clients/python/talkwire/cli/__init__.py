"""`python -m talkwire …`: serve a file, call, list, describe, watch. The words and options are those of docs/cli.md.

Exit codes: 0 ok, 1 the call failed, 2 wrong usage, 3 nothing found or no connection, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from typing import Dict, List, Optional

from ..errors import TalkwireError
from . import call, look, serve
from .output import UsageError, print_error
from .target import NotFound

FAILED, USAGE, NOT_FOUND, INTERRUPTED = 1, 2, 3, 130


def main(argv: Optional[List[str]] = None) -> int:
    """The exit code; argparse itself ends with 2 for wrong usage."""
    arguments = _parse(sys.argv[1:] if argv is None else argv)
    try:
        return int(arguments.run(arguments))
    except KeyboardInterrupt:
        return INTERRUPTED
    except NotFound as failure:
        print_error(failure.reason, arguments.json)
        return NOT_FOUND
    except (UsageError, TalkwireError) as error:
        print_error(error, arguments.json)
        return USAGE if isinstance(error, UsageError) or error.code == "INVALID_ADDRESS" else FAILED
    except BrokenPipeError:
        sys.stdout = None  # the reader of our output has gone: nothing to flush
        return 0


def _parse(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="talkwire", description="Call functions in other processes.")
    commands = _commands(parser)
    if argv and argv[0] in commands:
        return commands[argv[0]].parse_intermixed_args(argv[1:])  # options may stand between the words
    return parser.parse_args(argv)


def _commands(parser: argparse.ArgumentParser) -> Dict[str, argparse.ArgumentParser]:
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser("serve", help="serve the public functions of a Python file")
    command.add_argument("file")
    command.add_argument("--name", help="the name to be found under; default: the file's name")
    command.add_argument("--listen", action="append", metavar="ADDRESS", help="where to listen; may be repeated; default: unix:<name>")
    command.add_argument("--export", metavar="NAME", help="serve this function, or this object's methods")
    _authkey_option(command)
    command.add_argument("--insecure", action="store_true", help="listen beyond this machine without a key or TLS")
    command.add_argument("--json", action="store_true", help='print {"name", "addresses", "pid"} on stdout once it listens')
    command.set_defaults(run=serve.run)
    command = commands.add_parser("call", help="call a method, print its result as JSON")
    command.add_argument("target", help="a name or an address")
    command.add_argument("method")
    command.add_argument("args", nargs="*", help="JSON, a word, name=value, or - for JSON from stdin")
    command.add_argument("--timeout", metavar="MS", help="milliseconds until the call is given up, here and there")
    command.add_argument("--metadata", action="append", default=[], metavar="KEY=VALUE", help="text for the handler; may be repeated")
    command.add_argument("--progress", action="store_true", help="print what the handler reports, on stderr")
    command.add_argument("--stream", action="store_true", help="the arguments are the elements of a stream; - reads one from each line of stdin")
    _authkey_option(command)
    _json_option(command)
    command.set_defaults(run=call.run)
    command = commands.add_parser("ls", help="the services of this user that run now")
    _json_option(command)
    command.set_defaults(run=look.ls)
    command = commands.add_parser("describe", help="what a service offers")
    command.add_argument("target")
    _authkey_option(command)
    _json_option(command)
    command.set_defaults(run=look.describe)
    command = commands.add_parser("watch", help="print events, one a line")
    command.add_argument("target")
    command.add_argument("event")
    _authkey_option(command)
    _json_option(command)
    command.set_defaults(run=look.watch)
    return dict(commands.choices)


def _authkey_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--authkey-file", metavar="FILE", help="a file with the secret that both sides know")


def _json_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="for programs: one line of JSON, errors too (on stderr)")
