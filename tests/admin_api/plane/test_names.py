"""Pages of names, and names in requests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admin_api.errors import ApiError
from admin_api.plane import names
from admin_api.plane.names import INLINE, NameSelection, decode_cursor, encode_cursor, fold, page


def selection(limit: int = 10, after: str | None = None, q: str | None = None) -> NameSelection:
    """Names that do not begin with x."""
    return NameSelection(limit=limit, after=after, q=q, is_wanted=lambda name: not name.startswith("x"))


async def test_a_page_is_in_order_and_ends_at_its_limit() -> None:
    """The last page is known as the last."""
    given_names = ["c.example", "x.example", "a.example", "b.example"]
    first = await page(given_names, 4, selection(2))
    assert (first.names, first.after) == (["a.example", "b.example"], "b.example")
    second = await page(given_names, 4, selection(2, first.after))
    assert (second.names, second.after) == (["c.example"], None)


async def test_only_what_is_asked_for_is_found() -> None:
    """By a part of the name."""
    assert (await page(["a.example", "b.other"], 2, selection(q="other"))).names == ["b.other"]


async def test_many_names_are_found_alike() -> None:
    """In a thread."""
    many = [f"h{number:05}.example" for number in range(INLINE + 1)]
    found = await page(reversed(many), len(many), selection(3, after=many[500]))
    assert found.names == many[501:504]


@given(st.text("ab.*-é", min_size=1, max_size=60))
def test_a_cursor_is_read_back(name: str) -> None:
    """Whatever the name is."""
    assert decode_cursor(encode_cursor(name)) == name


@pytest.mark.parametrize("cursor", ["?", "a", "_w"])
def test_a_cursor_that_nobody_gave_out_is_refused(cursor: str) -> None:
    """By its field."""
    with pytest.raises(ApiError, match="cursor is not one"):
        decode_cursor(cursor)


def test_a_name_has_one_spelling() -> None:
    """Or the reason says what would be accepted."""
    assert fold("Shop.Example.COM.") == "shop.example.com"
    with pytest.raises(ApiError, match=r"domain is no domain name; give a name such as shop\.example\.com"):
        fold("192.0.2.1", "domain")
    assert str(names.bad_name("name", "is empty").problems[0].field) == "name"
