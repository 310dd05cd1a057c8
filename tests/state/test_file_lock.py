"""FileLock: one holder, and none when it is gone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from state.errors import StoreError
from state.file_lock import FileLock


def test_a_second_holder_is_refused_by_name(tmp_path: Path) -> None:
    """The line says which process to look at."""
    lock = FileLock(tmp_path / "zexio.db")
    with pytest.raises(StoreError) as error:
        FileLock(tmp_path / "zexio.db")
    assert str(error.value) == f"{tmp_path}/zexio.db is in use by another node (process {os.getpid()})"
    lock.release()


def test_a_released_lock_can_be_taken(tmp_path: Path) -> None:
    """The file that it left behind is no lock."""
    FileLock(tmp_path / "zexio.db").release()
    FileLock(tmp_path / "zexio.db").release()


def test_other_files_have_other_locks(tmp_path: Path) -> None:
    """Two stores in one directory are two stores."""
    locks = [FileLock(tmp_path / name) for name in ("a.db", "b.db")]
    for lock in locks:
        lock.release()
