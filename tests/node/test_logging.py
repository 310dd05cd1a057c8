"""The node's own log."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from node.logging import configure, one_line, redact
from node.settings import LogSection
from node.values import Secret
from state.journal import Journal


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """Logging is global, so each test puts back what it found."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def journal() -> Journal:
    """An empty journal."""
    return Journal()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """The JSON lines that were written."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_machine_gets_json_lines(journal: Journal) -> None:
    """One object per entry, with the time, the level, the message and every value."""
    stream = io.StringIO()
    configure(LogSection(), journal, stream)
    structlog.get_logger().info("serving", mesh="127.0.0.1:1", workers=2)
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("+00:00")
    assert line == {"level": "info", "message": "serving", "mesh": "127.0.0.1:1", "workers": 2}


def test_a_person_gets_words(journal: Journal) -> None:
    """The human form is for terminals, and can be asked for."""
    stream = io.StringIO()
    configure(LogSection(format="human"), journal, stream)
    structlog.get_logger().warning("slow disk", seconds=3)
    assert "slow disk" in stream.getvalue()
    assert "seconds=3" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_every_entry_is_kept_for_the_api(journal: Journal) -> None:
    """`GET /system/logs` answers what stderr got."""
    configure(LogSection(), journal, io.StringIO())
    structlog.get_logger().warning("worker replaced", index=1, reason="killed by signal 9")
    (entry,) = journal.tail(10)
    assert entry.level == "WARN"
    assert entry.message == "worker replaced index=1 reason='killed by signal 9'"


def test_the_standard_library_goes_the_same_way(journal: Journal) -> None:
    """Aiohttp and asyncio log through `logging`, Python through `warnings`."""
    stream = io.StringIO()
    configure(LogSection(), journal, stream)
    logging.getLogger("aiohttp.server").error("Error handling request %d", 7)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old habit", stacklevel=1)
    first, second = lines(stream)
    assert (first["message"], first["logger"]) == ("Error handling request 7", "aiohttp.server")
    assert "old habit" in second["message"]
    assert len(journal.tail(10)) == 2


@pytest.mark.parametrize(("level", "name"), [(5, "debug"), (25, "info"), (35, "warning"), (60, "critical")])
def test_levels_of_others_become_ours(journal: Journal, level: int, name: str) -> None:
    """The standard library allows any number."""
    stream = io.StringIO()
    configure(LogSection(level="debug"), journal, stream)
    logging.getLogger("somebody").setLevel(1)
    logging.getLogger().setLevel(1)
    logging.getLogger("somebody").log(level, "100 % sure")
    (line,) = lines(stream)
    assert (line["level"], line["message"]) == (name, "100 % sure")


def test_the_level_is_a_threshold(journal: Journal) -> None:
    """Below it nothing is written and nothing is kept."""
    stream = io.StringIO()
    configure(LogSection(level="error"), journal, stream)
    structlog.get_logger().warning("quiet")
    logging.getLogger("aiohttp.server").warning("quiet too")
    assert (stream.getvalue(), journal.tail(1)) == ("", [])


def test_an_exception_keeps_its_reason(journal: Journal) -> None:
    """The traceback goes to stderr, the reason also to the API."""
    stream = io.StringIO()
    configure(LogSection(), journal, stream)
    try:
        int("x")
    except ValueError:
        structlog.get_logger().exception("reload failed")
    assert "Traceback" in lines(stream)[0]["exception"]
    assert journal.tail(1)[0].message == "reload failed ValueError: invalid literal for int() with base 10: 'x'"


@pytest.mark.parametrize("exc_info", [ValueError("why"), (ValueError, ValueError("why"), None)])
def test_one_line_tells_the_exception(exc_info: object) -> None:
    """In each of the forms that `exc_info` has."""
    assert one_line({"event": "failed", "exc_info": exc_info}) == "failed ValueError: why"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"event": "token issued", "jwt_token": "eyJ"}, {"event": "token issued", "jwt_token": "[redacted]"}),
        (
            {"headers": {"Authorization": "Bearer x", "Host": "a"}},
            {"headers": {"Authorization": "[redacted]", "Host": "a"}},
        ),
        ({"tunnels": [{"token": "t"}, {"name": "n"}]}, {"tunnels": [{"token": "[redacted]"}, {"name": "n"}]}),
        ({"value": Secret("x")}, {"value": "[redacted]"}),
        ({"password": None, "user": "ann"}, {"password": None, "user": "ann"}),
    ],
)
def test_secrets_are_replaced_by_the_name_of_their_key(entry: dict[str, Any], expected: dict[str, Any]) -> None:
    """At any depth; a value that is not there is not hidden."""
    assert redact(None, "info", entry) == expected


def test_a_closed_stderr_is_no_reason_to_fail(journal: Journal) -> None:
    """The node serves on, and the journal has the entry."""
    stream = io.StringIO()
    configure(LogSection(), journal, stream)
    stream.close()
    structlog.get_logger().info("serving")
    assert journal.tail(1)[0].message == "serving"
