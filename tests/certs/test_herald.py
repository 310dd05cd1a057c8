"""The operator is told, in the log and by POST."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
import structlog
from aiohttp import web

from certs.alarms import Event, EventKind
from certs.herald import Herald
from certs.webhook import Webhook

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_every_event_is_logged() -> None:
    """As a warning if it is none of the good ones."""
    herald = Herald(None)
    with structlog.testing.capture_logs() as lines:
        herald.announce(event("renewed"))
        herald.announce(event("expiring"))
    assert [(line["log_level"], line["event"], line["kind"]) for line in lines] == [
        ("info", "Something is renewed.", "renewed"),
        ("warning", "Something is expiring.", "expiring"),
    ]


async def test_an_event_is_sent_in_the_background() -> None:
    """Whoever announces it does not wait."""
    received: asyncio.Queue[str] = asyncio.Queue()

    async def take(request: web.Request) -> web.Response:
        await received.put((await request.json())["name"])
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    herald = Herald(None)
    herald.use(Webhook(f"http://127.0.0.1:{runner.addresses[0][1]}/"))
    herald.announce(event("renewed"))
    async with asyncio.timeout(5):
        assert await received.get() == "shop.example.com"
    await herald.close()
    await runner.cleanup()


async def test_what_is_not_sent_yet_does_not_keep_the_node_from_its_end() -> None:
    """The receiver may never answer."""
    async with asyncio.timeout(5):
        listener = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
        herald = Herald(Webhook(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"))
        herald.announce(event("expired"))
        await asyncio.sleep(0)
        await herald.close()
        listener.close()


async def test_a_webhook_that_hangs_holds_no_more_than_so_many_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """And has no more than a few connections."""
    monkeypatch.setattr("certs.herald._WAITING", 20)
    visitors: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    listener = await asyncio.start_server(lambda _reader, writer: visitors.put_nowait(writer), "127.0.0.1", 0)
    herald = Herald(Webhook(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"))
    with structlog.testing.capture_logs() as lines:
        for _ in range(30):
            herald.announce(event("expired"))
    assert len([line for line in lines if line["event"].startswith("an event is not sent")]) == 10
    async with asyncio.timeout(5):
        come = [await visitors.get() for _ in range(8)]
    assert visitors.empty()
    await herald.close()
    for visitor in come:
        visitor.close()
    listener.close()
    await listener.wait_closed()


def event(kind: EventKind) -> Event:
    """Something that happened."""
    return Event(key=kind, kind=kind, name="shop.example.com", at=NOON, text=f"Something is {kind}.")
