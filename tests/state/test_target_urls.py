"""Target URLs: a scheme, a host and a port, or a socket."""

from __future__ import annotations

import pytest

from state.target_urls import fold_target_url


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("http://App.Internal", "http://app.internal:80"),
        ("https://app.internal", "https://app.internal:443"),
        ("http://my_app:3000", "http://my_app:3000"),
        ("http://[::1]:9000", "http://[::1]:9000"),
        ("https://[2001:db8:0::1]", "https://[2001:db8::1]:443"),
        ("http://app.internal:00080", "http://app.internal:80"),
        ("unix:/run/app.sock", "unix:/run/app.sock"),
    ],
)
def test_a_target_has_one_spelling(text: str, folded: str) -> None:
    """What counts requests in flight goes by the address, so it must not have two."""
    assert fold_target_url(text) == folded


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must begin with"),
        ("127.0.0.1:9000", "must begin with"),
        ("ftp://a.example", "must begin with"),
        ("ws://a.example", "must begin with"),
        ("HTTP://a.example", "must begin with"),
        ("http:/a.example", "must begin with"),
        (" http://a.example", "must begin with"),
        ("http://a.example/", "has a path"),
        ("http://a.example/api", "has a path"),
        ("http://a.example?x=1", "has a path or a query"),
        ("http://a.example#x", "has a path or a query"),
        ("http://ada:secret@a.example", "has a user name"),
        ("http://", "has a host that is empty"),
        ("http://:9000", "has a host that is empty"),
        ("http://a.example:", "no valid host and port"),
        ("http://a.example:x", "no valid host and port"),
        ("http://a.example:1:2", "no valid host and port"),
        ("http://::1:9000", "no valid host and port"),
        ("http://a.example:0", "port outside"),
        ("http://a.example:65536", "port outside"),
        ("http://a_b\r\nX", "letters, digits"),
        ("http://*.example", "letters, digits"),
        ("unix:", "no absolute path"),
        ("unix:run/app.sock", "no absolute path"),
        ("unix:///run/app.sock\n", "no absolute path"),
        ("unix:/" + "a" * 107, "longer than 107"),
    ],
)
def test_what_is_no_target_is_refused_with_a_reason(text: str, reason: str) -> None:
    """The reason says what to change, and never repeats a password."""
    with pytest.raises(ValueError, match=reason) as refusal:
        fold_target_url(text)
    assert "secret" not in str(refusal.value)
