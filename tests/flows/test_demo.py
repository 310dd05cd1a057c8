"""`zexio demo`, which is what `make run` runs."""

from __future__ import annotations

import asyncio
import itertools
import re
import shlex
import signal
from pathlib import Path

from tests.flows.running import PATIENCE_S, run, spawn

STATUSES = [("demo.zexio.app", "200"), ("orders.acme.zexio.internal", "401"), ("orders.acme.zexio.internal", "200")]


def requests(out: str) -> list[tuple[str, str]]:
    """Host and status of each request in the demo's words."""
    return re.findall(r"^GET  (\S+) .* (\d{3})  as it must$", out, re.MULTILINE)


def names_in(folder: Path) -> list[str]:
    """What lies in a folder."""
    return [path.name for path in folder.iterdir()]


async def test_the_demo(tmp_path: Path) -> None:
    """Three requests and an end with `--once`; else it stays up, its lines work, and Ctrl-C ends it.

    One test, because two demos that start in the same instant would both take the usual ports.
    """
    environ = {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    code, out, err = await run("demo", "--once", environ=environ)
    assert (code, err) == (0, "")
    assert requests(out) == STATUSES

    process = await spawn("demo", environ=environ)
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        out = (await process.stdout.readuntil(b"zexio routes ls\n")).decode()
        lines = re.findall(r"^ +(curl .*)$", out, re.MULTILINE)
        assert [await _status(line) for line in lines] == [int(status) for _host, status in STATUSES]
        process.send_signal(signal.SIGINT)
        rest, err_bytes = await process.communicate()
    assert (process.returncode, rest, err_bytes) == (0, b"", b"")
    # Neither keys nor routes of a demo are left behind.
    assert names_in(tmp_path) == []


async def _status(curl: str) -> int:
    """What the request of a printed line gets; sent without curl, which need not be installed."""
    _curl, _i, *words = shlex.split(curl)
    headers = "".join(f"{word}\r\n" for flag, word in itertools.pairwise(words) if flag == "-H")
    host, _slash, path = words[-1].removeprefix("http://").partition("/")
    reader, writer = await asyncio.open_connection(*host.split(":"))
    writer.write(f"GET /{path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return int(answer.split(b" ")[1])
