"""Private files: whole or absent, and for one owner."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from state.errors import SecretError
from state.private_files import create_private, make_private_directory, read_private, read_secret, secret_text


def mode(path: Path) -> int:
    """The permission bits of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    """Whatever the umask says, and with the directories that were missing."""
    path = tmp_path / "a" / "b" / "key"
    umask = os.umask(0)
    try:
        assert create_private(path, b"secret")
    finally:
        os.umask(umask)
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    assert read_private(path) == b"secret"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_exists_is_left_alone(tmp_path: Path) -> None:
    """Also when it appeared a moment ago."""
    path = tmp_path / "key"
    assert create_private(path, b"first")
    assert not create_private(path, b"second")
    assert read_private(path) == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_of_many_at_once_one_wins(tmp_path: Path) -> None:
    """And everybody reads what that one wrote."""
    path = tmp_path / "key"
    with ThreadPoolExecutor(8) as threads:
        wins = list(threads.map(lambda number: create_private(path, b"%d" % number), range(8)))
    assert wins.count(True) == 1
    assert read_private(path) == b"%d" % wins.index(True)


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660, 0o620])
def test_a_file_that_others_can_touch_is_refused(tmp_path: Path, bits: int) -> None:
    """With the command that makes it right."""
    path = tmp_path / "key"
    create_private(path, b"secret")
    path.chmod(bits)
    with pytest.raises(SecretError, match=f"run chmod 600 {path}"):
        read_private(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A device would be read for ever."""
    with pytest.raises(SecretError, match="not a regular file"):
        read_private(Path("/dev/null"))
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(SecretError, match="not a regular file"):
        read_private(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        read_private(tmp_path / "absent")


def test_a_directory_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    """An operator who shared it meant to."""
    tmp_path.chmod(0o755)
    make_private_directory(tmp_path)
    assert mode(tmp_path) == 0o755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    """That user can read it, whatever its mode says; unless it is the one whom the caller expects."""
    path = tmp_path / "key"
    create_private(path, b"secret")
    os.chown(path, 12_345, -1)
    with pytest.raises(SecretError, match=rf"belongs to another user \(id 12345\): run chown 0 {path}"):
        read_private(path)
    assert read_private(path, owner=12_345) == b"secret"


def test_a_file_of_root_is_everybody_s(tmp_path: Path) -> None:
    """Root can read all the others too."""
    path = tmp_path / "key"
    create_private(path, b" secret\n")
    assert read_secret(path, owner=os.geteuid()) == "secret"


@pytest.mark.parametrize(("content", "reason"), [(b"", "is empty"), (b" \n", "is empty"), (b"\xff", "is not text")])
def test_a_secret_is_text(content: bytes, reason: str) -> None:
    """Signing with nothing is no signature."""
    with pytest.raises(SecretError, match=f"^worker.secret {reason}$"):
        secret_text(Path("worker.secret"), content)
