"""Conditional requests as a table."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from admin_api.errors import ApiError
from admin_api.preconditions import etag, expectation, is_fresh
from state.change import Absent, Expectation, IfMatch, Present

Headers = list[tuple[str, str]]


@pytest.mark.parametrize(
    ("headers", "current", "expected"),
    [
        ([], 7, None),
        ([], None, None),
        ([("If-Match", '"7"')], 7, IfMatch(7)),
        ([("If-Match", '"5", "7"')], 7, IfMatch(7)),
        ([("If-Match", '"5"'), ("If-Match", '"7"')], 7, IfMatch(7)),
        ([("If-Match", "*")], 7, Present()),
        ([("If-None-Match", "*")], None, Absent()),
        ([("If-None-Match", '"5"')], 7, IfMatch(7)),
        ([("If-None-Match", '"5"')], None, Absent()),
        ([("If-Match", "*"), ("If-None-Match", '"5"')], 7, IfMatch(7)),
    ],
)
def test_condition_becomes_an_expectation(headers: Headers, current: int | None, expected: Expectation | None) -> None:
    """A condition that holds now is handed on, so that it is checked again at the moment of the change."""
    assert expectation(proxy(headers), current) == expected


@pytest.mark.parametrize(
    ("headers", "current"),
    [
        ([("If-Match", '"6"')], 7),
        ([("If-Match", 'W/"7"')], 7),
        ([("If-Match", '"7"')], None),
        ([("If-Match", "*")], None),
        ([("If-None-Match", "*")], 7),
        ([("If-None-Match", '"7"')], 7),
        ([("If-None-Match", 'W/"7"')], 7),
        ([("If-Match", '"7"'), ("If-None-Match", "*")], 7),
    ],
)
def test_condition_that_does_not_hold_is_a_412(headers: Headers, current: int | None) -> None:
    """Weak tags never match for If-Match and do for If-None-Match (RFC 9110 sections 13.1.1 and 13.1.2)."""
    with pytest.raises(ApiError) as refused:
        expectation(proxy(headers), current)
    assert refused.value.status == 412


@pytest.mark.parametrize("field", ["", "7", '"7', '7"', '"7" "8"', '*, "7"', '"7",', 'w/"7"', "'7'"])
@pytest.mark.parametrize("name", ["If-Match", "If-None-Match"])
def test_condition_that_cannot_be_read_is_a_400(name: str, field: str) -> None:
    """It must not count as no condition."""
    with pytest.raises(ApiError) as refused:
        expectation(proxy([(name, field)]), 7)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("field", "expected"), [('"7"', True), ('W/"7"', True), ("*", True), ('"6", "7"', True), ('"6"', False)]
)
def test_client_with_the_current_tag_is_fresh(field: str, expected: bool) -> None:
    """A GET is answered with 304 by weak comparison."""
    assert is_fresh(proxy([("If-None-Match", field)]), etag(7)) is expected


def test_client_without_a_tag_is_not_fresh() -> None:
    """Most clients have nothing yet."""
    assert not is_fresh(proxy([]), etag(7))


def proxy(headers: Headers) -> CIMultiDictProxy[str]:
    """Headers as a request has them."""
    return CIMultiDictProxy(CIMultiDict(headers))
