"""Tokens of HTTP-01: answered before anything else, on any host and connection, for as long as they are known."""

from __future__ import annotations

import ssl

import msgspec
import pytest

from mesh.challenges import PREFIX, Challenged, answering_first
from mesh.errors import Failure, Reply
from mesh.policies import BasicAuth, RateLimit, Redirect, Traffic
from mesh.routes import Challenges, Delta, MeshSettings, Route, Snapshot
from tests.support.authority import Authority
from tests.support.client import Visitor, ask
from tests.support.frame_visitor import FrameVisitor
from tests.support.mesh_node import HOST, route_to, start_mesh
from tests.support.origin import Origin
from tests.support.secure_visitor import SecureVisitor
from tests.support.stage import request, under_way, until, watched

AUTHORITY = Authority()
ACCOUNT = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
TOKEN = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"
PATH = PREFIX + TOKEN.encode()
PENDING = Challenges(tokens=((TOKEN, ACCOUNT), ("other", "other.account")))
GET = request(b"GET %b HTTP/1.1" % PATH)


def nowhere(_host: bytes, _target: bytes) -> Route | None:
    """Finds no route."""
    return None


def test_without_tokens_no_request_is_looked_at() -> None:
    """The function that finds routes stays the one that it was."""
    assert answering_first((), nowhere) is nowhere


@pytest.mark.parametrize(
    "target", [b"/", PREFIX, PATH + b"x", PATH[:-1], PATH + b"?a", PATH + b"/", PREFIX + b"../" + PATH, PATH.upper()]
)
def test_other_paths_are_for_routes(target: bytes) -> None:
    """An application may have certificates of its own, and asks for tokens of its own."""
    asked: list[tuple[bytes, bytes]] = []

    def match(host: bytes, target: bytes) -> Route | None:
        asked.append((host, target))
        return None

    assert answering_first(PENDING.tokens, match)(b"a", target) is None
    assert asked == [(b"a", target)]


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_token_has_one_answer(method: bytes) -> None:
    """Its key authorization, as text."""
    with pytest.raises(Challenged) as caught:
        answering_first(PENDING.tokens, nowhere)(b"a", PATH)
    answer = caught.value.answer(method)
    assert isinstance(answer, Reply)
    assert (answer.status, answer.body) == (200, ACCOUNT.encode())


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PROPFIND"])
def test_a_token_is_for_reading(method: bytes) -> None:
    """No authority does anything else with it."""
    answer = Challenged(b"authorization").answer(method)
    assert isinstance(answer, Failure)
    assert (answer.status, answer.headers) == (405, (("Allow", "GET, HEAD"),))


async def test_an_authority_reads_a_token() -> None:
    """With a length, and without a target's having heard of it."""
    async with Origin() as origin, await start_mesh(route_to(origin.port)) as mesh:
        mesh.apply(Delta(revision=2, challenges=PENDING))
        answer = await ask(mesh.port, GET)
        assert (answer.status, answer.body, answer.ended) == (200, ACCOUNT.encode(), "length")
        assert answer.values(b"content-type") == [b"text/plain"]
        assert len(answer.values(b"date")) == 1
        assert (await ask(mesh.port, request(b"GET %bother HTTP/1.1" % PREFIX))).body == b"other.account"
        assert not origin.requests


async def test_a_connection_goes_on_behind_a_token() -> None:
    """As it does behind any answer."""
    async with Origin() as origin, await start_mesh(route_to(origin.port)) as mesh:
        mesh.apply(Delta(revision=2, challenges=PENDING))
        async with await Visitor.connect(mesh.port) as visitor:
            await visitor.send(GET + request(b"HEAD %b HTTP/1.1" % PATH) + request(b"GET / HTTP/1.1"))
            first, second, third = [await visitor.answer(method) for method in ("GET", "HEAD", "GET")]
        assert first is not None
        assert second is not None
        assert third is not None
        assert (first.body, second.body) == (ACCOUNT.encode(), b"")
        assert second.values(b"content-length") == [b"%d" % len(ACCOUNT)]
        assert third.json["target"] == "/"


async def test_other_methods_are_refused_for_a_token() -> None:
    """The answer says which ones are not."""
    async with await start_mesh() as mesh:
        mesh.apply(Delta(revision=2, challenges=PENDING))
        answer = await ask(mesh.port, request(b"POST %b HTTP/1.1" % PATH, b"Content-Length: 1", body=b"x"), "POST")
        assert (answer.status, answer.values(b"allow")) == (405, [b"GET, HEAD"])


async def test_unknown_tokens_go_on_to_routes() -> None:
    """And known ones do too, once they are known no more."""
    async with Origin() as origin, await start_mesh(route_to(origin.port)) as mesh:
        unknown = request(b"GET %bunknown HTTP/1.1" % PREFIX)
        assert (await ask(mesh.port, unknown)).json["target"] == (PREFIX + b"unknown").decode()
        mesh.apply(Delta(revision=2, challenges=PENDING))
        assert (await ask(mesh.port, unknown)).json["target"] == (PREFIX + b"unknown").decode()
        mesh.apply(Delta(revision=3))
        assert (await ask(mesh.port, GET)).body == ACCOUNT.encode()
        mesh.apply(Delta(revision=4, challenges=Challenges()))
        assert (await ask(mesh.port, GET)).json["target"] == PATH.decode()


async def test_tokens_come_with_a_snapshot_and_outlive_changes_of_routes() -> None:
    """Whatever else is new."""
    async with await start_mesh() as mesh:
        mesh.core.apply(Snapshot(revision=2, challenges=PENDING))
        assert (await ask(mesh.port, GET)).body == ACCOUNT.encode()
        mesh.apply(Delta(revision=3, put=(Route(host=HOST, targets=(), traffic=Traffic(mode="stop")),)))
        assert (await ask(mesh.port, GET)).body == ACCOUNT.encode()
        assert (await ask(mesh.port, request(b"GET / HTTP/1.1"))).status == 503
        mesh.core.apply(Snapshot(revision=4))
        assert (await ask(mesh.port, GET)).status == 404


@pytest.mark.parametrize("host", [HOST, "nobody.example.org", "192.0.2.1", "new.example.com:80", "LOCALHOST"])
async def test_any_host_is_answered(host: str) -> None:
    """A name is validated before there is anything else for it."""
    async with await start_mesh() as mesh:
        mesh.apply(Delta(revision=2, challenges=PENDING))
        answer = await ask(mesh.port, b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (PATH, host.encode()))
        assert (answer.status, answer.body) == (200, ACCOUNT.encode())


CLOSED = {
    "redirect_to_https": Route(host=HOST, targets=(), https="redirect"),
    "redirect": Route(host=HOST, targets=(), redirect=Redirect(to="https://elsewhere.example/")),
    "password": Route(host=HOST, targets=(), basic_auth=BasicAuth(users=(("a", "x"),))),
    "mesh_token": Route(host=HOST, targets=(), access="tenant", org_id="o"),
    "addresses": Route(host=HOST, targets=(), deny=("0.0.0.0/0",)),
    "client_certificate": Route(host=HOST, targets=(), client_ca=AUTHORITY.pem),
    "rate": Route(host=HOST, targets=(), rate_limit=RateLimit(requests=1, per_s=3600.0)),
    "pause": Route(host=HOST, targets=(), traffic=Traffic(mode="pause", hold_s=1.0)),
    "stop": Route(host=HOST, targets=(), traffic=Traffic(mode="stop")),
    "paths": Route(host=HOST, targets=(), path_prefix="/api"),
}


@pytest.mark.parametrize("closed", CLOSED)
async def test_nothing_that_a_route_asks_for_comes_before(closed: str) -> None:
    """An authority has no password, and follows redirects only to where it is told the same."""
    async with await start_mesh(CLOSED[closed]) as mesh:
        mesh.apply(Delta(revision=2, challenges=PENDING))
        for _ in range(3):
            answer = await ask(mesh.port, GET)
            assert (answer.status, answer.body) == (200, ACCOUNT.encode())
        assert (await ask(mesh.port, request(b"GET %bunknown HTTP/1.1" % PREFIX))).status != 200


async def test_tokens_over_http2() -> None:
    """To whoever speaks it; HEAD has no body there either."""
    async with (
        Origin() as origin,
        await start_mesh(route_to(origin.port), settings=MeshSettings(http2_cleartext=True)) as mesh,
    ):
        mesh.apply(Delta(revision=2, challenges=PENDING))
        async with await FrameVisitor.connect(mesh.port) as visitor:
            reply = await visitor.ask(PATH)
            assert (reply.status, reply.body, reply.ended) == (200, ACCOUNT.encode(), True)
            reply = await visitor.ask(PATH, method=b"HEAD")
            assert (reply.status, reply.body, reply.values(b"content-length")) == (200, b"", [b"%d" % len(ACCOUNT)])
            assert (await visitor.ask(b"/")).json_target == "/"


async def test_tokens_over_tls() -> None:
    """Where a redirect of somebody in front leads to; another name than the connection's stays misdirected."""
    issued = AUTHORITY.issue(HOST)
    async with await start_mesh(certificates=(issued.certificate,)) as mesh:
        mesh.apply(Delta(revision=2, challenges=PENDING))
        for host, status in ((HOST, b"200"), ("other.example.org", b"421")):
            raw = b"GET %b HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % (PATH, host.encode())
            async with await SecureVisitor.connect(mesh.tls_port, AUTHORITY.visitor_context(), HOST) as visitor:
                await visitor.send(raw)
                assert (await visitor.receive_all()).startswith(b"HTTP/1.1 %b " % status)
        context = AUTHORITY.visitor_context("h2")
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        async with await FrameVisitor.connect(mesh.tls_port, context) as frames:
            assert (await frames.ask(PATH, scheme=b"https")).body == ACCOUNT.encode()


async def test_a_token_leaves_a_record() -> None:
    """Whoever waits for a certificate sees in the access log that the authority came."""
    async with await start_mesh() as mesh:
        mesh.apply(Delta(revision=2, challenges=PENDING))
        records = watched(mesh)
        await ask(mesh.port, GET)
        (seen,) = records
        assert (seen.status, seen.host, seen.target, seen.cause) == (200, HOST, PATH.decode(), "")
        assert seen.sent == len(ACCOUNT)
        assert mesh.core.counters.statuses[2] == 1


async def test_a_request_that_is_held_may_turn_out_to_be_for_a_token() -> None:
    """One that came a moment too early, to a site that is paused."""
    paused = Route(host=HOST, targets=(), traffic=Traffic(mode="pause", hold_s=3.0))
    async with await start_mesh(paused) as mesh, await Visitor.connect(mesh.port) as visitor:
        await visitor.send(GET)
        await until(lambda: mesh.core.visitors and under_way(mesh)._waiting is not None)
        mesh.apply(Delta(revision=2, challenges=PENDING, put=(msgspec.structs.replace(paused, org_id="o"),)))
        answer = await visitor.answer()
        assert answer is not None
        assert (answer.status, answer.body) == (200, ACCOUNT.encode())
