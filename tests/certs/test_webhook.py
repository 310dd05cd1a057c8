"""Events reach the operator's URL: signed, again when no answer came, and nowhere else."""

from __future__ import annotations

import asyncio
import base64
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec
import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer

from certs.alarms import Event
from certs.webhook import Webhook

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
EVENT = Event(key="renewed/aa", kind="renewed", name="shop.example.com", at=NOW, text="It was renewed.")


class Receiver:
    """A server that remembers what came, and answers with the statuses in order; the last one for ever."""

    def __init__(self, *statuses: int) -> None:
        """200 without any."""
        self.statuses = list(statuses or (200,))
        self.requests: list[tuple[web.Request, bytes]] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        """Take one request."""
        self.requests.append((request, await request.read()))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status == 0:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=status or 200, headers={"Location": "/elsewhere"})


@asynccontextmanager
async def served(answer: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    """The URL of a server that answers so."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(application) as server:
        yield str(server.make_url("/hook?token=hidden"))


@asynccontextmanager
async def receiving(*statuses: int) -> AsyncIterator[Receiver]:
    """A receiver that listens."""
    receiver = Receiver(*statuses)
    async with served(receiver.answer) as receiver.url:
        yield receiver


def webhook(url: str, secret: str | None = "s3cret", *, tries: int = 3, limit_s: float = 10.0) -> Webhook:
    """One that makes no pauses."""
    return Webhook(url, secret, pauses_s=(0.0,) * (tries - 1), limit_s=limit_s, clock=lambda: NOW)


@pytest.mark.parametrize(
    ("secret", "key"),
    [("s3cret", b"s3cret"), (f"whsec_{base64.b64encode(b'bytes').decode()}", b"bytes"), ("whsec_?", b"whsec_?")],
)
async def test_an_event_is_sent_as_json_with_a_signature(secret: str, key: bytes) -> None:
    """As Standard Webhooks 1.0 says."""
    async with receiving() as receiver:
        assert await webhook(receiver.url, secret).send(EVENT)
    [(request, body)] = receiver.requests
    assert request.method == "POST"
    assert request.headers["Content-Type"] == "application/json"
    assert msgspec.json.decode(body, type=Event) == EVENT
    name, at = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    assert at == str(int(NOW.timestamp()))
    version, _, signature = request.headers["webhook-signature"].partition(",")
    expected = hmac.digest(key, f"{name}.{at}.".encode() + body, "sha256")
    assert (version, base64.b64decode(signature)) == ("v1", expected)


async def test_without_a_secret_nothing_is_signed() -> None:
    """The event comes all the same."""
    async with receiving() as receiver:
        assert await webhook(receiver.url, None).send(EVENT)
    assert "webhook-signature" not in receiver.requests[0][0].headers


async def test_a_receiver_in_trouble_gets_it_again_with_the_same_id() -> None:
    """By which it can tell that it had it before."""
    async with receiving(503, 429, 204) as receiver:
        assert await webhook(receiver.url).send(EVENT)
    assert len({request.headers["webhook-id"] for request, _ in receiver.requests}) == 1
    assert len(receiver.requests) == 3


async def test_tries_are_few() -> None:
    """Then it is said in the log, without what nobody may read there."""
    async with receiving(500) as receiver:
        with structlog.testing.capture_logs() as logs:
            assert not await webhook(receiver.url).send(EVENT)
    assert len(receiver.requests) == 3
    assert logs == [
        {
            "event": "an event was not taken by the webhook",
            "log_level": "warning",
            "host": "127.0.0.1",
            "kind": "renewed",
            "error": "answered 500",
        }
    ]


@pytest.mark.parametrize("status", [301, 307, 308, 400, 401, 404, 410])
async def test_who_does_not_want_it_is_not_asked_again_nor_followed_elsewhere(status: int) -> None:
    """A redirect would take a signed event to a place that the operator did not name."""
    async with receiving(status) as receiver:
        assert not await webhook(receiver.url).send(EVENT)
    assert [request.path for request, _ in receiver.requests] == ["/hook"]


async def test_a_receiver_that_hangs_is_given_up() -> None:
    """Each try has its time."""
    release = asyncio.Event()

    async def hang(_request: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    async with served(hang) as url:
        with structlog.testing.capture_logs() as logs:
            assert not await webhook(url, tries=2, limit_s=0.02).send(EVENT)
        release.set()
    assert logs[0]["error"] == "no answer in time"


async def test_connections_that_are_refused_or_cut_are_tried_again() -> None:
    """What is logged holds no URL."""
    async with receiving(0, 200) as receiver:
        assert await webhook(receiver.url).send(EVENT)
    with structlog.testing.capture_logs() as logs:
        assert not await webhook(receiver.url).send(EVENT)
    assert logs[0]["error"] == "ClientConnectorError"
    assert "hidden" not in str(logs)


@pytest.mark.parametrize("url", ["http://", "nonsense", "http://127.0.0.1:99999/"])
async def test_a_url_that_is_none_is_no_reason_to_raise(url: str) -> None:
    """Nor to try again."""
    with structlog.testing.capture_logs() as logs:
        assert not await webhook(url).send(EVENT)
    assert logs[0]["error"] == "the URL is none"


def test_neither_url_nor_secret_are_shown() -> None:
    """In logs and tracebacks."""
    shown = repr(webhook("https://hooks.example/token"))
    assert shown == "Webhook('hooks.example')"


async def test_a_secret_without_a_key_is_taken_as_it_is() -> None:
    """With an empty key anybody could sign."""
    async with receiving(200) as receiver:
        assert await Webhook(receiver.url, "whsec_").send(EVENT)
    ((request, body),) = receiver.requests
    signed = b"%b.%b." % (request.headers["webhook-id"].encode(), request.headers["webhook-timestamp"].encode())
    empty = base64.b64encode(hmac.digest(b"", signed + body, "sha256")).decode()
    assert request.headers["webhook-signature"] != f"v1,{empty}"
