"""`talkwire ls`, `describe`, `watch`."""

from __future__ import annotations

import argparse

from .. import names
from .output import show
from .target import open_target


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
    with open_target(arguments) as client:
        client.on(arguments.event, lambda payload: show(payload, True))
        client.wait()
    return 0
