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


def read_private(path: Path, owner: int | None = None) -> bytes:
    """The content of a file that nobody but its owner can read; besides root, that is `owner` or else our user.

    Raises OSError, and SecretError when the file is another user's, the group or others have any right to it, or it is
    no regular file.
    """
    # Opening a named pipe would wait for its other end.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        _check_status(path, os.fstat(descriptor), os.geteuid() if owner is None else owner)
        return file.read(_MAX_BYTES)


def read_secret(path: Path, owner: int | None = None) -> str:
    """The text in a private file; raises OSError, and SecretError also when there is none."""
    return secret_text(path, read_private(path, owner))


def secret_text(path: Path, content: bytes) -> str:
    """What the file `path` holds, without the space around it; raises SecretError when that is no text."""
    try:
        text = content.decode().strip()
    except UnicodeDecodeError:
        raise SecretError(f"{path} is not text") from None
    if not text:
        raise SecretError(f"{path} is empty")
    return text


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


def _check_status(path: Path, status: os.stat_result, owner: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise SecretError(f"{path} is not a regular file")
    if status.st_uid not in {0, owner}:
        raise SecretError(f"{path} belongs to another user (id {status.st_uid}): run chown {owner} {path}")
    if status.st_mode & _OTHERS:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        raise SecretError(f"{path} can be read by others (mode {mode}): run chmod 600 {path}")


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
