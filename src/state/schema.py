"""The tables of the store: one of the same shape for each kind, the append-only changes, and facts about the store."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import sqlalchemy as sa

from state.kinds import Kind

METADATA: Final = sa.MetaData()

# On SQLite only a column declared INTEGER is the row id itself; BIGINT would cost a second index.
REVISION: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def kind_table(name: str, metadata: sa.MetaData) -> sa.Table:
    """The table of one kind: the key as text, the revision that wrote the value, and its JSON, perhaps sealed."""
    return sa.Table(
        name,
        metadata,
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )


KIND_TABLES: Final[Mapping[Kind, sa.Table]] = MappingProxyType(
    {kind: kind_table(kind.collection, METADATA) for kind in Kind}
)

# The primary key is what makes two nodes that share a store take turns: a revision is written once.
CHANGES: Final = sa.Table(
    "changes",
    METADATA,
    sa.Column("revision", REVISION, primary_key=True, autoincrement=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("actor_kind", sa.Text, nullable=False),
    sa.Column("actor_name", sa.Text, nullable=False),
    sa.Column("actor_address", sa.Text),
    sa.Column("change", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("touched", sa.Text, nullable=False),
)

META: Final = sa.Table(
    "meta",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
)
