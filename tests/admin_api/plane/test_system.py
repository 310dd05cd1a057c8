"""Health, stats, logs, sync and metrics over HTTP, and their streams event by event."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from admin_api.plane import schema
from admin_api.plane.system import Sights
from state.observed import HostFact
from tests.admin_api.served import EventReader, Served, eventually, serve

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STATS = {
    "cpu_usage": 12.5,
    "memory_used": 104857600,
    "memory_total": 17179869184,
    "memory_percent": 0.6,
    "disk_used": 50000000000,
    "disk_total": 100000000000,
    "disk_percent": 50.0,
}


async def test_health_is_a_word(served: Served) -> None:
    """Seed 000: text/plain `OK`."""
    async with served.client.get("/health") as answer:
        assert (answer.status, answer.content_type, await answer.text()) == (200, "text/plain", "OK")


async def test_stats_are_the_figures_of_the_seed(served: Served) -> None:
    """Exactly the seven."""
    measure(served)
    async with served.client.get("/stats") as answer:
        assert (answer.status, answer.content_type, await answer.json()) == (200, "application/json", STATS)


@pytest.mark.parametrize(("method", "path"), [("GET", "/stats"), ("POST", "/sync")])
async def test_stats_before_the_first_measurement(served: Served, method: str, path: str) -> None:
    """A 503 that is over in a moment, rather than figures that are not true."""
    async with served.client.request(method, path) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")


async def test_stats_stream_follows_the_machine(served: Served) -> None:
    """It starts before the first measurement, repeats the newest one, and its events have no name."""
    async with served.client.get("/stats/stream") as answer:
        reader = EventReader(answer)
        assert await reader.block() == {"retry": "1000"}
        measure(served)
        for _ in range(2):
            event = await reader.event()
            assert (set(event), json.loads(event["data"])) == ({"data"}, STATS)
        measure(served, cpu_usage=99.0)
        while json.loads((await reader.event())["data"])["cpu_usage"] != 99.0:
            continue


async def test_logs_are_the_newest_lines(served: Served) -> None:
    """An array, oldest first, a hundred unless the client says how many."""
    write_lines(served, 150)
    async with served.client.get("/system/logs") as answer:
        lines = schema.LogLines.model_validate(await answer.json()).root
    assert [line.message for line in lines] == [f"line {number}" for number in range(51, 151)]
    async with served.client.get("/system/logs?limit=2") as answer:
        assert await answer.json() == [
            {"timestamp": "2026-01-02T03:04:05Z", "level": "INFO", "message": f"line {number}"} for number in (149, 150)
        ]


@pytest.mark.parametrize("query", ["limit=0", "limit=10001", "limit=x", "lines=3"])
async def test_wrong_query_of_the_logs_is_refused(served: Served, query: str) -> None:
    """By the name of the parameter."""
    async with served.client.get(f"/system/logs?{query}") as answer:
        assert answer.status == 400
        assert [problem["field"] for problem in (await answer.json())["fields"]] == [query.partition("=")[0]]


async def test_log_stream_has_lines_one_by_one(served: Served) -> None:
    """From now on, each with an id."""
    write_lines(served, 3)
    async with served.client.get("/system/logs/stream") as answer:
        reader = EventReader(answer)
        await reader.block()
        await eventually(lambda: is_followed(served))
        for number in (4, 5):
            write_line(served, number)
            event = await reader.event()
            assert json.loads(event["data"]) == {
                "timestamp": "2026-01-02T03:04:05Z",
                "level": "INFO",
                "message": f"line {number}",
            }
            assert event["id"].endswith(f"-{number}")


async def test_log_stream_may_start_with_the_past(served: Served) -> None:
    """So that a page has no gap between what it loads and what it follows."""
    write_lines(served, 5)
    async with served.client.get("/system/logs/stream?limit=2") as answer:
        reader = EventReader(answer)
        assert [message_of(await reader.event()) for _ in range(2)] == ["line 4", "line 5"]
    async with served.client.get("/system/logs/stream?limit=10000") as answer:
        assert message_of(await EventReader(answer).event()) == "line 1"


async def test_log_stream_is_resumed(served: Served) -> None:
    """After the event that the client names, as browsers do by themselves, whatever the query says."""
    write_lines(served, 3)
    async with served.client.get("/system/logs/stream?limit=2") as answer:
        seen = (await EventReader(answer).event())["id"]
    write_line(served, 4)
    async with served.client.get("/system/logs/stream?limit=1", headers={"Last-Event-ID": seen}) as answer:
        reader = EventReader(answer)
        assert [message_of(await reader.event()) for _ in range(2)] == ["line 3", "line 4"]


@pytest.mark.parametrize("seen", ["00000000-2", "2", "junk", "-", "00000000-99999999999999999999"])
async def test_id_of_another_process_starts_at_the_oldest_line(served: Served, seen: str) -> None:
    """Ids begin anew when the node does; the client has seen none of these lines."""
    write_lines(served, 3)
    async with served.client.get("/system/logs/stream", headers={"Last-Event-ID": seen}) as answer:
        assert message_of(await EventReader(answer).event()) == "line 1"


@pytest.mark.parametrize("number", ["9" * 5000, "\N{ARABIC-INDIC DIGIT TWO}", "+2", ""])
async def test_id_that_this_process_did_not_give_starts_at_the_oldest_line(served: Served, number: str) -> None:
    """Anybody may ask for the stream, with any number behind an epoch that they have seen."""
    write_lines(served, 3)
    async with served.client.get("/system/logs/stream?limit=1") as answer:
        epoch = (await EventReader(answer).event())["id"].partition("-")[0]
    async with served.client.get("/system/logs/stream", headers={"Last-Event-ID": f"{epoch}-{number}"}) as answer:
        assert answer.status == 200
        assert message_of(await EventReader(answer).event()) == "line 1"


async def test_long_past_is_streamed_whole(served: Served) -> None:
    """More lines than wait for a client at once are no loss."""
    write_lines(served, 1000)
    async with served.client.get("/system/logs/stream?limit=1000") as answer:
        reader = EventReader(answer)
        messages = [message_of(await reader.event()) for _ in range(1000)]
    assert messages == [f"line {number}" for number in range(1, 1001)]


async def test_sync_says_how_the_worker_is(served: Served) -> None:
    """Decision 7: the version is the program's."""
    measure(served)
    async with served.client.post("/sync") as answer:
        assert (answer.status, await answer.json()) == (200, {"status": "online", "version": "1.2.3", "stats": STATS})


async def test_metrics_are_prometheus_text(tmp_path: Path) -> None:
    """With the content type that Prometheus knows the format by."""
    async with serve(tmp_path, sights=Sights(lambda: b"up 1\n")) as api, api.client.get("/metrics") as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert await answer.read() == b"up 1\n"


def measure(served: Served, **figures: float) -> None:
    """Report the machine's load, as the node does."""
    host = msgspec.convert({**STATS, **figures, "at": AT}, HostFact)
    served.store.observed.set(served.store.observed.value.with_host(host))


def write_lines(served: Served, count: int) -> None:
    """Write `line 1` and so on to the node's log."""
    for number in range(1, count + 1):
        write_line(served, number)


def write_line(served: Served, number: int) -> None:
    """Write one line to the node's log."""
    served.store.journal.append("INFO", f"line {number}", AT)


def is_followed(served: Served) -> bool:
    """Whether a stream is open."""
    return len(served.streams) == 1


def message_of(event: dict[str, str]) -> str:
    """The message of the line in an event."""
    message: str = json.loads(event["data"])["message"]
    return message


async def test_exchanges_are_shown_as_they_end(tmp_path: Path) -> None:
    """Of the host that the client names; the source is closed when the client goes."""
    asked: list[str | None] = []
    is_closed = asyncio.Event()

    async def exchanges(host: str | None) -> AsyncGenerator[bytes]:
        asked.append(host)
        try:
            yield b'{"status":200}'
            await asyncio.Event().wait()
        finally:
            is_closed.set()

    async with serve(tmp_path, sights=Sights(exchanges=exchanges)) as api:
        async with api.client.get("/access/stream", params={"host": "shop.example"}) as answer:
            assert (await EventReader(answer).event())["data"] == '{"status":200}'
        await is_closed.wait()
    assert asked == ["shop.example"]


async def test_a_node_without_a_mesh_has_no_exchanges(served: Served) -> None:
    """The stream is open, and nothing comes."""
    async with served.client.get("/access/stream") as answer:
        assert answer.status == 200
