"""The data folder: what lies in it under which name, and the secrets that the node makes for itself."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from node.settings import CannotStart, Settings
from node.values import Secret
from state.errors import SecretError, StateError
from state.private_files import make_private_directory, read_secret
from state.secrets import Secrets, secret_file

_BYTES_OF_SECRET = 32


class DataFolder(msgspec.Struct, frozen=True):
    """The paths below the folder that `node.data` names."""

    path: Path

    @property
    def node_key(self) -> Path:
        """The key that encrypts secrets in the store."""
        return self.path / "node.key"

    @property
    def mesh_secret(self) -> Path:
        """The shared secret of mesh tokens, when the node made it itself."""
        return self.path / "mesh-jwt.secret"

    @property
    def worker_secret(self) -> Path:
        """The secret of worker signatures (contracts/plane.md, Auth)."""
        return self.path / "worker.secret"

    @property
    def store_url(self) -> str:
        """The database of a node that has no other configured."""
        return f"sqlite:///{self.path / 'zexio.db'}"

    def prepare(self) -> None:
        """Make the folder (0700) where there is none; raises CannotStart when that fails."""
        try:
            make_private_directory(self.path)
        except OSError as error:
            raise CannotStart(f"node.data: {self.path} cannot be made: {error.strerror}") from None


def is_exposed(path: Path) -> bool:
    """Whether others on this machine may look into a folder or a file."""
    return bool(path.stat().st_mode & 0o077)


@contextmanager
def named(setting: str) -> Iterator[None]:
    """Turn what `state` finds wrong into the line that names the setting to change; raises CannotStart."""
    try:
        yield
    except StateError as error:
        raise CannotStart(f"{setting}: {error}") from None
    except OSError as error:
        raise CannotStart(f"{setting}: {error.filename} cannot be read: {error.strerror}") from None


def node_secrets(folder: DataFolder, written: Path | None) -> Secrets:
    """The secrets under the node key; `written` is a store that exists already, which no new key would open."""
    with named("node.data"):
        if written is not None and not folder.node_key.exists():
            raise SecretError(f"{folder.node_key} is missing, and {written} was written with it: put it back")
        return Secrets.load_or_create(folder.node_key)


def mesh_secret(settings: Settings) -> Secret | None:
    """The configured secret, or without any key configured the one the node makes; None with public keys alone."""
    return _mesh_secret(settings, _own_secret)


def kept_mesh_secret(settings: Settings) -> Secret | None:
    """The same in a running node, where a file that is gone must not become a new secret that no token is made with."""
    return _mesh_secret(settings, read_secret)


def worker_secret(settings: Settings) -> Secret:
    """The secret of worker signatures: what the configured file holds, or else one that the node makes."""
    path = settings.auth.worker_secret_file
    if path is None:
        with named("node.data"):
            return Secret(_own_secret(DataFolder(settings.node.data).worker_secret))
    # A secret that was made here would be known to nobody, least of all to those who sign.
    with named("auth.worker_secret_file"):
        return Secret(read_secret(path))


def _mesh_secret(settings: Settings, read: Callable[[Path], str]) -> Secret | None:
    if settings.jwt.secret:
        return settings.jwt.secret
    if settings.jwt.pem_files or settings.jwt.jwks_url:
        return None
    with named("node.data"):
        return Secret(read(DataFolder(settings.node.data).mesh_secret))


def _own_secret(path: Path) -> str:
    return secret_file(path, _random)


def _random() -> str:
    return secrets.token_hex(_BYTES_OF_SECRET)
