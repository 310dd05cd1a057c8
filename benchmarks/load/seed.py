"""A store with many routes, written before the node starts: by the admin API each would be a change of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import sqlalchemy as sa

from node.data import DataFolder
from state.change import Actor, PutRoute
from state.codec import Codec
from state.kinds import Kind
from state.model import Route, Target
from state.opening import open_tables
from state.schema import KIND_TABLES
from state.secrets import Secrets
from state.store import Store


def seeded_host(number: int) -> str:
    """The host of the route with that number."""
    return f"shop-{number:06d}.bench.test"


def seed_routes(data: Path, count: int, target_port: int) -> None:
    """Write `count` public routes to the store in the data folder `data`."""
    data.mkdir(mode=0o700, exist_ok=True)
    asyncio.run(_seed(DataFolder(data), count, f"http://127.0.0.1:{target_port}"))


async def _seed(folder: DataFolder, count: int, target: str) -> None:
    secrets = Secrets.load_or_create(folder.node_key)
    first = await _first(folder, secrets, Route(host=seeded_host(0), targets=(Target(target),), access="public"))
    tables = await open_tables(folder.store_url, secrets)
    async with tables.resources, tables.engine.begin() as connection:
        others = (msgspec.structs.replace(first, host=seeded_host(number)) for number in range(1, count))
        await connection.execute(sa.insert(KIND_TABLES[Kind.ROUTE]), [_row(tables.codec, each) for each in others])


async def _first(folder: DataFolder, secrets: Secrets, route: Route) -> Route:
    """Put one route as the node would; the others are copies of what the store made of it."""
    async with await Store.open(folder.store_url, secrets) as store:
        desired = await store.submit(PutRoute(route=route), actor=Actor(kind="system", name="benchmark"))
        return desired.routes[route.key]


def _row(codec: Codec, route: Route) -> dict[str, object]:
    return msgspec.structs.asdict(codec.encode(Kind.ROUTE, route))
