"""What the node says and who comes, on a terminal."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from node.cli.logs import entry_line
from tests.node.cli.conftest import Api, Zexio, answering
from tests.support.records import record
from tests.support.stage import until

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


@asynccontextmanager
async def following(api: Api, *arguments: str) -> AsyncIterator[asyncio.StreamReader]:
    """What `zexio logs -f` prints, from the moment on in which it watches."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "node.cli.main", "logs", "-f", "--admin", api.url, *arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        await until(lambda: api.observer.watchers.is_watched)
        yield process.stdout
    finally:
        process.kill()
        await process.wait()


async def test_the_newest_lines_are_printed(zexio: Zexio, api: Api) -> None:
    """As many as are asked for, oldest first."""
    for number in range(3):
        api.store.journal.append("INFO", f"line {number}", NOW)
    result = await zexio("logs", "--admin", api.url, "-n", "2")
    assert [line.split()[1:] for line in result.out.splitlines()] == [["INFO", "line", "1"], ["INFO", "line", "2"]]
    result = await zexio("logs", "--admin", api.url, "-n", "1", "--json")
    assert json.loads(result.out)["message"] == "line 2"


async def test_following_shows_lines_and_exchanges_as_they_come(api: Api) -> None:
    """The last lines first, then whatever happens."""
    api.store.journal.append("INFO", "before", NOW)
    async with following(api) as lines:
        assert b"before" in await lines.readline()
        api.store.journal.append("WARN", "after", NOW)
        assert b"WARN  after" in await lines.readline()
        api.observer.watched([record()], 0)
        assert (await lines.readline()).startswith(b"200 GET http://shop.example.com/a?b 500.0 ms 120 B 192.0.2.7 -> ")


async def test_a_host_can_be_followed_alone(api: Api) -> None:
    """Nothing of the node's own log, and of no other host."""
    api.store.journal.append("INFO", "before", NOW)
    async with following(api, "--host", "shop.example.com", "--json") as lines:
        api.observer.watched([record(host="a", route="a"), record(target="/mine")], 0)
        assert json.loads(await lines.readline())["target"] == "/mine"


async def test_the_exchanges_of_a_host_can_only_be_followed(zexio: Zexio) -> None:
    """The node keeps none of them."""
    result = await zexio("logs", "--host", "shop.example.com")
    assert (result.code, result.out) == (2, "")
    assert "needs -f" in result.err


async def test_another_program_is_no_node(zexio: Zexio) -> None:
    """Whatever it answers, there is one line and no traceback."""
    async with answering("hello") as url:
        for arguments in (("logs",), ("logs", "-f")):
            result = await zexio(*arguments, "--admin", url)
            assert (result.code, len(result.err.splitlines())) == (1, 1)
    async with answering("no", status=404) as url:
        result = await zexio("logs", "-f", "--admin", url)
        assert "404" in result.err


async def test_a_node_that_ends_is_told(zexio: Zexio) -> None:
    """The stream ends with it."""
    async with answering("data: {}\n".replace("{}", json.dumps({"dropped": 3}))) as url:
        result = await zexio("logs", "-f", "--host", "a", "--admin", url)
    assert result.out == "(3 more were left out)\n"
    assert result.err == "zexio: the node has ended\n"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({}, "200 GET http://shop.example.com/a?b 500.0 ms 120 B 192.0.2.7 -> http://10.0.0.1:80"),
        (
            {"status": 502, "cause": "refused", "detail": "No.", "duration_s": 12.34, "target": "/"},
            "502 GET http://shop.example.com/ 12.3 s 120 B 192.0.2.7 -> http://10.0.0.1:80: refused, No.",
        ),
        (
            {"method": "", "host": "", "target": "", "upstream": "", "status": 400},
            "400 - - 500.0 ms 120 B 192.0.2.7 -> -",
        ),
        (
            {"target": "/\x1b[2J\n"},
            r"200 GET http://shop.example.com/\x1b[2J\n 500.0 ms 120 B 192.0.2.7 -> http://10.0.0.1:80",
        ),
    ],
)
def test_an_exchange_is_one_line(given: dict[str, object], line: str) -> None:
    """With the reason where the proxy made the answer, and nothing that moves the cursor."""
    fields = record(**given)
    assert entry_line({name: getattr(fields, name) for name in fields.__struct_fields__}) == line
