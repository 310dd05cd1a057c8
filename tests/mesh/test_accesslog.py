"""Lines of the access log: whole, in the format that was asked for, and never at the cost of a request."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh import accesslog
from mesh.accesslog import AccessLog, combined_line, json_line, logfmt_line
from mesh.ports import AccessRecord
from mesh.routes import AccessLog as Mode
from tests.support import records

RECORD = records.record(
    status=502,
    route="*.example.com",
    path_prefix="",
    org_id="org_a",
    cause="connection_refused",
    detail="The target refused the connection.",
    referer="https://example.com/",
    user_agent="curl/8",
)
# The combined format, with quoted fields that hold anything but a bare quote, backslash or control character.
_QUOTED = r'"((?:[^"\\\x00-\x1f\x7f]|\\x[0-9A-F]{2,})*)"'
COMBINED = re.compile(
    rf"(\S+) - (\S+) \[([^]]+)\] {_QUOTED} (\d{{3}}) (\d+) {_QUOTED} {_QUOTED} (\S+) (\S+) (\S+) ([\d.]+) (\S+)\n"
)


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    try:
        yield read, write
    finally:
        with contextlib.suppress(OSError):
            os.close(read)
        os.close(write)


def test_a_json_line_is_the_record() -> None:
    """One object, one line."""
    line = json_line(RECORD)
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert msgspec.json.decode(line, type=AccessRecord) == RECORD
    assert json.loads(line)["cause"] == "connection_refused"


def test_a_combined_line_is_what_log_readers_know() -> None:
    """With the id, the host, the target, the duration and the cause behind it."""
    assert combined_line(RECORD) == (
        b'192.0.2.7 - org_a [06/Nov/1994:08:49:37 +0000] "GET /a?b HTTP/1.1" 502 120 "https://example.com/" "curl/8" '
        b"id-1 shop.example.com http://10.0.0.1:80 0.500000 connection_refused\n"
    )


def test_the_user_of_basic_authentication_has_the_third_column() -> None:
    """A name with a space in it is still one column."""
    match = COMBINED.fullmatch(combined_line(msgspec.structs.replace(RECORD, user='a "b" c')).decode())
    assert match is not None
    assert match[2] == r"a\x20\x22b\x22\x20c"


def test_a_logfmt_line_has_what_is_known() -> None:
    """Pairs of a key and a value, in quotes where it has to be."""
    assert logfmt_line(RECORD) == (
        b"began_at=784111777.25 duration_s=0.5 peer=192.0.2.7 method=GET host=shop.example.com target=/a?b "
        b"version=HTTP/1.1 status=502 received=3 sent=120 request_id=id-1 route=*.example.com "
        b"upstream=http://10.0.0.1:80 org_id=org_a cause=connection_refused "
        b'detail="The target refused the connection." referer=https://example.com/ user_agent=curl/8 scheme=http\n'
    )


@given(st.text(), st.text())
def test_a_logfmt_value_never_ends_early(target: str, user_agent: str) -> None:
    """Spaces, quotes, equal signs and control characters are within quotes, and can be read back."""
    line = logfmt_line(msgspec.structs.replace(RECORD, target=target, user_agent=user_agent)).decode("ascii")
    pairs = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|[^ "=]*)(?: |\n)', line)
    read = {key: json.loads(value) if value.startswith('"') else value for key, value in pairs}
    assert line.count("\n") == 1
    assert line == " ".join(f"{key}={value}" for key, value in pairs) + "\n"
    assert (read.get("target", ""), read.get("user_agent", "")) == (target, user_agent)


def test_what_is_empty_is_a_dash() -> None:
    """Columns keep their places."""
    bare = msgspec.structs.replace(RECORD, org_id="", upstream="", cause="", referer="", user_agent="")
    match = COMBINED.fullmatch(combined_line(bare).decode())
    assert match is not None
    assert (match[2], match[7], match[8], match[11], match[13]) == ("-", "-", "-", "-", "-")


def test_every_field_of_the_combined_format_has_its_column() -> None:
    """What `COMBINED` takes apart is what went in."""
    match = COMBINED.fullmatch(combined_line(RECORD).decode())
    assert match is not None
    assert match[4] == "GET /a?b HTTP/1.1"
    assert match.groups()[8:] == ("id-1", "shop.example.com", "http://10.0.0.1:80", "0.500000", "connection_refused")


@given(st.text(), st.text(), st.text())
def test_nothing_ends_a_field_or_a_line_early(target: str, referer: str, user_agent: str) -> None:
    """Quotes, backslashes and control characters of visitors are escaped."""
    record = msgspec.structs.replace(RECORD, target=target, referer=referer, user_agent=user_agent)
    text = combined_line(record).decode("utf-8", "surrogateescape")
    assert text.count('"') == 6
    assert text.isprintable() or text[:-1].isprintable()
    assert COMBINED.fullmatch(text)


@pytest.mark.parametrize("mode", ["json", "combined", "logfmt"])
async def test_a_flush_writes_what_waits(mode: Mode) -> None:
    """In the order of the records, once."""
    with _pipe() as (read, write):
        log = AccessLog(mode, write)
        for status in (200, 404):
            log.record(msgspec.structs.replace(RECORD, status=status))
        await log.flush()
        await log.flush()
        lines = (await _read(read)).splitlines()
    assert len(lines) == 2
    assert b"200" in lines[0]
    assert b"404" in lines[1]


async def test_records_that_nobody_takes_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound requests go on without a line."""
    monkeypatch.setattr(accesslog, "_MAX_WAITING", 2)
    with _pipe() as (read, write):
        log = AccessLog("json", write)
        for _ in range(5):
            log.record(RECORD)
        await log.flush()
        assert len((await _read(read)).splitlines()) == 2
    assert log.dropped == 3


async def test_a_reader_that_is_gone_costs_records() -> None:
    """Writing fails, serving does not; what was not written is counted."""
    with _pipe() as (read, write):
        os.close(read)
        log = AccessLog("json", write)
        for _ in range(3):
            log.record(RECORD)
        await log.flush()
    assert log.dropped == 3


async def test_lines_of_several_workers_stay_whole() -> None:
    """Two logs on one pipe that is read slowly: no line begins within another (pipe(7))."""
    with _pipe() as (read, write):
        logs = [AccessLog("json", write), AccessLog("json", write)]
        for log in logs:
            for _ in range(1000):
                log.record(RECORD)
        async with asyncio.TaskGroup() as group:
            for log in logs:
                group.create_task(log.flush(), name="flush")
            lines = await _lines(read, 2000)
    assert set(lines) == {json_line(RECORD)}


async def test_a_line_longer_than_a_pipe_takes_at_once_is_written_too() -> None:
    """Such a line stands alone, and everything of it arrives."""
    long = msgspec.structs.replace(RECORD, target="/" + "x" * 10_000)
    with _pipe() as (read, write):
        log = AccessLog("json", write)
        for record in (RECORD, long, RECORD):
            log.record(record)
        await log.flush()
        assert await _lines(read, 3) == [json_line(RECORD), json_line(long), json_line(RECORD)]


async def test_the_log_flushes_by_itself_and_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Now and then while it runs, and once more when it is cancelled."""
    monkeypatch.setattr(accesslog, "FLUSH_S", 0.001)
    with _pipe() as (read, write):
        log = AccessLog("json", write)
        running = asyncio.get_running_loop().create_task(log.run(), name="log")
        log.record(RECORD)
        assert await _lines(read, 1) == [json_line(RECORD)]
        monkeypatch.setattr(accesslog, "FLUSH_S", 60.0)
        await asyncio.sleep(0.02)
        log.record(RECORD)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await _lines(read, 1) == [json_line(RECORD)]


async def _lines(descriptor: int, count: int) -> list[bytes]:
    """So many lines, with their ends."""
    data = b""
    async with asyncio.timeout(5):
        while data.count(b"\n") < count:
            data += await _read(descriptor)
    return data.splitlines(keepends=True)


async def _read(descriptor: int) -> bytes:
    return await asyncio.to_thread(os.read, descriptor, 65536)
