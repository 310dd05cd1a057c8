"""The answers that the proxy makes itself are well-formed, whatever the failure says."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh import errors
from mesh.answers import failure_answer
from mesh.errors import BAD_REQUEST, HTTPS_ONLY, NO_TARGET, VISITOR_GONE, Failure, Kind

KINDS = {name: kind for name, kind in vars(errors).items() if isinstance(kind, Kind)}


def _answer(failure: Failure, accept: bytes = b"", request_id: bytes = b"id-1") -> tuple[bytes, dict[str, str], bytes]:
    """The status line, the fields and the body."""
    status, section, body = failure_answer(failure, accept, request_id)
    assert section.passing.endswith(b"\r\n")
    assert (status.status, section.framing.length) == (failure.status, len(body))
    line, fields = status.line, section.passing[:-2].split(b"\r\n")
    pairs = [field.decode("latin-1").split(": ", 1) for field in fields]
    assert len({name for name, _ in pairs}) == len(pairs)
    return line, dict(pairs), body


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("accept", [b"", b"text/html"])
def test_every_failure_becomes_a_whole_answer(kind: Kind, accept: bytes) -> None:
    """Status, id and cause are there, the body is never empty."""
    line, fields, body = _answer(Failure(kind), accept)
    assert line.startswith(b"HTTP/1.1 %d " % kind.status)
    assert body
    assert fields["X-Request-Id"] == "id-1"
    assert fields["Cache-Control"] == "no-store"
    assert f"error={kind.cause};" in fields["Proxy-Status"]


def test_the_default_is_json() -> None:
    """Whoever does not ask for a page gets the failure as data."""
    _, fields, body = _answer(Failure(NO_TARGET))
    assert fields["Content-Type"] == "application/json"
    assert json.loads(body) == {
        "error": NO_TARGET.detail,
        "cause": "destination_unavailable",
        "status": 503,
        "request_id": "id-1",
    }


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        (b"*/*", False),
        (b"TEXT/HTML", True),
        (b"text/html, application/json", True),
        (b"application/json, text/html", False),
        (b"application/problem+json;q=0.9, text/html;q=0.1", False),
        (b"text/plain", False),
    ],
)
def test_the_one_named_first_wins(accept: bytes, is_page: bool) -> None:
    """Between a page and data the order in Accept decides."""
    _, fields, body = _answer(Failure(BAD_REQUEST), accept)
    assert fields["Content-Type"] == ("text/html; charset=utf-8" if is_page else "application/json")
    assert body.startswith(b"<!doctype html>" if is_page else b"{")


def test_a_page_shows_no_markup_of_others() -> None:
    """The sentence is escaped."""
    _, _, body = _answer(Failure(BAD_REQUEST, "<b>\"&'"), b"text/html")
    assert b"<b>" not in body
    assert b"&lt;b&gt;&quot;&amp;&#x27;" in body


def test_a_status_without_a_phrase_has_one() -> None:
    """499 is nobody's standard."""
    line, _, _ = _answer(Failure(VISITOR_GONE))
    assert line == b"HTTP/1.1 499 Error"


def test_fields_of_the_failure_are_added() -> None:
    """A redirect says where to."""
    _, fields, _ = _answer(Failure(HTTPS_ONLY, headers=(("Location", "https://a/"),)))
    assert fields["Location"] == "https://a/"


def test_without_a_request_id_there_is_no_field_for_it() -> None:
    """An empty field would say nothing."""
    _, fields, _ = _answer(Failure(NO_TARGET), request_id=b"")
    assert "X-Request-Id" not in fields


@given(st.text())
def test_any_sentence_is_a_string_of_structured_fields(detail: str) -> None:
    """RFC 8941 section 3.3.3: quoted, printable ASCII, quotes and backslashes escaped; the head stays one head."""
    _, fields, _ = _answer(Failure(BAD_REQUEST, detail))
    item = r'zexio; error=http_request_error; details="(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"'
    assert re.fullmatch(item, fields["Proxy-Status"])
