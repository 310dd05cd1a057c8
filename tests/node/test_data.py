"""The data folder."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from node.data import DataFolder, is_exposed, kept_mesh_secret, mesh_secret, node_secrets, worker_secret
from node.settings import CannotStart, load
from state.private_files import create_private

LONG_SECRET = "s" * 32


def test_the_folder_is_private(tmp_path: Path) -> None:
    """It holds secrets, so nobody else may look into it."""
    folder = DataFolder(tmp_path / "a" / "b")
    folder.prepare()
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert not is_exposed(folder.path)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    """The setting is named, with the system's own words."""
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match=r"node\.data: .*/file/data cannot be made: Not a directory"):
        DataFolder(tmp_path / "file" / "data").prepare()


def test_an_exposed_folder_is_noticed(tmp_path: Path) -> None:
    """It was made by someone else, with other rights."""
    tmp_path.chmod(0o755)
    assert is_exposed(tmp_path)


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


def test_a_running_node_makes_no_secret(tmp_path: Path) -> None:
    """A new one in place of a file that is gone would refuse every token in use."""
    settings = load(None, {}, {"--data": str(tmp_path)})
    secret = mesh_secret(settings)
    assert kept_mesh_secret(settings) == secret
    path = DataFolder(tmp_path).mesh_secret
    path.unlink()
    with pytest.raises(CannotStart, match=f"^node.data: {path} cannot be read: No such file or directory$"):
        kept_mesh_secret(settings)
    assert not path.exists()


def test_the_worker_secret_is_made_in_the_folder(tmp_path: Path) -> None:
    """Where none is configured."""
    settings = load(None, {}, {"--data": str(tmp_path)})
    assert worker_secret(settings) == DataFolder(tmp_path).worker_secret.read_text().strip()


def test_the_worker_secret_may_lie_elsewhere(tmp_path: Path) -> None:
    """The seed's implementation keeps it beside its configuration."""
    path = tmp_path / "etc" / "worker.secret"
    settings = load(None, {"ZEXIO_AUTH_WORKER_SECRET_FILE": str(path)}, {"--data": str(tmp_path / "data")})
    create_private(path, b"theirs\n")
    assert worker_secret(settings) == "theirs"


def test_a_worker_secret_that_is_named_is_not_made(tmp_path: Path) -> None:
    """The path is wrong, or whoever signs has another one."""
    path = tmp_path / "etc" / "worker.secret"
    settings = load(None, {"ZEXIO_AUTH_WORKER_SECRET_FILE": str(path)}, {"--data": str(tmp_path / "data")})
    with pytest.raises(CannotStart, match=f"^auth.worker_secret_file: {path} cannot be read: No such file"):
        worker_secret(settings)
    assert not path.parent.exists()


def test_an_unfit_secret_names_its_setting(tmp_path: Path) -> None:
    """The path alone does not say what to change."""
    path = tmp_path / "worker.secret"
    path.write_text("shared")
    path.chmod(0o644)
    named = load(None, {"ZEXIO_AUTH_WORKER_SECRET_FILE": str(path)}, {"--data": str(tmp_path / "data")})
    with pytest.raises(CannotStart, match=f"^auth.worker_secret_file: {path} can be read by others"):
        worker_secret(named)
    with pytest.raises(CannotStart, match=f"^node.data: {path} can be read by others"):
        worker_secret(load(None, {}, {"--data": str(tmp_path)}))


def test_a_store_keeps_its_key(tmp_path: Path) -> None:
    """A new key opens nothing that was written with the old one, and would stand in its place."""
    folder, store = DataFolder(tmp_path), tmp_path / "zexio.db"
    with pytest.raises(CannotStart, match=f"^node.data: {folder.node_key} is missing, and {store} was written with it"):
        node_secrets(folder, store)
    assert not folder.node_key.exists()
    first = node_secrets(folder, None)
    assert node_secrets(folder, store).key_id == first.key_id
