"""The tables of the store: one for each kind, the append-only changes, facts about the store, shelves and leases."""

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

# The version is that of the whole store: each write of any shelf has the next one. A row without a body says that its
# value was removed, and when (seconds since 1970 by the database's clock).
SHELVES: Final = sa.Table(
    "shelves",
    METADATA,
    sa.Column("shelf", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False, unique=True),
    sa.Column("body", sa.LargeBinary),
    sa.Column("removed_at", sa.Double, index=True),
    # With the index on the versions alone, SQLite would walk a whole shelf to find what is new on it.
    sa.Index("shelves_by_version", "shelf", "version"),
)

LEASES: Final = sa.Table(
    "leases",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False, index=True),
)
