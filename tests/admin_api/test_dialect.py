"""The values that a dialect is made of."""

from __future__ import annotations

import pytest
from aiohttp import web

from admin_api.dialect import EVENT_STREAM, Answer, Dialect, Operation
from admin_api.errors import ApiError


@pytest.mark.parametrize(
    ("prefix", "path", "expected"),
    [
        ("", "/", True),
        ("", "/api/v1/apps", True),
        ("/api/v1", "/api/v1", True),
        ("/api/v1", "/api/v1/apps", True),
        ("/api/v1", "/api/v10/apps", False),
        ("/api/v1", "/health", False),
    ],
)
def test_prefix_claims_whole_segments(prefix: str, path: str, expected: bool) -> None:
    """A dialect does not claim the paths of one whose prefix only begins like its own."""
    dialect = Dialect(name="any", prefix=prefix, endpoints=(), authenticators=(), render=render)
    assert dialect.claims(path) is expected


def test_operation_is_a_stream_by_its_answer() -> None:
    """Whoever answers with events goes on for ever."""
    events = Answer(description="Events.", media=EVENT_STREAM)
    assert Operation(id="a", summary="A", answers={200: events}).is_stream
    assert not Operation(id="b", summary="B", answers={200: Answer(description="Once.")}).is_stream


def render(error: ApiError) -> web.Response:
    """An error in no particular form."""
    return web.Response(status=error.status)
