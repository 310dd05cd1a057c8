"""Which page an error gets, and that what is filled in cannot become part of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.pages import Pages
from mesh.policies import ErrorPage, ErrorPages

PAGES = ErrorPages(pages=(ErrorPage("502", "this"), ErrorPage("5XX", "class"), ErrorPage("404", "lost")))
INTERCEPTING = ErrorPages(pages=PAGES.pages, intercept=True)


@pytest.mark.parametrize(
    ("status", "text"), [(502, b"this"), (503, b"class"), (599, b"class"), (404, b"lost"), (403, b"other")]
)
def test_the_most_exact_page_is_taken(status: int, text: bytes) -> None:
    """The status itself, then its class, then the node's page."""
    assert Pages(PAGES, "other").page(status, "", "") == text


def test_without_any_page_there_is_none() -> None:
    """The proxy has one of its own for this."""
    assert Pages(PAGES, "").page(403, "", "") is None
    assert Pages(None, "").page(502, "", "") is None
    assert Pages(None, "node").page(502, "", "") == b"node"


def test_everything_that_is_known_can_be_filled_in() -> None:
    """More than once, and with other braces left alone."""
    page = "<style>p{color:red} {}</style>{status} {reason}: {detail} {{status}} {Status} {request_id}{status}{0}"
    filled = Pages(None, page).page(404, "Not here.", "r1")
    assert filled == b"<style>p{color:red} {}</style>404 Not Found: Not here. {404} {Status} r1404{0}"


def test_a_status_of_no_name_is_an_error() -> None:
    """499 is one that nobody registered."""
    assert Pages(None, "{status} {reason}").page(499, "", "") == b"499 Error"


@given(st.text(), st.text())
def test_what_is_filled_in_is_escaped_and_not_filled_in_again(detail: str, request_id: str) -> None:
    """A detail may hold what a visitor sent."""
    filled = Pages(None, "<a title='{detail}'>{request_id}").page(400, detail, request_id)
    assert filled is not None
    inside = filled.decode()[len("<a title='") :]
    assert inside.count("<") == inside.count('"') == 0
    assert inside.count("'") == 1
    assert inside.count(">") == 1


def test_a_placeholder_in_a_value_stays() -> None:
    """It is filled in once."""
    assert Pages(None, "{detail}").page(400, "{status}<b>", "") == b"{status}&lt;b&gt;"


def test_a_page_is_utf_8() -> None:
    """Whatever the operator writes."""
    assert Pages(None, "schön \ud800 {detail}").page(400, "é", "") == "schön ? é".encode()


@pytest.mark.parametrize(
    ("pages", "replaced"),
    [(INTERCEPTING, [404, 500, 502]), (PAGES, []), (None, [])],
)
def test_answers_of_targets_are_replaced_on_demand_only(pages: ErrorPages | None, replaced: list[int]) -> None:
    """Errors that the route has a page for; the node's page replaces nothing."""
    found = Pages(pages, "other")
    assert [status for status in (200, 304, 403, 404, 500, 502) if found.intercepts(status)] == replaced


def test_a_page_for_what_is_no_error_replaces_nothing() -> None:
    """A redirect is an answer."""
    pages = ErrorPages(pages=(ErrorPage("3xx", "moved"), ErrorPage("200", "fine")), intercept=True)
    assert [status for status in (200, 302) if Pages(pages, "").intercepts(status)] == []
