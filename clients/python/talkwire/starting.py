"""Finding a service, and starting it on demand (spec/names.md)."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Callable, Optional, Sequence, Union

from . import names
from .errors import TalkwireError

if TYPE_CHECKING:
    import subprocess

_PATIENCE = 30.0  # seconds that a started service gets until it serves
_LOOK_EVERY = 0.02  # seconds; the directory has no notification that every system knows
_LAST_WORDS = 4096  # bytes
_LONGEST = 58  # characters of a name, so that its claim with ".start" is one too


def find_or_start(name: str, command: Optional[Sequence[str]]) -> names.Entry:
    """The serving entry. Waits for one that is starting; starts `command` if there is none.

    Raises PEER_NOT_FOUND; START_FAILED with the last words of a command that ended. Blocks up to 30 s.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        found = _find(name)
        if not isinstance(found, TalkwireError):
            return found
        starting = found.details is not None
        if not starting and not command:
            raise found
        if time.monotonic() >= deadline:
            raise TalkwireError("START_FAILED", f"{name!r} did not serve within {_PATIENCE:.0f} s: {found.text}")
        if len(name) > _LONGEST:
            raise TalkwireError("INVALID_ADDRESS", f"{name!r} has {len(name)} characters; what is started on demand has at most {_LONGEST}")
        held = None if starting else _try_claim(f"{name}.start")
        if held is not None:
            try:
                return _start(name, command or (), deadline)
            finally:
                held.release()
        time.sleep(_LOOK_EVERY)


def await_gone(entry: names.Entry) -> bool:
    """Waits until the process that announced this holds the name no more. False: it still does after 30 s. Blocks."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        found = _find(entry["name"])
        if isinstance(found, TalkwireError) or any(found[key] != entry[key] for key in ("pid", "start", "since")):
            return True
        time.sleep(_LOOK_EVERY)
    return False


def _find(name: str) -> Union[names.Entry, TalkwireError]:
    """The entry, or why there is none."""
    try:
        return names.find(name)
    except TalkwireError as error:
        if error.code != "PEER_NOT_FOUND":
            raise
        return error


def _try_claim(name: str) -> Optional[names.Claim]:
    try:
        return names.claim(name)
    except TalkwireError as error:
        if error.code != "ADDRESS_IN_USE":
            raise
        return None


def _start(name: str, command: Sequence[str], deadline: float) -> names.Entry:
    found = _find(name)  # somebody may have started it before we got the claim
    if not isinstance(found, TalkwireError):
        return found
    log = f"{names.runtime_dir()}/{name}.log"
    child = _launch(name, command, log)
    try:
        return _await(name, command[0], child.poll, log, deadline)
    except BaseException:
        child.terminate()  # what nobody waits for and does not serve is not left behind
        raise
    finally:
        _disown(child)


def _launch(name: str, command: Sequence[str], log: str) -> "subprocess.Popen[bytes]":
    import subprocess

    # The wire to our own parent, and its death, are not the daemon's.
    environment = {key: value for key, value in os.environ.items() if key not in ("TALKWIRE_FD", "TALKWIRE_PARENT")}
    # Its stderr is a file: a pipe would break when we end, and take the daemon along with its next message.
    stderr = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(
            list(command),
            env={**environment, "TALKWIRE_START": name},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise TalkwireError("START_FAILED", f"{command[0]} could not be started ({error.strerror})") from error
    finally:
        os.close(stderr)


def _disown(child: "subprocess.Popen[bytes]") -> None:
    # It outlives us on purpose; without this Popen would complain about a child that is still running.
    if child.returncode is None:
        child.returncode = 0


def _await(name: str, program: str, ended: Callable[[], Optional[int]], log: str, deadline: float) -> names.Entry:
    while True:
        code = ended()
        found = _find(name)
        if not isinstance(found, TalkwireError):
            return found
        if code is not None:
            how = f"exit code {code}" if code >= 0 else f"signal {-code}"
            raise TalkwireError("START_FAILED", f"{program} ended with {how}{_last_words(log)} before it served {name!r}")
        if time.monotonic() >= deadline:
            raise TalkwireError("START_FAILED", f"{program} did not serve {name!r} within {_PATIENCE:.0f} s: {found.text}")
        time.sleep(_LOOK_EVERY)


def _last_words(log: str) -> str:
    with open(log, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _LAST_WORDS))
        said = file.read(_LAST_WORDS).decode("utf-8", "replace").strip()
    return f": {said}" if said else ""
