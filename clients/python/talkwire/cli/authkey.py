"""`--authkey-file`."""

from __future__ import annotations

import os
from typing import Optional

from .output import UsageError


def read_authkey(path: Optional[str]) -> Optional[bytes]:
    """The key in a file, without the line's end. Raises UsageError for a file that others can read."""
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            mode, key = os.fstat(file.fileno()).st_mode, file.read(4096)
    except OSError as error:
        raise UsageError(f"cannot read the key: {error}") from error
    if mode & 0o077:
        raise UsageError(f"others can read {path}; chmod 600 it")
    key = key.rstrip(b"\r\n")
    if len(key) < 16:
        raise UsageError(f"the key in {path} has {len(key)} bytes; it needs at least 16")
    return key
