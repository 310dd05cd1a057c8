"""Header edits: what may be set, and what is the mesh's own."""

from __future__ import annotations

import pytest

from state.header_rules import MAX_EDITS, header_problems
from state.refusal import Problem


@pytest.mark.parametrize(
    ("name", "value"), [("X-Stage", "live"), ("Server", ""), ("x.y_z", "a\tb c"), ("Set-Cookie", "a=b; Path=/")]
)
def test_ordinary_fields_may_be_set(name: str, value: str) -> None:
    """Any token with any visible value."""
    assert list(header_problems("headers.request", {name: value})) == []


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Host",
            "Content-Length",
            "Transfer-Encoding",
            "Connection",
            "Keep-Alive",
            "Proxy-Connection",
            "TE",
            "Trailer",
        ),
        *("Upgrade", "Proxy-Authorization", "Expect", "HTTP2-Settings", "X-Zexio-Org", "x-zexio-anything"),
        *("Content_Length", "Transfer.Encoding", "X_Zexio_Org"),
    ],
)
def test_framing_and_identity_are_not_edited(name: str) -> None:
    """Nor by a name that a server folds into one of them."""
    problems = list(header_problems("headers.response", {name: "x"}))
    assert problems == [Problem(f"headers.response[{name!r}]", "is set by the mesh alone")]


@pytest.mark.parametrize("name", ["", "a b", "a:b", ":path", "a\r\nb", "naïve", "a\0"])
def test_a_name_is_a_token(name: str) -> None:
    """RFC 9110 section 5.1."""
    assert [problem.reason for problem in header_problems("h", {name: "x"})] == ["is no field name"]


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\0b", "\x7f", "é", " a", "a ", "\ta"])
def test_a_value_cannot_end_its_line(value: str) -> None:
    """RFC 9110 section 5.5."""
    assert len(list(header_problems("h", {"X-A": value}))) == 1


def test_the_number_and_the_size_are_bounded() -> None:
    """A head that grows without bound is refused by targets."""
    assert len(list(header_problems("h", {f"X-{number}": "x" for number in range(MAX_EDITS + 1)}))) == 1
    assert len(list(header_problems("h", {"X-A": "x" * 4097}))) == 1


def test_a_field_is_named_once() -> None:
    """Names differ in more than case."""
    assert [problem.field for problem in header_problems("h", {"X-A": "1", "x-a": "2"})] == ["h['x-a']"]
