"""`talkwire call name method …`."""

from __future__ import annotations

import argparse
from typing import Any

from .output import note, show, to_line
from .target import open_target
from .words import elements, read_arguments, read_pairs, read_timeout


def run(arguments: argparse.Namespace) -> int:
    timeout, metadata = read_timeout(arguments.timeout), read_pairs(arguments.metadata)
    positional, named = ([elements(arguments.args)], {}) if arguments.stream else read_arguments(arguments.args)
    if named:
        positional = [named]  # travels by name all the same, and cannot be mixed up with our own options
    report = _reporter(arguments.json) if arguments.progress else None
    with open_target(arguments) as client:
        streamed = arguments.method in client._connection.peer_streams
        # Asked for as a stream, which a method with a single result simply answers.
        with client.stream(arguments.method, *positional, timeout=timeout, metadata=metadata, on_progress=report) as stream:
            for value in stream:
                show(value, True)
                streamed = True
            if not streamed:
                show(stream.value, arguments.json)
    return 0


def _reporter(in_json: bool) -> Any:
    return lambda value: note(to_line({"progress": value}) if in_json else f"progress: {to_line(value)}")
