"""Values to rows and back: JSON, sealed with the node key for kinds that hold secrets, and never half believed."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from state.errors import StoreError
from state.kinds import Kind
from state.model import KINDS, Entity, KindSpec
from state.secrets import Secrets


class StoredRow(msgspec.Struct, frozen=True):
    """One value as it is kept."""

    key: str
    revision: int
    body: bytes


class Codec:
    """Turns values into rows and back under one node key."""

    def __init__(self, secrets: Secrets, kinds: Mapping[Kind, KindSpec] = KINDS) -> None:
        """A codec for the kinds of the model."""
        self._secrets = secrets
        self._kinds = kinds
        self._encoder = msgspec.json.Encoder(order="deterministic")
        self._decoders = {kind: msgspec.json.Decoder(spec.type) for kind, spec in kinds.items()}

    def encode(self, kind: Kind, value: Entity) -> StoredRow:
        """The row of a value."""
        key = str(value.key)
        body = self._encoder.encode(value)
        if self._kinds[kind].is_secret:
            body = self._secrets.seal(body, _context(kind, key, value.revision))
        return StoredRow(key, value.revision, body)

    def decode(self, kind: Kind, row: StoredRow) -> Entity:
        """The value of a row; raises StoreError or SecretError when the row is not what was written."""
        body = row.body
        if self._kinds[kind].is_secret:
            body = self._secrets.open(body, _context(kind, row.key, row.revision))
        try:
            value: Entity = self._decoders[kind].decode(body)
        except msgspec.MsgspecError as error:
            raise StoreError(f"{_context(kind, row.key, row.revision)} is no {kind}: {error}") from None
        if (str(value.key), value.revision) != (row.key, row.revision):
            raise StoreError(f"{_context(kind, row.key, row.revision)} holds another {kind}: {value.key}")
        return value


def _context(kind: Kind, key: str, revision: int) -> str:
    return f"{kind.collection}/{key}/{revision}"
