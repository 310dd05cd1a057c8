"""The schema: what the migrations make is what the program believes."""

from __future__ import annotations

import sqlalchemy as sa

from state.schema import METADATA
from state.store import Store

Columns = set[tuple[str, bool]]


def described(connection: sa.Connection) -> dict[str, tuple[Columns, list[str]]]:
    """Every table in the database: its columns, which of them may be null, and its key."""
    inspector = sa.inspect(connection)
    return {
        table: (
            {(column["name"], column["nullable"]) for column in inspector.get_columns(table)},
            inspector.get_pk_constraint(table)["constrained_columns"],
        )
        for table in inspector.get_table_names()
    }


async def test_migrations_make_the_tables_of_the_schema(store: Store) -> None:
    """A column that is in one of them alone would be found by an operator."""
    async with store._tables.engine.begin() as connection:
        found = await connection.run_sync(described)
    assert found == {
        table.name: ({(column.name, column.nullable) for column in table.columns}, table.primary_key.columns.keys())
        for table in METADATA.sorted_tables
    }
