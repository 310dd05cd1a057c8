"""The data folder."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from node.data import DataFolder, mesh_secret, worker_secret
from node.settings import CannotStart, load

LONG_SECRET = "s" * 32


def test_the_folder_is_private(tmp_path: Path) -> None:
    """It holds secrets, so nobody else may look into it."""
    folder = DataFolder(tmp_path / "a" / "b")
    folder.prepare()
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert not folder.is_exposed()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    """The setting is named, with the system's own words."""
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match=r"node\.data: .*/file/data cannot be made: Not a directory"):
        DataFolder(tmp_path / "file" / "data").prepare()


def test_an_exposed_folder_is_noticed(tmp_path: Path) -> None:
    """It was made by someone else, with other rights."""
    tmp_path.chmod(0o755)
    assert DataFolder(tmp_path).is_exposed()


def test_the_mesh_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    """Tokens outlive a restart."""
    settings = load(None, {}, {"--data": str(tmp_path)})
    secret = mesh_secret(settings)
    assert secret is not None
    assert len(secret) == 64
    assert mesh_secret(settings) == secret
    assert stat.S_IMODE(DataFolder(tmp_path).mesh_secret.stat().st_mode) == 0o600


def test_a_configured_secret_is_not_written_down(tmp_path: Path) -> None:
    """It is kept where the operator keeps it."""
    settings = load(None, {"MESH_JWT_SECRET": LONG_SECRET}, {"--data": str(tmp_path)})
    assert mesh_secret(settings) == LONG_SECRET
    assert list(tmp_path.iterdir()) == []


def test_with_public_keys_there_is_no_secret(tmp_path: Path) -> None:
    """A secret that nobody asked for would be one more thing to steal."""
    environ = {"ZEXIO_JWT_PEM_FILES": str(tmp_path / "key.pem")}
    assert mesh_secret(load(None, environ, {"--data": str(tmp_path)})) is None


def test_the_worker_secret_may_lie_elsewhere(tmp_path: Path) -> None:
    """The seed's implementation keeps it beside its configuration."""
    path = tmp_path / "etc" / "worker.secret"
    settings = load(None, {"ZEXIO_AUTH_WORKER_SECRET_FILE": str(path)}, {"--data": str(tmp_path / "data")})
    assert path.parent.exists() is False
    assert worker_secret(settings) == path.read_text().strip()
