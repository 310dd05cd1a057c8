"""Files that only their owner may read: made whole or not at all, and never trusted when others could read them."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from state.errors import SecretError

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_MAX_BYTES: Final = 64 * 1024


def make_private_directory(path: Path) -> None:
    """Make `path` and its parents where they are missing; what is made here is for the owner alone (0700)."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def read_private(path: Path) -> bytes:
    """The content of a file that nobody but its owner can read.

    Raises FileNotFoundError, and SecretError when the group or others have any right to it or it is no regular file.
    """
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise SecretError(f"{path} is not a regular file")
        if mode & _OTHERS:
            raise SecretError(f"{path} can be read by others (mode {stat.S_IMODE(mode):04o}): run chmod 600 {path}")
        return file.read(_MAX_BYTES)


def create_private(path: Path, content: bytes) -> bool:
    """Make the file `path` (0600) with `content`, durably; False when it already exists.

    After a crash the file is there with all of its content, or not at all.
    """
    make_private_directory(path.parent)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _write_durably(draft, content)
        # A link and not a rename: of two nodes that start at once, the second must not replace what the first one uses.
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    _sync_directory(path.parent)
    return True


def _write_durably(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
