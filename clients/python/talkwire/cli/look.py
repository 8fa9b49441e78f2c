"""`talkwire ls`, `describe`, `watch`."""

from __future__ import annotations

import argparse
from typing import Any

from .. import names
from ..errors import TalkwireError
from ..reconnecting import Reconnect
from .output import note, show
from .target import NotFound, open_target

_PATIENCE = 5.0  # seconds that a watched service gets to be back


def ls(arguments: argparse.Namespace) -> int:
    entries = names.list_services()
    if arguments.json:
        show(entries, True)
        return 0
    for entry in entries:
        addresses = " ".join(map(str, entry.get("addresses") or []))
        print(f"{entry.get('name'):<20} {entry.get('pid'):>8} {entry.get('language') or '?':<8} {addresses}")
    return 0


def describe(arguments: argparse.Namespace) -> int:
    with open_target(arguments) as client:
        document = client.call("rpc.discover")
    if arguments.json:
        show(document, True)
        return 0
    for method in document.get("methods", []):
        parameters = ", ".join(p["name"] for p in method.get("params", []))
        arrow = "  -> stream" if method.get("x-stream") else ""
        print(f"{method['name']}({parameters}){arrow}  {method.get('summary', '')}".rstrip())
    return 0


def watch(arguments: argparse.Namespace) -> int:
    with open_target(arguments, Reconnect(give_up=_PATIENCE)) as client:
        told = 0

        def tell(payload: Any) -> None:
            nonlocal told
            show(payload, True)
            lost = sum(held.lost for held in client._connection.listeners.get(arguments.event, ()))
            if lost > told:
                note(f"{lost - told} events were lost")
                told = lost

        client.on(arguments.event, tell)
        client.wait()
    raise NotFound(TalkwireError("CONNECTION_CLOSED", "the service is gone"))
