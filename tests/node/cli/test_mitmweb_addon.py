"""What runs inside mitmweb, called as mitmproxy calls it; tests/flows/test_inspect.py has the real one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from node.cli import mitmweb_addon
from node.cli.mitmweb_addon import MOST_KEPT, Companion, Kept


class Master:
    """mitmweb, as far as its addons see it."""

    def __init__(self) -> None:
        """It runs."""
        self.options = SimpleNamespace(termlog_verbosity="info")
        self.removed: list[str] = []
        self.ended = asyncio.Event()
        self.view = SimpleNamespace(remove=lambda flows: self.removed.extend(flow.id for flow in flows))

    def shutdown(self) -> None:
        """It ends."""
        self.ended.set()


@pytest.fixture
async def master() -> Master:
    """One mitmweb."""
    return Master()


@pytest.fixture
def companion(master: Master, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Companion:
    """The addon, with little patience."""
    monkeypatch.setattr(mitmweb_addon, "_QUIET_S", 0.0)
    monkeypatch.setattr(mitmweb_addon, "_LOOK_S", 0.001)
    monkeypatch.setattr(mitmweb_addon, "NOTICED_S", 0.001)
    companion = Companion("", str(tmp_path / "own"))
    companion.load(SimpleNamespace(master=master))
    return companion


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The end of the pipe that the command holds."""
    mine, theirs = os.pipe()
    read = os.read
    monkeypatch.setattr(os, "read", lambda fd, size: read(mine if fd == 0 else fd, size))
    yield theirs
    os.close(mine)


def message(**headers: str) -> Any:  # noqa: ANN401
    """A request or an answer."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return SimpleNamespace(headers=fields, stream=False, data=SimpleNamespace(content=None))


def flow(name: str = "1", *, websocket: object = None) -> Any:  # noqa: ANN401
    """One exchange."""
    answer = message(content_length="5")
    return SimpleNamespace(id=name, request=message(), response=answer, websocket=websocket)


async def test_mitmweb_ends_when_the_command_says_that_it_is_off(
    companion: Companion, master: Master, owner: int
) -> None:
    """Not before it is told, and quietly from its start on."""
    companion.running()
    assert master.options.termlog_verbosity == "error"
    assert not master.ended.is_set()
    os.write(owner, b"off\n")
    await master.ended.wait()
    os.close(owner)


async def test_mitmweb_ends_when_the_command_is_gone(
    companion: Companion, master: Master, owner: int, tmp_path: Path
) -> None:
    """A killed command says nothing, but its pipe ends; what it would have removed is removed."""
    (tmp_path / "own").mkdir()
    companion.running()
    os.close(owner)
    await master.ended.wait()
    assert not (tmp_path / "own").exists()


@pytest.mark.parametrize("end", ["response", "error"])
async def test_what_is_under_way_is_finished(companion: Companion, master: Master, owner: int, end: str) -> None:
    """An exchange ends with its answer, or breaks off."""
    under_way = flow()
    companion.requestheaders(under_way)
    companion.running()
    os.write(owner, b"off\n")
    await asyncio.sleep(0.02)
    assert not master.ended.is_set()
    getattr(companion, end)(under_way)
    await master.ended.wait()
    os.close(owner)


async def test_a_websocket_ends_later_than_its_answer(companion: Companion, master: Master, owner: int) -> None:
    """It is under way until it is closed."""
    socket = flow(websocket=object())
    companion.requestheaders(socket)
    companion.response(socket)
    companion.running()
    os.write(owner, b"off\n")
    await asyncio.sleep(0.02)
    assert not master.ended.is_set()
    companion.websocket_end(socket)
    await master.ended.wait()
    os.close(owner)


async def test_nobody_waits_for_ever(
    companion: Companion, master: Master, owner: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exchange that does not end is cut."""
    monkeypatch.setattr(mitmweb_addon, "FINISHED_S", 0.01)
    companion.requestheaders(flow())
    companion.running()
    os.close(owner)
    await master.ended.wait()


async def test_what_has_no_known_length_passes_as_it_comes(companion: Companion) -> None:
    """An event stream would otherwise wait for its end; people see what it began with."""
    exchange = flow()
    exchange.request = message(transfer_encoding="chunked")
    exchange.response = message(content_type="text/event-stream")
    companion.requestheaders(exchange)
    companion.responseheaders(exchange)
    assert [exchange.request.stream(piece) for piece in (b"a", b"b", b"")] == [b"a", b"b", b""]
    assert exchange.response.stream(b"data") == b"data"
    companion.request(exchange)
    companion.response(exchange)
    assert (exchange.request.data.content, exchange.response.data.content) == (b"ab", b"data")


async def test_what_has_a_length_is_kept_whole(companion: Companion) -> None:
    """As mitmproxy does it."""
    exchange = flow()
    for hook in (companion.requestheaders, companion.request, companion.responseheaders, companion.response):
        hook(exchange)
    assert (exchange.request.stream, exchange.response.stream) == (False, False)


def test_a_long_stream_takes_no_memory() -> None:
    """Only its beginning is kept, and all of it passes."""
    kept, shown = Kept(), message()
    piece = b"x" * (MOST_KEPT - 1)
    assert [len(kept(piece)) for _ in range(3)] == [len(piece)] * 3
    kept.show(shown)
    assert len(shown.data.content) == MOST_KEPT


async def test_old_exchanges_are_forgotten(
    companion: Companion, master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But none that is under way."""
    monkeypatch.setattr(mitmweb_addon, "MOST_FLOWS", 2)
    flows = [flow(str(number)) for number in range(5)]
    for each in flows[:3]:
        companion.requestheaders(each)
    assert master.removed == []
    companion.response(flows[0])
    companion.response(flows[1])
    companion.requestheaders(flows[3])
    companion.requestheaders(flows[4])
    assert master.removed == ["0", "1"]


async def test_targets_are_called_by_the_name_of_the_route() -> None:
    """Where it gives one."""
    for name, expected in (("", None), ("internal.example.com", "internal.example.com")):
        data = SimpleNamespace(server=SimpleNamespace(sni=None))
        Companion(name, "").server_connect(data)
        assert data.server.sni == expected
