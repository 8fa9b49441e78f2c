"""Finding a service, and starting it on demand (spec/names.md)."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Callable, Optional, Sequence

from . import names
from .errors import TalkwireError

if TYPE_CHECKING:
    import subprocess

_PATIENCE = 30.0  # seconds that a started service gets until it serves
_LOOK_EVERY = 0.02  # seconds; the directory has no notification that every system knows


def find_or_start(name: str, command: Optional[Sequence[str]]) -> names.Entry:
    """The serving entry. Starts `command` if there is none. Raises PEER_NOT_FOUND, START_FAILED. Blocks up to 30 s while it starts."""
    try:
        return names.find(name)
    except TalkwireError as error:
        if error.code != "PEER_NOT_FOUND" or not command:
            raise
    try:
        held = names.claim(f"{name}.start")
    except TalkwireError as error:
        if error.code != "ADDRESS_IN_USE":
            raise
        return _await(name, lambda: None)
    try:
        return _start(name, command)
    finally:
        held.release()


def _start(name: str, command: Sequence[str]) -> names.Entry:
    try:
        return names.find(name)  # somebody may have started it before we got the claim
    except TalkwireError as error:
        if error.code != "PEER_NOT_FOUND":
            raise
    import subprocess

    # The wire to our own parent, and its death, are not the daemon's.
    environment = {key: value for key, value in os.environ.items() if key not in ("TALKWIRE_FD", "TALKWIRE_PARENT")}
    child = subprocess.Popen(
        list(command),
        env={**environment, "TALKWIRE_START": name},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        return _await(name, child.poll)
    finally:
        _disown(child)


def _disown(child: "subprocess.Popen[bytes]") -> None:
    # It outlives us on purpose; without this Popen would complain about a child that is still running.
    if child.returncode is None:
        child.returncode = 0


def _await(name: str, ended: Callable[[], Any]) -> names.Entry:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return names.find(name)
        except TalkwireError as error:
            code = ended()
            if error.code != "PEER_NOT_FOUND":
                raise
            if code is not None:
                raise TalkwireError("START_FAILED", f"the command for {name} ended with {code} before it served") from error
            if time.monotonic() >= deadline:
                raise
        time.sleep(_LOOK_EVERY)
