"""The data folder: what lies in it under which name, and the secrets that the node makes for itself."""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec

from node.settings import CannotStart, Settings
from node.values import Secret
from state.private_files import make_private_directory
from state.secrets import secret_file

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

    def is_exposed(self) -> bool:
        """Whether others on this machine may look into the folder."""
        return bool(self.path.stat().st_mode & 0o077)


def mesh_secret(settings: Settings) -> Secret | None:
    """The configured secret, or without any key configured the one the node makes; None with public keys alone."""
    if settings.jwt.secret:
        return settings.jwt.secret
    if settings.jwt.pem_files or settings.jwt.jwks_url:
        return None
    return Secret(secret_file(DataFolder(settings.node.data).mesh_secret, _random))


def worker_secret(settings: Settings) -> Secret:
    """The secret of worker signatures, made when there is none."""
    path = settings.auth.worker_secret_file or DataFolder(settings.node.data).worker_secret
    return Secret(secret_file(path, _random))


def _random() -> str:
    return secrets.token_hex(_BYTES_OF_SECRET)
