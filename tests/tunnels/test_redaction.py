"""Secrets do not leave a program's output: split anywhere, cut, coloured, quoted; and no line is too long."""

from __future__ import annotations

import base64
import json
from itertools import pairwise
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnels.redaction import REDACTED, Lines, RawLine, Redactor

SECRET = "s3cr3t/With+Signs=??>"
KEY = (
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\nQUJDREVGR0hJSktMTU5P\n"
    "-----END OPENSSH PRIVATE KEY-----\n"
)


def read(redactor: Redactor, *chunks: bytes, most: int = 4096) -> list[str]:
    """The clean lines of the chunks."""
    lines = Lines(most=most)
    raw = [line for chunk in chunks for line in lines.feed(chunk)] + list(lines.end())
    return [redactor.clean(line) for line in raw]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data in pieces."""
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[begin:end] for begin, end in pairwise(marks)]


@given(st.lists(st.integers(0, 500), max_size=8), st.text(st.characters(codec="utf-8", exclude_categories=["Cc"])))
def test_a_secret_is_out_wherever_the_chunks_are_split(places: list[int], around: str) -> None:
    """One byte at a time too."""
    data = f"{around} {SECRET} {around}\nnext {SECRET}\r\n{SECRET}".encode()
    said = read(Redactor([SECRET]), *cut(data, places))
    assert said == read(Redactor([SECRET]), data)
    assert len(said) >= 3
    assert SECRET not in "".join(said)


@given(st.integers(1, 60), st.integers(0, 40))
def test_a_secret_is_out_where_a_long_line_is_cut(most: int, before: int) -> None:
    """Not even its beginning is left."""
    (said,) = read(Redactor([SECRET]), b"." * before + SECRET.encode() + b"tail" * 20, most=most)
    assert "s3c" not in said
    assert said.endswith("more bytes)")


@pytest.mark.parametrize(
    "shown",
    [
        SECRET,
        json.dumps(SECRET),
        SECRET.replace("/", "\\/"),
        quote(SECRET, safe=""),
        quote(SECRET),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
        "s3cr3t\x1b[31m/With\x1b[0m+Signs=??>",
        "s3cr3t/With\x00+Signs=??>",
        "s3cr3t/With\r+Signs=??>",
    ],
)
def test_a_secret_is_known_in_every_dress(shown: str) -> None:
    """As it stands in JSON, in URLs, in headers and in colours."""
    (said,) = read(Redactor([SECRET]), f"given {shown} here".encode())
    assert "With" not in said
    assert SECRET not in said
    assert REDACTED in said


def test_every_line_of_a_key_is_secret() -> None:
    """It is printed line by line, or in one."""
    assert read(Redactor([KEY]), KEY.encode())[1:3] == [REDACTED, REDACTED]
    assert "QUJD" not in read(Redactor([KEY]), json.dumps(KEY).encode())[0]


@pytest.mark.parametrize(
    ("line", "clean"),
    [
        ("Authorization: Bearer abc.def", "Authorization: Bearer [redacted]"),
        ("Cookie: session=1", "Cookie: [redacted]"),
        ("got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln ok", "got [redacted] ok"),
        ("--token eyJhIjoiMTIzNDU2Nzg5MCIsInQiOiJ4In0= run", "--token [redacted] run"),
        ("wss://host/api/v1/ws?token=abcdef&clientType=newt", "wss://host/api/v1/ws?token=[redacted]&clientType=newt"),
        ('{"secret":"abc def"}', '{"secret":"[redacted] def"}'),
        ('level=info password="x" user=a', 'level=info password="[redacted]" user=a'),
        ("connect https://id:pass@host/path", "connect https://id:[redacted]@host/path"),
    ],
)
def test_what_looks_like_a_secret_is_out(line: str, clean: str) -> None:
    """Those of sessions, which nobody told us."""
    assert read(Redactor(), line.encode()) == [clean]


@pytest.mark.parametrize(
    "line",
    [
        "Provided Tunnel token is not valid.",
        "failed to get token: status code 401",
        "login to the server failed: token in login doesn't match token from configuration",
        "Websocket connected to https://host:443/path",
        "INF Registered tunnel connection connIndex=0 ip=198.41.200.1 location=fra01",
        "debug: a=b, c = d; e: f",
    ],
)
def test_what_helps_stays(line: str) -> None:
    """Most of all the reasons."""
    assert read(Redactor([SECRET]), line.encode()) == [line]


def test_a_long_line_takes_no_more_room_than_it_may() -> None:
    """Whatever size it comes in."""
    lines = Lines(most=100)
    for _ in range(200):
        assert list(lines.feed(b"x" * 1000)) == []
        assert len(lines._held) <= 100
    (line,) = lines.feed(b"\n")
    assert (len(line.text), line.dropped) == (100, 199_900)
    assert Redactor().clean(line) == "x" * 100 + "... (199900 more bytes)"


def test_the_line_after_a_long_one_is_whole() -> None:
    """The count begins anew."""
    assert read(Redactor(), b"x" * 20 + b"\nok\n", most=10) == ["x" * 10 + "... (10 more bytes)", "ok"]


def test_a_last_line_without_an_end_is_one() -> None:
    """And nothing is none."""
    assert read(Redactor(), b"a\n\nb") == ["a", "", "b"]
    assert read(Redactor(), b"a\n") == ["a"]


def test_bytes_that_are_no_text_do_no_harm() -> None:
    """Nor do controls of a terminal."""
    assert read(Redactor(), b"\xff\xfe a\x1b[2J\x1b]0;title\x07\x07b\x00\r\n") == ["�� ab"]


def test_short_secrets_would_take_everything_out() -> None:
    """They are refused before a spawn; a single letter must not blacken the log."""
    assert read(Redactor(["a", "", "  "]), b"a banana") == ["a banana"]


def test_reasons_are_cleaned_as_well() -> None:
    """An error may quote what it was given."""
    assert Redactor([SECRET]).text(f"no such file: {SECRET}") == f"no such file: {REDACTED}"


def test_a_raw_line_does_not_show_itself() -> None:
    """In no log and no traceback."""
    assert SECRET not in repr(RawLine(SECRET.encode()))
