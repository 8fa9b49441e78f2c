"""How processes find each other on this machine: implements spec/names.md."""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
import time
from typing import Any, Dict, List, Optional, Tuple

from .errors import TalkwireError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_SUFFIXES = (".json", ".sock", ".lock")
_MAX_ENTRY = 64 * 1024

Entry = Dict[str, Any]


def check_name(name: str) -> str:
    """The name itself. Raises INVALID_ADDRESS if it is none."""
    if not _NAME.match(name) or name.endswith(_SUFFIXES):
        raise TalkwireError("INVALID_ADDRESS", f"not a service name: {name!r}")
    return name


def runtime_dir() -> str:
    """The private directory, made if need be. Raises PERMISSION_DENIED if others could reach into it."""
    path = os.environ.get("TALKWIRE_RUNTIME_DIR")
    if not path:
        base = os.environ.get("XDG_RUNTIME_DIR")
        path = os.path.join(base, "talkwire") if base else f"{tempfile.gettempdir()}/talkwire-{os.getuid()}"
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise TalkwireError("PERMISSION_DENIED", f"cannot create the runtime directory {path}: {error}") from error
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise TalkwireError("PERMISSION_DENIED", f"{path} must be a directory of ours that nobody else can enter")
    return path


# -- identity of processes


def _read_proc(path: str) -> Optional[str]:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
        return None


def _boot() -> Optional[str]:
    text = _read_proc("/proc/sys/kernel/random/boot_id")
    return text.strip() if text else None


def _pidns() -> Optional[str]:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None


def _process(pid: int) -> Tuple[Optional[str], Optional[str]]:
    """(state, start time) of a process; (None, None) if there is none or /proc is missing."""
    text = _read_proc(f"/proc/{pid}/stat")
    if text is None:
        return None, None
    fields = text[text.rindex(")") + 2 :].split()
    return fields[0], fields[19]


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def is_dead(entry: Entry) -> bool:
    """Can this entry's process not be serving any more?"""
    if entry.get("state") == "released":
        return True
    boot = _boot()
    if boot is not None and entry.get("boot") is not None and entry["boot"] != boot:
        return True
    if entry.get("pidns") != _pidns():
        return False
    pid = entry.get("pid")
    if type(pid) is not int or pid <= 0:
        return True
    if not _exists(pid):
        return True
    state, start = _process(pid)
    if state in ("Z", "X"):
        return True
    return state is not None and entry.get("start") is not None and start != entry["start"]


# -- files


def _numbers(directory: str, name: str) -> List[int]:
    """All entry numbers of a name, ascending."""
    pattern = re.compile(re.escape(name) + r"\.([1-9][0-9]{0,15})\.json\Z")
    matches = (pattern.match(file) for file in os.listdir(directory))
    return sorted(int(match.group(1)) for match in matches if match)


def _path(directory: str, name: str, number: int) -> str:
    return f"{directory}/{name}.{number}.json"


def _read(path: str) -> Optional[Entry]:
    """None if the file is gone. What cannot be parsed was not written by this protocol: an alive stranger."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError:
        return {"state": "unreadable", "pidns": "unreadable"}
    with os.fdopen(fd, "rb") as file:
        data = file.read(_MAX_ENTRY)
    try:
        entry = json.loads(data)
    except ValueError:
        entry = None
    return entry if isinstance(entry, dict) else {"state": "unreadable", "pidns": "unreadable"}


def _write_temporary(directory: str, name: str, entry: Entry) -> str:
    path = f"{directory}/.{name}.{os.getpid()}.{os.urandom(8).hex()}.tmp"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(entry, file, separators=(",", ":"))
    return path


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


# -- claims


class Claim:
    """A name that is ours until `release()` or the end of this process."""

    def __init__(self, directory: str, name: str, number: int, entry: Entry) -> None:
        self.name = name
        self._directory = directory
        self._number = number
        self._entry = entry
        self._pid = os.getpid()
        self.released = False

    def announce(self, addresses: List[str], contract: Optional[str] = None, hash: Optional[str] = None) -> None:
        """Tells everybody that we listen on these addresses."""
        self._replace(state="serving", addresses=addresses, contract=contract, hash=hash)

    def release(self) -> None:
        """Gives the name back. The socket must be gone before."""
        if not self.released and self._pid == os.getpid():
            self.released = True
            self._replace(state="released", addresses=[])

    def _replace(self, **changes: Any) -> None:
        self._entry.update(changes)
        temporary = _write_temporary(self._directory, self.name, self._entry)
        os.rename(temporary, _path(self._directory, self.name, self._number))


def _in_use(name: str, entry: Entry) -> TalkwireError:
    return TalkwireError("ADDRESS_IN_USE", f"{name} is in use by the process {entry.get('pid')}", details={"pid": entry.get("pid")})


def claim(name: str) -> Claim:
    """Takes a name or raises ADDRESS_IN_USE. Does not wait for the holder."""
    check_name(name)
    directory = runtime_dir()
    while True:
        numbers = _numbers(directory, name)
        highest = numbers[-1] if numbers else 0
        if highest:
            entry = _read(_path(directory, name, highest))
            if entry is None:
                continue
            if not is_dead(entry):
                raise _in_use(name, entry)
        mine = _create(directory, name, highest + 1)
        if mine is not None and _confirm(directory, name, highest + 1):
            return mine


def _create(directory: str, name: str, number: int) -> Optional[Claim]:
    """Step 2: the link. None if somebody was faster."""
    pid = os.getpid()
    entry: Entry = {
        "talkwire": 1, "name": name, "state": "claimed", "contract": None, "hash": None, "addresses": [],
        "pid": pid, "start": _process(pid)[1], "boot": _boot(), "pidns": _pidns(),
        "language": "python", "since": int(time.time() * 1000),
    }  # fmt: skip
    temporary = _write_temporary(directory, name, entry)
    try:
        os.link(temporary, _path(directory, name, number))
    except FileExistsError:
        return None
    finally:
        _unlink(temporary)
    return Claim(directory, name, number, entry)


def _confirm(directory: str, name: str, number: int) -> bool:
    """Steps 3 and 4. False: try again. Raises ADDRESS_IN_USE."""
    for other in _numbers(directory, name):
        if other == number:
            continue
        entry = _read(_path(directory, name, other))
        alive = entry is not None and not is_dead(entry)
        if other > number or alive:
            _unlink(_path(directory, name, number))
            if entry is not None and alive:
                raise _in_use(name, entry)
            return False
    for other in _numbers(directory, name):
        if other < number:
            _unlink(_path(directory, name, other))
    return True


# -- looking


def look(name: str) -> Optional[Entry]:
    """The newest entry of a name, dead or alive, or None."""
    check_name(name)
    directory = runtime_dir()
    while True:
        numbers = _numbers(directory, name)
        if not numbers:
            return None
        entry = _read(_path(directory, name, numbers[-1]))
        if entry is not None:
            return entry


def find(name: str) -> Entry:
    """The entry that serves a name. Raises PEER_NOT_FOUND with the reason in one line."""
    entry = look(name)
    if entry is None:
        raise TalkwireError("PEER_NOT_FOUND", f"no service named {name}: nothing has announced it in {runtime_dir()}")
    if entry.get("state") == "released":
        raise TalkwireError("PEER_NOT_FOUND", f"no service named {name}: it has ended")
    if is_dead(entry):
        raise TalkwireError("PEER_NOT_FOUND", f"no service named {name}: its process {entry.get('pid')} has died")
    if entry.get("state") != "serving":
        raise TalkwireError("PEER_NOT_FOUND", f"no service named {name}: the process {entry.get('pid')} is still starting")
    return entry


def list_services() -> List[Entry]:
    """Every living service, by name."""
    directory = runtime_dir()
    pattern = re.compile(r"(.+)\.[1-9][0-9]{0,15}\.json\Z")
    matches = (pattern.match(file) for file in os.listdir(directory))
    names = sorted({match.group(1) for match in matches if match and _NAME.match(match.group(1))})
    found = []
    for name in names:
        entry = look(name)
        if entry is not None and entry.get("state") == "serving" and not is_dead(entry):
            found.append(entry)
    return found


def path_claim_name(path: str) -> str:
    """The claim that guards a file system address: `path-` and 16 hex digits."""
    folder, file = os.path.split(os.path.abspath(path))
    real = os.path.realpath(folder)
    whole = real.rstrip("/") + "/" + file
    import hashlib

    return "path-" + hashlib.sha256(os.fsencode(whole)).hexdigest()[:16]
