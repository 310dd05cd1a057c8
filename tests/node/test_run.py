"""What keeps a node from starting; tests/flows runs whole nodes."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from node.run import run
from node.settings import CannotStart, Settings, load
from state.secrets import Secrets
from tests.node.test_files import certificate


@pytest.fixture(autouse=True)
def _process_as_before() -> Iterator[None]:
    """A node takes over its process: put back the rights of new files and the log."""
    mask = os.umask(0o022)
    handlers = list(logging.getLogger().handlers)
    yield
    os.umask(mask)
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    logging.getLogger().handlers[:] = handlers


def settings(data: Path, **environ: str) -> Settings:
    """Settings of a node on free ports of loopback."""
    free = {"ZEXIO_MESH_LISTEN": "127.0.0.1:0", "ZEXIO_ADMIN_LISTEN": "127.0.0.1:0"}
    return load(None, {**free, **{name.upper(): text for name, text in environ.items()}}, {"--data": str(data)})


def refused(settings: Settings) -> str:
    """The line with which a node does not start."""
    with pytest.raises(CannotStart) as caught:
        run(settings, lambda: settings)
    return str(caught.value)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """The setting is named."""
    (tmp_path / "file").touch()
    assert refused(settings(tmp_path / "file" / "data")).startswith("node.data: ")


def test_a_key_that_others_can_read(tmp_path: Path) -> None:
    """What `state` refuses is one line here too."""
    (tmp_path / "node.key").write_text("0" * 64)
    (tmp_path / "node.key").chmod(0o644)
    assert "can be read by others" in refused(settings(tmp_path))


def test_a_store_that_cannot_be_opened(tmp_path: Path) -> None:
    """A file that is no database; it is named with its setting and without the driver."""
    Secrets.load_or_create(tmp_path / "node.key")
    path = tmp_path / "zexio.db"
    path.write_bytes(b"not a database" * 100)
    line = f"the store {path} cannot be opened: file is not a database"
    assert refused(settings(tmp_path)) == f"node.data: {line}"
    assert refused(settings(tmp_path, zexio_node_store=f"sqlite:///{path}")) == f"node.store: {line}"


def test_a_key_that_is_missing(tmp_path: Path) -> None:
    """Nothing is made that would stand in its way when it comes back."""
    (tmp_path / "zexio.db").write_bytes(b"rows")
    assert "node.key is missing" in refused(settings(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["zexio.db"]


def test_a_worker_secret_is_looked_at_before_anything_listens(tmp_path: Path) -> None:
    """Otherwise visitors would be taken in, and cut off."""
    path = tmp_path / "etc.secret"
    path.write_text("shared")
    path.chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        line = refused(settings(tmp_path / "data", zexio_mesh_listen=taken, zexio_auth_worker_secret_file=str(path)))
    assert line.startswith(f"auth.worker_secret_file: {path} can be read by others")


def test_a_store_that_others_can_read_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It was copied there, with other rights."""
    Secrets.load_or_create(tmp_path / "node.key")
    path = tmp_path / "zexio.db"
    path.write_bytes(b"not a database" * 100)
    path.chmod(0o644)
    refused(settings(tmp_path))
    assert f"chmod go= {path}" in capsys.readouterr().err


@pytest.mark.parametrize("taken_first", [True, False])
def test_the_taken_one_of_several_addresses_is_named(tmp_path: Path, taken_first: bool) -> None:
    """The operator need not try them one by one."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        listen = [taken, "127.0.0.1:0"] if taken_first else ["127.0.0.1:0", taken]
        line = refused(settings(tmp_path, zexio_mesh_listen=",".join(listen)))
    assert line == f"mesh.listen: {taken} is already in use"


def test_a_taken_address_for_tls_is_named(tmp_path: Path) -> None:
    """By its own setting."""
    pem = certificate(tmp_path / "a.pem", "a.example")
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        line = refused(settings(tmp_path, zexio_mesh_tls_listen=taken, zexio_tls_certificates=str(pem)))
    assert line == f"mesh.tls_listen: {taken} is already in use"


def test_a_certificate_that_is_missing(tmp_path: Path) -> None:
    """The file is named, before anything listens."""
    path = tmp_path / "absent.pem"
    line = refused(settings(tmp_path / "data", zexio_tls_certificates=str(path)))
    assert line.startswith(f"tls.certificates: {path}")


def test_an_issuer_that_nobody_knows(tmp_path: Path) -> None:
    """Before anything listens, and not when the first certificate is wanted."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        line = refused(settings(tmp_path, zexio_mesh_listen=taken, zexio_certs_issuers="letsencript"))
    assert line.startswith("certs.issuers: letsencript: there is no such file, and no such issuer")


def test_a_key_for_tokens_that_is_unfit(tmp_path: Path) -> None:
    """The node does not start with fewer keys than it was told."""
    assert "absent.pem cannot be read" in refused(settings(tmp_path, zexio_jwt_pem_files=str(tmp_path / "absent.pem")))
