"""`FileLock`: one process at a time, for as long as it lives, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from state.errors import StoreError


class FileLock:
    """An exclusive lock beside the file that it guards. The kernel drops it when the process ends."""

    def __init__(self, guarded: Path) -> None:
        """Take the lock at once; raises StoreError when another process, or this one, has it."""
        path = guarded.with_name(f"{guarded.name}.lock")
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(self._descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._descriptor)
            raise StoreError(f"{guarded} is in use by another node (process {owner})") from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let others have it. The file stays: removing it would let two processes lock two files of one name."""
        os.close(self._descriptor)
