"""Pages in order, under change, and without sorting again."""

from __future__ import annotations

import base64
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admin_api.errors import ApiError
from admin_api.plane import listing
from admin_api.plane.listing import Page, RouteIndex, Selection, decode_cursor, encode_cursor
from state.cell import Cell
from state.kinds import Kind
from state.model import Desired, Route, RouteKey, Target

KEYS = st.builds(RouteKey, st.text("ab.*", min_size=1, max_size=4), st.sampled_from(["/", "/a", "/b"]))


async def test_pages_are_in_the_order_of_hosts() -> None:
    """And of prefixes within a host."""
    index = RouteIndex(Cell(desired_with([RouteKey("b"), RouteKey("a", "/x"), RouteKey("*.a"), RouteKey("a")])))
    page = await index.page(Selection(limit=10))
    assert keys_of(page) == [RouteKey("*.a"), RouteKey("a"), RouteKey("a", "/x"), RouteKey("b")]
    assert page.after is None


async def test_page_ends_at_its_limit_and_knows_whether_there_is_more() -> None:
    """The last page is known as the last without an empty one after it."""
    index = RouteIndex(Cell(desired_with(numbered(range(4)))))
    first = await index.page(Selection(limit=2))
    assert (keys_of(first), first.after) == (numbered([0, 1]), RouteKey("h001"))
    second = await index.page(Selection(limit=2, after=first.after))
    assert (keys_of(second), second.after) == (numbered([2, 3]), None)


async def test_page_goes_on_after_a_route_that_is_gone() -> None:
    """A cursor is a place in the order and not a route."""
    index = RouteIndex(Cell(desired_with(numbered([1, 3]))))
    assert keys_of(await index.page(Selection(limit=5, after=RouteKey("h002")))) == numbered([3])


async def test_only_what_is_asked_for_is_found() -> None:
    """By organization, by a part of the host, or by both."""
    desired = desired_with(numbered(range(4)))
    desired = desired.with_value(Kind.ROUTE, route(RouteKey("h001"), org_id="org_a"))
    desired = desired.with_value(Kind.ROUTE, route(RouteKey("x001"), org_id="org_a"))
    index = RouteIndex(Cell(desired))
    assert keys_of(await index.page(Selection(limit=5, org_id="org_a"))) == [RouteKey("h001"), RouteKey("x001")]
    assert keys_of(await index.page(Selection(limit=5, q="01"))) == [RouteKey("h001"), RouteKey("x001")]
    assert keys_of(await index.page(Selection(limit=5, q="h", org_id="org_a"))) == [RouteKey("h001")]


async def test_every_lasting_route_is_on_one_page_whatever_changes_between_pages() -> None:
    """Routes that come and go may be seen or not; those that stay are seen once."""
    cell = Cell(desired_with(numbered(range(0, 100, 2))))
    index = RouteIndex(cell)
    seen: list[RouteKey] = []
    after: RouteKey | None = None
    for step in range(1, 1000, 2):
        page = await index.page(Selection(limit=7, after=after))
        seen += keys_of(page)
        after = page.after
        if after is None:
            break
        put(cell, RouteKey(f"h{step:03}"))
        put(cell, RouteKey("a-first"))
        put(cell, RouteKey("h000"))
        remove(cell, RouteKey(f"h{step - 2:03}"))
    assert len(seen) == len(set(seen))
    assert set(numbered(range(0, 100, 2))) <= set(seen)


@given(before=st.sets(KEYS), changes=st.lists(st.tuples(st.booleans(), KEYS), max_size=20))
async def test_index_that_is_brought_up_to_date_is_as_if_sorted_anew(
    before: set[RouteKey], changes: list[tuple[bool, RouteKey]]
) -> None:
    """Whatever was put and removed, in whatever order."""
    cell = Cell(desired_with(before))
    index = RouteIndex(cell)
    await index.page(Selection(limit=1))
    for is_put, key in changes:
        (put if is_put else remove)(cell, key)
    page = await index.page(Selection(limit=1000))
    assert keys_of(page) == sorted(cell.value.routes)
    assert page.revision == cell.revision


async def test_many_routes_are_sorted_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pieces make one order, and a long search lets others have a turn."""
    monkeypatch.setattr(listing, "CHUNK", 3)
    index = RouteIndex(Cell(desired_with(numbered(range(20, 0, -1)))))
    assert keys_of(await index.page(Selection(limit=50))) == numbered(range(1, 21))
    assert keys_of(await index.page(Selection(limit=50, q="20"))) == numbered([20])


@given(KEYS)
def test_cursor_is_a_word_for_a_key(key: RouteKey) -> None:
    """There and back, and nothing in it needs quoting in a URL."""
    cursor = encode_cursor(key)
    assert decode_cursor(cursor) == key
    assert cursor.replace("-", "a").replace("_", "a").isalnum()


@pytest.mark.parametrize(
    "cursor", ["", "a", "!!!!", "ä", "a b", encode_cursor(RouteKey("a")) + "A", base64.b64encode(b"[1,2]").decode()]
)
def test_cursor_of_another_make_is_refused(cursor: str) -> None:
    """With the name of the parameter."""
    with pytest.raises(ApiError) as refused:
        decode_cursor(cursor)
    assert (refused.value.status, refused.value.problems[0].field) == (400, "cursor")


def route(key: RouteKey, org_id: str | None = None) -> Route:
    """A route with one target."""
    return Route(host=key.host, path_prefix=key.path_prefix, targets=(Target("http://127.0.0.1:80"),), org_id=org_id)


def numbered(numbers: Iterable[int]) -> list[RouteKey]:
    """Keys in the order of their numbers."""
    return [RouteKey(f"h{number:03}") for number in numbers]


def desired_with(keys: Iterable[RouteKey]) -> Desired:
    """A wish for routes under `keys`."""
    desired = Desired(revision=1)
    for key in keys:
        desired = desired.with_value(Kind.ROUTE, route(key))
    return desired


def put(cell: Cell[Desired], key: RouteKey) -> None:
    """Add or replace a route, one revision later."""
    cell.set(cell.value.advanced_to(cell.revision + 1).with_value(Kind.ROUTE, route(key)))


def remove(cell: Cell[Desired], key: RouteKey) -> None:
    """Remove a route, one revision later."""
    if key in cell.value.routes:
        cell.set(cell.value.advanced_to(cell.revision + 1).without(Kind.ROUTE, key))


def keys_of(page: Page) -> list[RouteKey]:
    """The keys on a page."""
    return [found.key for found in page.routes]
