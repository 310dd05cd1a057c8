"""Organizations, routes, and the record of changes."""

from __future__ import annotations

import sqlalchemy as sa

from state.schema import REVISION, kind_table


def upgrade(connection: sa.Connection) -> None:
    """Make the first tables."""
    metadata = sa.MetaData()
    kind_table("organizations", metadata)
    kind_table("routes", metadata)
    sa.Table(
        "changes",
        metadata,
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
    metadata.create_all(connection, checkfirst=False)
