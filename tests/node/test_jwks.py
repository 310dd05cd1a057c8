"""Keys from a URL: fetched on time, kept through outages, and never from a server that may not be believed."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from mesh.access import Verifier
from mesh.errors import Failure
from mesh.routes import AccessKeys
from node.jwks import MAX_DOCUMENT_BYTES, FetchError, JwksSource, Schedule, fetch_document, freshness_s
from tests.support.tokens import NOW, access_keys, bearer, claims, encode, mint, public_jwk, route, verify_key


class Clock:
    """A monotonic clock that jumps when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Issuer:
    """A server that publishes a key set, and can misbehave."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = b""
        self.url = ""
        self.hangs = False
        self._asked = asyncio.Condition()

    def publish(self, *kids: str) -> None:
        """Serve these keys from now on."""
        self.status, self.headers = 200, {}
        self.body = encode({"keys": [public_jwk(kid) for kid in kids]})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer as told."""
        async with self._asked:
            self.requests.append(request)
            self._asked.notify_all()
        if self.hangs:
            await asyncio.Event().wait()
        return web.Response(status=self.status, headers=self.headers, body=self.body)

    async def asked(self, times: int) -> None:
        """Wait until so many requests have come in all."""
        async with asyncio.timeout(5), self._asked:
            await self._asked.wait_for(lambda: len(self.requests) >= times)


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    """An issuer on loopback."""
    issuer = Issuer()
    issuer.publish("rsa-1", "ec-1")
    application = web.Application()
    application.router.add_get("/{path:.*}", issuer.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    issuer.url = f"http://127.0.0.1:{runner.addresses[0][1]}/jwks.json"
    yield issuer
    await runner.cleanup()


class Watched:
    """A source with all that it published and reported."""

    def __init__(self, url: str, base: AccessKeys | None = None) -> None:
        self.clock = Clock()
        self.published: list[AccessKeys] = []
        self.arrived = asyncio.Semaphore(0)
        self.reports: list[str] = []
        self.source = JwksSource(
            url,
            base or access_keys(keys=(verify_key(None),), generation=3),
            self._publish,
            clock=self.clock,
            report=self.reports.append,
        )

    def _publish(self, keys: AccessKeys) -> None:
        self.published.append(keys)
        self.arrived.release()

    async def refresh(self) -> bool:
        """Fetch once."""
        return await self.source.refresh()

    def kids(self) -> list[str | None]:
        """Which keys verify tokens now."""
        return [key.kid for key in self.source.keys.keys]

    @property
    def wait_s(self) -> float:
        """How long until the next fetch."""
        return self.source.schedule.due_at - self.clock.now


async def test_the_keys_join_those_of_the_settings(issuer: Issuer) -> None:
    """The published set has the rules and keys of the base, one generation on."""
    watched = Watched(issuer.url)
    assert watched.wait_s == 0
    assert watched.source.keys.generation == 3
    assert await watched.refresh()
    assert watched.kids() == [None, "rsa-1", "ec-1"]
    assert [keys.generation for keys in watched.published] == [4]
    assert watched.published[0].issuer == "zexio-service-mesh"
    assert watched.wait_s == 600


async def test_an_unchanged_set_is_not_published_again(issuer: Issuer) -> None:
    """So that no worker forgets what it has verified."""
    watched = Watched(issuer.url)
    for _ in range(3):
        assert await watched.refresh()
    assert len(watched.published) == 1
    assert watched.reports == []


async def test_rotation_with_overlap(issuer: Issuer) -> None:
    """The new key joins the old one, then the old one goes, and its tokens with it."""
    watched = Watched(issuer.url, access_keys(keys=()))
    accepted = []
    for kids in (("rsa-1",), ("rsa-1", "rsa-2"), ("rsa-2",)):
        issuer.publish(*kids)
        assert await watched.refresh()
        verifier = Verifier(watched.source.keys)
        accepted.append([accepts(verifier, kid) for kid in ("rsa-1", "rsa-2")])
    assert accepted == [[True, False], [True, True], [False, True]]
    assert [keys.generation for keys in watched.published] == [1, 2, 3]


BAD_ANSWERS = {
    "not found": (404, {}, b"{}", "status 404"),
    "error": (500, {}, b"oops", "status 500"),
    "redirect": (302, {"Location": "/elsewhere.json"}, b"", "status 302"),
    "permanent redirect": (308, {"Location": "http://127.0.0.1/"}, b"", "status 308"),
    "not modified": (304, {}, b"", "status 304"),
    "no content": (204, {}, b"", "status 204"),
    "too large": (200, {}, b" " * (MAX_DOCUMENT_BYTES + 1), "more than 1048576 bytes"),
    "no JSON": (200, {}, b"<html>", "no JSON"),
    "compressed": (200, {"Content-Encoding": "gzip"}, gzip.compress(b'{"keys":[]}'), "no JSON"),
    "no set": (200, {}, b"[]", "no JWK Set"),
    "empty set": (200, {}, b'{"keys":[]}', "no usable key"),
    "duplicate kid": (200, {}, encode({"keys": [public_jwk("ec-1"), public_jwk("ec-1")]}), "same kid"),
    "symmetric": (200, {}, b'{"keys":[{"kty":"oct","k":"AAAA"}]}', "private or symmetric"),
}


@pytest.mark.parametrize(("status", "headers", "body", "sentence"), BAD_ANSWERS.values(), ids=BAD_ANSWERS)
async def test_an_answer_that_cannot_be_used(
    issuer: Issuer, status: int, headers: dict[str, str], body: bytes, sentence: str
) -> None:
    """The last good keys stay, and the next try comes soon."""
    watched = Watched(issuer.url)
    assert await watched.refresh()
    issuer.status, issuer.headers, issuer.body = status, headers, body
    assert not await watched.refresh()
    assert watched.kids() == [None, "rsa-1", "ec-1"]
    assert len(watched.published) == 1
    assert sentence in watched.reports[-1]
    assert watched.wait_s == 1
    assert {request.path for request in issuer.requests} == {"/jwks.json"}


async def test_a_server_that_is_down() -> None:
    """Nothing is published, the configured keys stay, and the tries are spaced out up to a minute."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        watched = Watched(f"http://127.0.0.1:{unused.getsockname()[1]}/")
        waits = []
        for _ in range(8):
            assert not await watched.refresh()
            waits.append(watched.wait_s)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert watched.published == []
    assert watched.kids() == [None]


async def test_recovery_is_reported(issuer: Issuer) -> None:
    """The log says when an outage is over, once."""
    watched = Watched(issuer.url)
    issuer.status = 503
    await watched.refresh()
    issuer.publish("rsa-1")
    await watched.refresh()
    await watched.refresh()
    assert [report.rpartition(":")[2] for report in watched.reports[:1]] == [" the answer has status 503"]
    assert watched.reports[1:] == [f"the keys at {issuer.url} are current again"]


async def test_skipped_keys_are_reported_when_they_change(issuer: Issuer) -> None:
    """Not with every fetch."""
    watched = Watched(issuer.url)
    issuer.body = encode({"keys": [public_jwk("rsa-1"), public_jwk("rsa-2", use="enc")]})
    await watched.refresh()
    await watched.refresh()
    assert watched.reports == [f"{issuer.url}, key 1: use is not sig"]


async def test_a_slow_server(issuer: Issuer) -> None:
    """The time limit holds for the whole answer."""
    issuer.hangs = True
    with pytest.raises(FetchError, match=r"within 0\.02 s"):
        await fetch_document(issuer.url, timeout_s=0.02)


async def test_the_request_gives_nothing_away(issuer: Issuer) -> None:
    """No cookies, no credentials, no compression; cookies that were set are forgotten."""
    issuer.headers = {"Set-Cookie": "a=b"}
    for _ in range(2):
        await fetch_document(issuer.url)
    sent = issuer.requests[-1].headers
    assert "Cookie" not in sent
    assert "Authorization" not in sent
    assert sent["Accept-Encoding"] == "identity"


async def test_a_set_that_clashes_with_a_configured_key(issuer: Issuer) -> None:
    """No worker gets keys that it could not use."""
    watched = Watched(issuer.url, access_keys(keys=(verify_key("rsa-1"),)))
    assert not await watched.refresh()
    assert watched.published == []
    assert "same kid" in watched.reports[0]


@pytest.mark.parametrize(
    ("control", "wait_s"),
    [("max-age=300", 300), ("max-age=1", 60), ("max-age=999999", 86_400), ("public", 600), ("no-store", 60)],
)
async def test_how_long_an_answer_is_used(issuer: Issuer, control: str, wait_s: float) -> None:
    """As long as it says, between a minute and a day; ten minutes if it does not say."""
    issuer.headers = {"Cache-Control": control}
    watched = Watched(issuer.url)
    await watched.refresh()
    assert watched.wait_s == wait_s


@pytest.mark.parametrize(
    ("headers", "freshness"),
    [
        ({}, None),
        ({"Cache-Control": "public, max-age=600, must-revalidate"}, 600),
        ({"Cache-Control": 'MAX-AGE="600"'}, 600),
        ({"Cache-Control": "s-maxage=5, max-age=600"}, 600),
        ({"Cache-Control": "s-maxage=5"}, None),
        ({"Cache-Control": "max-age=-1"}, None),
        ({"Cache-Control": "max-age=600x"}, None),
        ({"Cache-Control": "max-age=600", "Age": "100"}, 500),
        ({"Cache-Control": "max-age=600", "Age": "1000"}, 0),
        ({"Cache-Control": "max-age=600", "Age": "soon"}, 600),
        ({"Cache-Control": "No-Cache, max-age=600"}, 0),
    ],
)
def test_freshness(headers: dict[str, str], freshness: float | None) -> None:
    """RFC 9111 section 4.2, as much of it as a key set needs."""
    assert freshness_s(headers) == freshness


def test_an_unknown_kid_moves_the_next_fetch() -> None:
    """At once when the last try is 10 s ago, else at that time; never later than it was due anyway."""
    fresh = Schedule(due_at=0.0).succeeded(100.0, None)
    assert fresh.due_at == 700
    assert fresh.wanted(103.0).due_at == 110
    assert fresh.wanted(200.0).due_at == 200
    assert fresh.failed(100.0).wanted(100.0).due_at == 101
    assert Schedule(due_at=5.0).wanted(1.0).due_at == 1


async def test_a_flood_of_unknown_kids(issuer: Issuer) -> None:
    """Attack 25: however many there are, there is one fetch per 10 s, and a known kid asks for none."""
    watched = Watched(issuer.url)
    await watched.refresh()
    watched.source.unknown_kid("rsa-1")
    assert watched.wait_s == 600
    for number in range(1000):
        watched.source.unknown_kid(f"kid-{number}")
    assert watched.wait_s == 10
    assert len(watched.source._sought_kids) == 256


async def test_a_kid_that_was_sought_in_vain(issuer: Issuer) -> None:
    """It asks for another fetch after a minute only."""
    watched = Watched(issuer.url)
    watched.source.unknown_kid("rsa-9")
    await watched.refresh()
    for wait_s, due in ((30.0, False), (31.0, True)):
        watched.clock.now += wait_s
        watched.source.unknown_kid("rsa-9")
        assert (watched.wait_s <= 0) == due


async def test_the_loop_fetches_at_once_and_when_woken(issuer: Issuer) -> None:
    """First at once, then when a worker meets an unknown kid."""
    watched = Watched(issuer.url)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        loop = tasks.create_task(watched.source.run(), name="jwks")
        await watched.arrived.acquire()
        issuer.publish("rsa-1", "rsa-2")
        watched.clock.now += 20
        watched.source.unknown_kid("rsa-2")
        await watched.arrived.acquire()
        assert accepts(Verifier(watched.source.keys), "rsa-2")
        loop.cancel()


async def test_the_loop_fetches_again_when_the_answer_is_stale(issuer: Issuer) -> None:
    """Without anybody asking."""
    watched = Watched(issuer.url)
    await watched.refresh()
    watched.clock.now += 599.99
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        loop = tasks.create_task(watched.source.run(), name="jwks")
        await issuer.asked(2)
        loop.cancel()


def test_a_source_checks_its_url() -> None:
    """Before anything is asked of it."""
    with pytest.raises(ValueError, match="https"):
        Watched("http://issuer.example.com/")


def accepts(verifier: Verifier, kid: str) -> bool:
    """Whether a token by this key is believed."""
    try:
        return verifier.check(bearer(mint(claims(), kid)), route(), NOW).claims is not None
    except Failure:
        return False
