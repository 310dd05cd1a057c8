"""Header edits: what may be set, and what is the mesh's own."""

from __future__ import annotations

import pytest

from state.header_rules import check_edited, check_named_once, check_token, check_value


@pytest.mark.parametrize("name", ["X-Stage", "Server", "x.y_z", "Set-Cookie"])
def test_ordinary_fields_may_be_edited(name: str) -> None:
    """Any token."""
    assert check_edited(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Proxy-Connection", "TE"),
        *("Trailer", "Upgrade", "Proxy-Authorization", "Expect", "HTTP2-Settings", "X-Zexio-Org", "x-zexio-anything"),
        *("Content_Length", "Transfer.Encoding", "X_Zexio_Org"),
    ],
)
def test_framing_and_identity_are_not_edited(name: str) -> None:
    """Nor by a name that a server folds into one of them."""
    with pytest.raises(ValueError, match="is set by the mesh alone"):
        check_edited(name)


@pytest.mark.parametrize("name", ["", "a b", "a:b", ":path", "a\r\nb", "naïve", "a\0", "a" * 257])
def test_a_name_is_a_token(name: str) -> None:
    """RFC 9110 section 5.1."""
    for check in (check_token, check_edited):
        with pytest.raises(ValueError, match="is no field name"):
            check(name)


@pytest.mark.parametrize("value", ["", "live", "a\tb c", "a=b; Path=/", "x" * 4096])
def test_a_value_is_visible_text(value: str) -> None:
    """Or nothing."""
    assert check_value(value) == value


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\0b", "\x7f", "é", " a", "a ", "\ta", "x" * 4097])
def test_a_value_cannot_end_its_line(value: str) -> None:
    """RFC 9110 section 5.5; nor is it longer than a head may be."""
    with pytest.raises(ValueError, match="has a value"):
        check_value(value)


def test_a_field_is_named_once() -> None:
    """In any spelling, for their order would decide."""
    assert check_named_once(("X-A", "X-B")) == ("X-A", "X-B")
    with pytest.raises(ValueError, match="names x-a twice"):
        check_named_once({"X-A": "1", "x-a": "2"})
