"""Which route is meant, whatever is asked of it."""

from __future__ import annotations

import pytest

from admin_api.errors import ApiError
from admin_api.plane import one_route
from state.model import Desired, RouteKey
from tests.admin_api.served import Served
from tests.state.samples import put


def test_a_host_has_one_spelling() -> None:
    """Or is none."""
    assert one_route.fold_named("Shop.Example.") == "shop.example"
    with pytest.raises(ApiError):
        one_route.fold_named("a..b")


def test_what_is_not_there_is_named() -> None:
    """With its prefix."""
    with pytest.raises(ApiError, match=r"a\.example has no route with the path prefix /api"):
        one_route.find(Desired(), RouteKey("a.example", "/api"))


async def test_what_is_there_is_found(served: Served) -> None:
    """By host and prefix."""
    await served.put("a.example", path_prefix="/api")
    assert one_route.find(served.store.desired.value, RouteKey("a.example", "/api")).revision == 1
    assert put("a.example").route.path_prefix == one_route.ROOT
