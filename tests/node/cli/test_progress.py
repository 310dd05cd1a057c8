"""What is said of a certificate while it is waited for."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from node.cli.client import AdminClient
from node.cli.errors import CommandError
from node.cli.progress import Story, is_hopeless, news, why_not
from state.observed import CertificateFact
from tests.node.cli.conftest import answering

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


def fact(**fields: Any) -> dict[str, Any]:  # noqa: ANN401
    """A fact as the API has it."""
    found: dict[str, Any] = msgspec.to_builtins(CertificateFact(name="shop.example.com", **fields))
    return found


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "pending"),
        ({"status": "issuing", "step": "validating", "challenge": "http-01"}, "validating (http-01)"),
        ({"status": "active", "step": "ordering"}, "ordering"),
        (
            {"status": "active", "issuer": "letsencrypt", "not_after": NOW},
            "there is a certificate of letsencrypt, valid until 2030-01-02 03:04 UTC",
        ),
        (
            {"status": "active", "source": "imported", "not_after": NOW},
            "there is an imported certificate, valid until 2030-01-02 03:04 UTC",
        ),
        (
            {"status": "active", "attempts": 2, "last_error": "refused", "next_try": NOW},
            "not renewed: refused; next try at 2030-01-02 03:04 UTC",
        ),
        ({"status": "failing", "last_error": "refused"}, "refused"),
    ],
)
def test_each_thing_is_one_line(fields: dict[str, Any], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With the seconds since it began, and only once."""
    story = Story(as_json=False)
    story.tell(fact(**fields))
    story.tell(fact(**fields))
    assert capsys.readouterr().out == f"   0.0 s {line}\n"


def test_what_is_to_be_done_is_not_said_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """As the error, and as advice."""
    Story(as_json=False).tell(fact(status="failing", last_error="add a record", advice=("add a record",)))
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == [
        "0.0 s its records stand in the way",
        "to do: add a record",
    ]


def test_advice_is_given_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Below the line that it belongs to."""
    story = Story(as_json=False)
    for step in ("one", "two"):
        story.tell(fact(step=step, advice=("add a record",)))
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == [
        "0.0 s one",
        "note: add a record",
        "0.0 s two",
    ]


def test_programs_get_objects(capsys: pytest.CaptureFixture[str]) -> None:
    """One per line, with all that is known."""
    story = Story(as_json=True)
    story.tell(fact(advice=("add a record",)))
    said = json.loads(capsys.readouterr().out)
    assert (said["certificate"]["advice"], said["elapsed_s"] >= 0) == (["add a record"], True)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, False),
        ({"next_try": NOW + timedelta(seconds=59)}, False),
        ({"next_try": NOW + timedelta(seconds=61)}, True),
        ({"next_try": NOW + timedelta(seconds=61), "advice": ("add a record",)}, False),
    ],
)
def test_what_is_tried_again_too_late_is_not_waited_for(fields: dict[str, Any], expected: bool) -> None:
    """Unless the customer may mend it meanwhile."""
    assert is_hopeless(fact(**fields), 60.0, NOW) is expected


def test_the_reason_is_the_best_that_is_known() -> None:
    """An error, or else what is waited for."""
    assert why_not("a.example", None) == "nothing is known of a certificate for a.example yet"
    assert why_not("a.example", fact()).endswith("yet: it waits for its turn")
    assert why_not("a.example", fact(step="ordering")).endswith("yet: ordering")
    said = why_not("a.example", fact(last_error="refused", next_try=NOW))
    assert said == ("there is no new certificate for a.example yet: refused; the next try is at 2030-01-02 03:04 UTC")


async def test_news_come_until_the_stream_ends() -> None:
    """Which is an error, as more was expected."""
    async with answering('data: {"a":1}\n\ndata: {"a":2}\n\n') as url:
        seen, error = await asyncio.to_thread(follow, url)
    assert (seen, error) == ([{"a": 1}, {"a": 2}], "the node has ended")


async def test_what_was_removed_is_told() -> None:
    """It is what the node announces."""
    async with answering('event: end\ndata: {"name":"a.example","status":"removed"}\n\n') as url:
        assert await asyncio.to_thread(follow, url) == ([], "a.example was removed meanwhile")


async def test_silence_is_told_until_the_deadline() -> None:
    """So that something can be done meanwhile."""
    async with answering("no", status=404) as url:
        generator = news(AdminClient(url), "/", time.monotonic() - 1, 0.01)
        assert list(generator) == []


def follow(url: str) -> tuple[list[Any], str]:
    """What was said, and how it ended."""
    seen: list[Any] = []
    try:
        seen += (each for each in news(AdminClient(url), "/", time.monotonic() + 5, 5.0))
    except CommandError as error:
        return seen, str(error)
    return seen, ""
