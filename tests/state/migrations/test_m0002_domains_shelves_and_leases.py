"""The second migration: tables beside those of the first."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from state.database import file_of, make_engine, make_file, parse_url
from state.migrations.m0002_domains_shelves_and_leases import upgrade
from state.migrations.runner import MIGRATIONS, migrate
from state.secrets import Secrets
from state.store import Store
from tests.state.samples import OPERATOR, put, put_domain


def test_the_tables_for_certificates_are_made() -> None:
    """Those that a store of this schema has, whatever is added later."""
    with sa.create_engine("sqlite://").begin() as connection:
        upgrade(connection)
        assert sorted(sa.inspect(connection).get_table_names()) == ["domains", "leases", "shelves"]


async def test_a_store_of_the_first_schema_gets_them(url: str, secrets: Secrets) -> None:
    """At its next start, and they can be used."""
    parsed = parse_url(url)
    make_file(file_of(parsed) or Path("/dev/null"))
    engine = make_engine(parsed)
    await migrate(engine, MIGRATIONS[:1])
    await engine.dispose()
    async with await Store.open(url, secrets) as store:
        await store.submit(put(), actor=OPERATOR)
        await store.submit(put_domain(serves="shop.example.com"), actor=OPERATOR)
        assert await store.shelf("certificates").put("www.example.com", b"1") == 1
        assert await store.leases.take("certificate/www.example.com", 30) is not None
