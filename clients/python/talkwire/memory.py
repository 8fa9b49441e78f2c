"""Memory that several processes share: implements spec/memory.md. Linux. Arrays in it: shared_array.py.

`multiprocessing.shared_memory` knows the same names, but its resource tracker takes a name away when the Python process
that had it open ends (before 3.13 always, later unless `track=False`). What is opened here is not tracked.
"""

from __future__ import annotations

import errno
import fcntl
import json
import mmap
import os
import re
import stat
import time
import weakref
from typing import Any, Callable, Dict, Optional, Tuple, TypeVar

from .errors import TalkwireError
from .names import is_dead, process_identity, runtime_dir

SHM = "/dev/shm"
_MAX_NAME = 200  # bytes
_PATIENCE = 1.0  # seconds
_FORBIDDEN = re.compile("[/\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CAREFULLY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_CODES = {
    errno.ENOENT: ("NOT_FOUND", "it is not there (any more)"),
    errno.EEXIST: ("ALREADY_EXISTS", "it exists; open it, or take another name"),
    errno.EACCES: ("PERMISSION_DENIED", "its mode does not let this user in"),
    errno.EPERM: ("PERMISSION_DENIED", "this user may not do that"),
    errno.ELOOP: ("PERMISSION_DENIED", "it is a symbolic link; links are not followed"),
    errno.EISDIR: ("INVALID_MEMORY", "it is a directory"),
    errno.ENXIO: ("INVALID_MEMORY", "it is a pipe, a socket or a device"),
    errno.ENOSPC: ("NO_SPACE", "there is no room; free some, or enlarge the file system"),
    errno.ENOMEM: ("NO_SPACE", "there is not enough memory"),
    errno.EMFILE: ("LIMIT_EXCEEDED", "this process has too many files open; close some, or raise ulimit -n"),
    errno.ENFILE: ("LIMIT_EXCEEDED", "this machine has too many files open"),
}

T = TypeVar("T")


def _kernel(subject: str, action: Callable[[], T]) -> T:
    try:
        return action()
    except OSError as error:
        code, advice = _CODES.get(error.errno or 0, ("UNKNOWN", str(error)))
        raise TalkwireError(code, f"{subject}: {advice}") from error


def _check_name(name: str) -> str:
    if not isinstance(name, str):
        raise TypeError("the name of shared memory is a string")
    plain = name[1:] if name.startswith("/") else name
    wrong = plain in ("", ".", "..") or plain.startswith("sem.") or _FORBIDDEN.search(plain) is not None
    if wrong or len(plain.encode()) > _MAX_NAME:
        raise TalkwireError(
            "INVALID_ADDRESS",
            f"{name[:80]!r} cannot name shared memory; take 1 to {_MAX_NAME} bytes without \"/\" and control characters, "
            'not "sem." at its beginning',
        )
    return plain


class SharedMemory:
    """Bytes that several processes share; they are the caller's alone. `buf` is a writable memoryview of them.

    Made by `create`, `open`, `anonymous` and `attach`. Errors are TalkwireError: NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED, NO_SPACE,
    INVALID_ADDRESS, INVALID_MEMORY, LIMIT_EXCEEDED. A context manager.
    """

    def __init__(self, name: Optional[str], fd: int, read_only: bool, record: Optional[Dict[str, Any]] = None) -> None:
        self.name = name
        self._fd = fd
        self._read_only = read_only
        self._record = record  # of what is taken away when this process dies
        self._pid = os.getpid()
        try:
            found = os.fstat(fd)
            size = found.st_size
            if size == 0:
                raise TalkwireError("INVALID_MEMORY", f"{name or 'the memory'} has no bytes (yet); its maker sets the size")
            if not read_only and found.st_blocks * 512 < size:
                # Others leave holes, for which there may be no page when somebody touches them: a SIGBUS.
                _kernel(name or "the memory", lambda: os.posix_fallocate(fd, 0, size))
            self._map = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | (0 if read_only else mmap.PROT_WRITE))
        except BaseException:
            os.close(fd)
            raise
        self.size = size
        self.buf = memoryview(self._map)
        self._open = True
        self._close_fd = weakref.finalize(self, os.close, fd)  # also of one that is only forgotten

    @classmethod
    def create(
        cls, name: str, size: int, *, mode: int = 0o600, persist: bool = False, content: bytes = b""
    ) -> "SharedMemory":
        """`size` bytes, of which `content` are the first, and the others zeros, under a name that nobody has."""
        plain = _check_name(name)
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"{size} bytes of memory: take a whole number from 1 on")
        _free_if_abandoned(plain)
        fd, record = _kernel(f"{SHM}/{plain}", lambda: _create(plain, size, mode, persist, content))
        return cls(plain, fd, False, None if persist else record)

    @classmethod
    def open(cls, name: str, *, read_only: bool = False) -> "SharedMemory":
        """What is there, if it is this user's."""
        plain = _check_name(name)
        return cls(plain, _kernel(f"{SHM}/{plain}", lambda: _open(plain, read_only)), read_only)

    @classmethod
    def anonymous(cls, size: int) -> "SharedMemory":
        """`size` bytes, zeros, without a name, which nobody can cut off or enlarge. Others attach `/proc/<pid>/fd/<fd>`, or get `fd`."""
        fd = _kernel("anonymous memory", lambda: os.memfd_create("talkwire", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
        try:
            _kernel("anonymous memory", lambda: _fill(fd, size))
        except BaseException:
            os.close(fd)
            raise
        return cls(None, fd, False)

    @classmethod
    def attach(cls, path: str, *, read_only: bool = False) -> "SharedMemory":
        """Another process's anonymous memory, by its path. It must be sealed against shrinking."""
        flags = (os.O_RDONLY if read_only else os.O_RDWR) | os.O_NONBLOCK | os.O_CLOEXEC
        fd = _kernel(path, lambda: os.open(path, flags))
        if not _is_sealed(fd):
            os.close(fd)
            raise TalkwireError("INVALID_MEMORY", f"{path} is not sealed against shrinking; its maker adds F_SEAL_SHRINK")
        return cls(None, fd, read_only)

    def close(self) -> None:
        """Lets go of it; the name stays, also when this process dies then. What it never closed is left as by a crash.

        While arrays or slices of `buf` are alive it stays mapped for them.
        """
        if not self._open:
            return
        self._open = False
        # A forked child has the same descriptor, but has not made anything.
        if self._record is not None and self.name is not None and self._pid == os.getpid():
            _keep(self.name, self._fd, self._record)
        try:
            self.buf.release()
            self._map.close()
        except BufferError:
            pass  # whoever has a view keeps it mapped; the last one lets go
        self._close_fd()

    def unlink(self) -> None:
        """Takes the name away, if it is still this memory's; who has it open keeps it. Raises CLOSED."""
        if self.name is None:
            return
        if not self._open:
            raise TalkwireError("CLOSED", f"shared memory {self.name} was closed; take its name away before")
        _unlink(self.name, os.fstat(self._fd).st_ino)
        self._record = None

    def __enter__(self) -> "SharedMemory":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


    @property
    def closed(self) -> bool:
        return not self._open

    @property
    def read_only(self) -> bool:
        return self._read_only

    @property
    def fd(self) -> int:
        """Closed by `close`; not to be closed by anybody else."""
        return self._fd


def unlink(name: str) -> None:
    """Takes a name away; who has it open keeps it. Raises NOT_FOUND."""
    _unlink(_check_name(name), None)


# -- segments: spec/memory.md, section 2


def _create(name: str, size: int, mode: int, persist: bool, content: bytes) -> Tuple[int, Dict[str, Any]]:
    fd = os.open(SHM, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, size)
        os.posix_fallocate(fd, 0, size)
        os.pwrite(fd, content, 0)
        os.fchmod(fd, mode)
        fcntl.flock(fd, fcntl.LOCK_SH)
        inode = os.fstat(fd).st_ino
        record = {"talkwire": 1, **process_identity(), "inode": inode, "since": _now(), "kept": persist}
        _write_record(name, record)
        try:
            # With a folder's descriptor, which an absolute path does not need, os.link is linkat(2) and follows.
            os.link(f"/proc/self/fd/{fd}", f"{SHM}/{name}", src_dir_fd=fd, follow_symlinks=True)
        except OSError:
            _remove_record(name, inode)
            raise
    except BaseException:
        os.close(fd)
        raise
    return fd, record


def _now() -> int:
    # Not before the file: its time of birth is compared with this.
    return time.time_ns() // 1_000_000 + 1


def _open(name: str, read_only: bool) -> int:
    path = f"{SHM}/{name}"
    end = time.monotonic() + _PATIENCE
    while True:
        fd = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | _CAREFULLY)
        try:
            _check_file(path, os.fstat(fd))
            if not _reclaim(name, fd) and _try_flock(fd, fcntl.LOCK_SH) and os.fstat(fd).st_nlink > 0:
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        if time.monotonic() > end:
            raise TalkwireError("UNAVAILABLE", f"{path} is locked (flock) by another process; end that one, or unlink it")
        time.sleep(0.001)


def _check_file(path: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        raise TalkwireError("INVALID_MEMORY", f"{path} is no regular file, or has a second name; unlink it, or take another name")
    if found.st_uid != os.getuid():
        raise TalkwireError("PERMISSION_DENIED", f"{path} belongs to user {found.st_uid}; between users take anonymous memory")


def _free_if_abandoned(name: str) -> None:
    try:
        fd = os.open(f"{SHM}/{name}", os.O_RDONLY | _CAREFULLY)
    except OSError:
        return  # nothing there, or nothing of ours: linking will say
    try:
        _reclaim(name, fd)
    finally:
        os.close(fd)


def _reclaim(name: str, fd: int) -> bool:
    """Takes the name away if its maker and all its users crashed. True when it is gone now."""
    found = os.fstat(fd)
    record = _read_record(name, found)
    if record is None or record["kept"] or not is_dead(record) or not _try_flock(fd, fcntl.LOCK_EX):
        return False
    mapped, hidden = _mapped_by_others(found)
    if mapped or (hidden and found.st_mode & 0o077):
        return False
    with _Guard():
        if os.fstat(fd).st_nlink == 0:
            return False
        os.unlink(f"{SHM}/{name}")
        _remove_record(name, found.st_ino)
    return True


def _mapped_by_others(found: os.stat_result) -> Tuple[bool, bool]:
    """(somebody has it mapped, there are processes that we may not look into)"""
    file = f" {os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x} {found.st_ino} "
    hidden = False
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as maps:
                if file in maps.read():
                    return True, hidden
        except PermissionError:
            hidden = True
        except OSError:
            pass  # gone
    return False, hidden


def _unlink(name: str, inode: Optional[int]) -> None:
    def remove() -> None:
        with _Guard():
            found = os.lstat(f"{SHM}/{name}").st_ino
            if inode is None or found == inode:
                os.unlink(f"{SHM}/{name}")
                _remove_record(name, found)

    try:
        _kernel(f"{SHM}/{name}", remove)
    except TalkwireError as error:
        if inode is None or error.code != "NOT_FOUND":
            raise


def _try_flock(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class _Guard:
    """Only one process of this user takes names away at a time."""

    def __enter__(self) -> None:
        path = os.path.join(_records(), "lock")
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        end = time.monotonic() + _PATIENCE
        while not _try_flock(self._fd, fcntl.LOCK_EX):
            if time.monotonic() > end:
                os.close(self._fd)
                raise TalkwireError("UNAVAILABLE", f"{path} is locked by another process; let that one go on (SIGCONT), or end it")
            time.sleep(0.001)

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


_F_ADD_SEALS, _F_GET_SEALS = 1033, 1034
_F_SEAL_SHRINK, _F_SEAL_GROW = 2, 4


def _fill(fd: int, size: int) -> None:
    os.ftruncate(fd, size)
    os.posix_fallocate(fd, 0, size)
    fcntl.fcntl(fd, _F_ADD_SEALS, _F_SEAL_SHRINK | _F_SEAL_GROW)


def _is_sealed(fd: int, seals: int = _F_SEAL_SHRINK) -> bool:
    try:
        return fcntl.fcntl(fd, _F_GET_SEALS) & seals == seals
    except OSError:
        return False


def has_fixed_size(fd: int) -> bool:
    """Whether nobody can cut it off or enlarge it."""
    return _is_sealed(fd, _F_SEAL_SHRINK | _F_SEAL_GROW)


# -- records


def _records() -> str:
    path = os.path.join(runtime_dir(), "memory")
    os.makedirs(path, 0o700, exist_ok=True)
    return path


def _record_path(name: str, inode: int) -> str:
    return os.path.join(_records(), f"{name}.{inode}.json")


def _read_record(name: str, found: os.stat_result) -> Optional[Dict[str, Any]]:
    try:
        with open(_record_path(name, found.st_ino), encoding="utf-8") as file:
            record = json.load(file)
        ours = record["talkwire"] == 1 and record["inode"] == found.st_ino and record["boot"] == process_identity()["boot"]
        # Python has no time of birth before 3.15. The time of the last change of the content is not before it; it is the
        # same for what is only mapped, and later, so that the record is not believed, for what somebody also wrote to.
        ours = ours and found.st_mtime_ns <= (record["since"] + 1) * 1_000_000
        return record if ours and type(record["pid"]) is int and type(record["kept"]) is bool else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_record(name: str, record: Dict[str, Any]) -> None:
    path = _record_path(name, record["inode"])
    with open(f"{path}.{os.getpid()}", "w", encoding="utf-8", opener=lambda file, flags: os.open(file, flags, 0o600)) as file:
        json.dump(record, file)
    os.rename(f"{path}.{os.getpid()}", path)


def _remove_record(name: str, inode: int) -> None:
    try:
        os.unlink(_record_path(name, inode))
    except OSError:
        pass  # it says nothing any more


def _keep(name: str, fd: int, record: Dict[str, Any]) -> None:
    _write_record(name, {**record, "kept": True})
    if os.fstat(fd).st_nlink == 0:
        _remove_record(name, record["inode"])


def __getattr__(name: str) -> Any:
    if name == "SharedArray":  # needs this module itself
        from .shared_array import SharedArray

        return SharedArray
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
