"""Domains, and beside what is wanted: shelves of sealed values, and leases."""

from __future__ import annotations

import sqlalchemy as sa

from state.schema import kind_table


def upgrade(connection: sa.Connection) -> None:
    """Make the tables for certificates."""
    metadata = sa.MetaData()
    kind_table("domains", metadata)
    sa.Table(
        "shelves",
        metadata,
        sa.Column("shelf", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False, unique=True),
        sa.Column("body", sa.LargeBinary),
        sa.Column("removed_at", sa.Double, index=True),
        sa.Index("shelves_by_version", "shelf", "version"),
    )
    sa.Table(
        "leases",
        metadata,
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False, index=True),
    )
    metadata.create_all(connection, checkfirst=False)
