"""The first migration: tables on an empty database."""

from __future__ import annotations

import sqlalchemy as sa

from state.migrations.m0001_organizations_and_routes import upgrade


def test_the_first_tables_are_made() -> None:
    """Those that a store of this schema has, whatever is added later."""
    with sa.create_engine("sqlite://").begin() as connection:
        upgrade(connection)
        assert sorted(sa.inspect(connection).get_table_names()) == ["changes", "organizations", "routes"]
