"""How processes find each other on this machine: implements spec/names.md."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import tempfile
import time
from typing import Any, Dict, List, Optional, Tuple

from .errors import TalkwireError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_PATH_CLAIM = re.compile(r"path-[0-9a-f]{16}\Z")
_SUFFIXES = (".json", ".sock", ".lock")
_NUMBER = r"\.([1-9][0-9]{0,14})\.json\Z"
_LAST_NUMBER = 999_999_999_999_999  # no registry grows so far: each claim adds one
_MAX_ENTRY = 64 * 1024  # bytes; an entry has a few hundred
#: gone, a symbolic link, a socket or FIFO: no entry. Anything else may be one that we cannot read at the moment
_NO_ENTRY = frozenset((errno.ENOENT, errno.ELOOP, errno.ENXIO))
#: what is no file was not made by us: it stays, and is in nobody's way
_NOT_REMOVED = frozenset((errno.ENOENT, errno.EISDIR, errno.EPERM))

Entry = Dict[str, Any]


def is_name(text: str) -> bool:
    return _NAME.match(text) is not None and not text.endswith(_SUFFIXES)


def check_name(name: str) -> str:
    """The name itself. Raises INVALID_ADDRESS if it is none."""
    if not is_name(name):
        raise TalkwireError(
            "INVALID_ADDRESS", f"not a service name: {name!r}; it has 1 to 64 letters, digits and ._- and begins with a letter or digit"
        )
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


def process_state(pid: int) -> Tuple[Optional[str], Optional[str]]:
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


def process_identity() -> Dict[str, Any]:
    """This process, so that another one with its pid is not taken for it."""
    pid = os.getpid()
    return {"pid": pid, "start": process_state(pid)[1], "boot": _boot(), "pidns": _pidns()}


def is_dead(entry: Optional[Entry]) -> bool:
    """Can this entry's process not be serving any more? None, which no process has written whole, is dead."""
    if entry is None or entry.get("state") == "released":
        return True
    boot = _boot()
    if boot is not None and entry.get("boot") is not None and entry["boot"] != boot:
        return True
    if entry.get("pidns") != _pidns():
        return False
    pid = int(entry["pid"])
    if not _exists(pid):
        return True
    state, start = process_state(pid)
    if state in ("Z", "X"):
        return True
    return state is not None and entry.get("start") is not None and start != entry["start"]


# -- files


def _numbers(directory: str, name: str) -> List[int]:
    """All entry numbers of a name, ascending."""
    pattern = re.compile(re.escape(name) + _NUMBER)
    matches = (pattern.match(file) for file in os.listdir(directory))
    return sorted(int(match.group(1)) for match in matches if match)


def _path(directory: str, name: str, number: int) -> str:
    return f"{directory}/{name}.{number}.json"


def _read(path: str, name: str) -> Optional[Entry]:
    """None if there is no entry of that name in the file, whatever it is. Never blocks. Raises PERMISSION_DENIED."""
    try:
        # A FIFO would block without O_NONBLOCK.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in _NO_ENTRY:
            return None
        raise TalkwireError("PERMISSION_DENIED", f"cannot read {path}: {error.strerror}") from error
    try:
        found = os.fstat(fd)
        ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and found.st_size <= _MAX_ENTRY
        entry = parse_entry(os.read(fd, _MAX_ENTRY)) if ours else None
    finally:
        os.close(fd)
    return entry if entry is not None and entry["name"] == name else None


def parse_entry(data: bytes) -> Optional[Entry]:
    """A registry file's content, or None for anything that is none. Never raises."""
    if not data or len(data) > _MAX_ENTRY:
        return None
    try:
        entry = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and _is_valid(entry) else None


def _is_valid(entry: Entry) -> bool:
    name, pid, addresses = entry.get("name"), entry.get("pid"), entry.get("addresses")
    return (
        entry.get("talkwire") == 1
        and isinstance(name, str)
        and is_name(name)
        and entry.get("state") in ("claimed", "serving", "released")
        and type(pid) is int
        and 0 < pid < 2**53
        and type(entry.get("since")) in (int, float)
        and isinstance(addresses, list)
        and len(addresses) <= 100
        and all(isinstance(address, str) and len(address) <= 4096 for address in addresses)
        and all(entry.get(key) is None or isinstance(entry[key], str) for key in ("contract", "hash", "start", "boot", "pidns"))
        and isinstance(entry.get("language"), str)
    )


def _write_temporary(directory: str, name: str, entry: Entry) -> str:
    path = f"{directory}/.{name}.{os.getpid()}.{os.urandom(8).hex()}.tmp"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(entry, file, separators=(",", ":"))
    return path


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError as error:
        if error.errno not in _NOT_REMOVED:
            raise


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
            try:
                self._replace(state="released", addresses=[])
            except FileNotFoundError:
                pass  # somebody removed the directory, and the name with it

    def _replace(self, **changes: Any) -> None:
        self._entry.update(changes)
        temporary = _write_temporary(self._directory, self.name, self._entry)
        os.rename(temporary, _path(self._directory, self.name, self._number))


def _in_use(name: str, entry: Entry) -> TalkwireError:
    text = f"{name!r} is served by the living process {entry['pid']}; end it or choose another name"
    return TalkwireError("ADDRESS_IN_USE", text, details={"pid": entry["pid"]})


def claim(name: str) -> Claim:
    """Takes a name or raises ADDRESS_IN_USE. Does not wait for the holder."""
    check_name(name)
    directory = runtime_dir()
    while True:
        numbers = _numbers(directory, name)
        highest = numbers[-1] if numbers else 0
        if highest == _LAST_NUMBER:
            path = _path(directory, name, highest)
            raise TalkwireError("ADDRESS_IN_USE", f"the number of {path} leaves no place for another; remove the file")
        entry = _read(_path(directory, name, highest), name) if highest else None
        if entry is not None and not is_dead(entry):
            raise _in_use(name, entry)
        mine = _create(directory, name, highest + 1)
        if mine is not None and _confirm(directory, name, highest + 1):
            return mine


def _create(directory: str, name: str, number: int) -> Optional[Claim]:
    """Step 2: the link. None if somebody was faster."""
    entry: Entry = {
        "talkwire": 1, "name": name, "state": "claimed", "contract": None, "hash": None, "addresses": [],
        **process_identity(),
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
    for other in reversed(_numbers(directory, name)):
        if other == number:
            continue
        entry = _read(_path(directory, name, other), name)
        alive = not is_dead(entry)
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
    """The entry with the highest number of a name, dead or alive, or None."""
    check_name(name)
    directory = runtime_dir()
    while True:
        numbers = _numbers(directory, name)
        if not numbers:
            return None
        path = _path(directory, name, numbers[-1])
        entry = _read(path, name)
        if entry is not None or os.path.lexists(path):
            return entry  # else its successor has just removed it


def find(name: str) -> Entry:
    """The entry that serves a name. Raises PEER_NOT_FOUND with the reason in one line; `details` is the entry of one that is starting."""
    entry = look(name)
    if entry is None:
        reason = f"nothing has announced {name!r} in {runtime_dir()}"
    elif entry["state"] == "released":
        reason = f"{name!r} was closed (it ran as process {entry['pid']})"
    elif is_dead(entry):
        reason = f"{name!r} was announced by process {entry['pid']}, which is dead"
    elif entry["state"] == "claimed":
        raise TalkwireError("PEER_NOT_FOUND", f"{name!r} is starting as process {entry['pid']}", details=entry)
    else:
        return entry
    raise TalkwireError("PEER_NOT_FOUND", f"{reason}; start it, or pass start=[command]")


def list_services() -> List[Entry]:
    """Every living service, by name."""
    pattern = re.compile("(.+)" + _NUMBER)
    matches = (pattern.match(file) for file in os.listdir(runtime_dir()))
    names = sorted({match.group(1) for match in matches if match and is_name(match.group(1)) and not _PATH_CLAIM.match(match.group(1))})
    return [entry for entry in map(look, names) if entry is not None and entry["state"] == "serving" and not is_dead(entry)]


def path_claim_name(path: str) -> str:
    """The claim that guards a file system address: `path-` and 16 hex digits."""
    folder, file = os.path.split(os.path.abspath(path))
    real = os.path.realpath(folder)
    whole = real.rstrip("/") + "/" + file
    import hashlib

    return "path-" + hashlib.sha256(os.fsencode(whole)).hexdigest()[:16]
