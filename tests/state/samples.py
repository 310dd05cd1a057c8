"""Values that the tests of this folder start from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from state.change import Actor, PutRoute
from state.model import Desired, Route, RouteKey, Target

NOON: Final = datetime(2026, 5, 17, 12, 0, tzinfo=UTC)
OPERATOR: Final = Actor(kind="operator", name="ada", address="127.0.0.1")
TARGET: Final = Target("http://127.0.0.1:9000")


def route(host: str = "shop.example.com", **fields: Any) -> Route:  # noqa: ANN401 - any field of a route
    """A route to one target."""
    return Route(**{"host": host, "targets": (TARGET,), **fields})


def put(host: str = "shop.example.com", **fields: Any) -> PutRoute:  # noqa: ANN401
    """The change that puts such a route."""
    return PutRoute(route=route(host, **fields))


def written(desired: Desired, host: str = "shop.example.com", path_prefix: str = "/") -> Route:
    """The route as it is wanted."""
    return desired.routes[RouteKey(host, path_prefix)]
