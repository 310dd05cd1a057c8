"""One request's life: which targets are tried, what goes through, how it ends, and what is told of it afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.policies import Circuit, HeaderEdits, Limits, Target, Timeouts
from mesh.routes import Delta, MeshSettings, Route
from tests.support.client import Visitor, ask
from tests.support.h2_peer import H2Peer
from tests.support.mesh_node import HOST, MeshUnderTest, route_to, start_mesh
from tests.support.origin import Origin
from tests.support.stage import (
    Scene,
    Stage,
    answering,
    head_of,
    idle,
    in_flight,
    request,
    reset_on_close,
    under_way,
    until,
    watched,
)

GET = request(b"GET / HTTP/1.1")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
WEBSOCKET = (b"Connection: Upgrade", b"Upgrade: websocket")


@pytest.fixture
def deaf() -> Iterator[int]:
    """A port that refuses every connection."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def _to(*ports: int, **others: object) -> Route:
    """A route to these ports, in turn."""
    targets = tuple(Target(f"http://127.0.0.1:{port}") for port in ports)
    return msgspec.structs.replace(Route(host=HOST, targets=targets), **others)


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


def _failures(mesh: MeshUnderTest) -> list[int]:
    return [target.failures for target in mesh.core.targets(9)]


# Which targets are tried.


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1", b"POST / HTTP/1.1"])
async def test_a_refused_connection_leads_to_another_target(deaf: int, line: bytes) -> None:
    """Nothing was sent, so any request may go elsewhere; the visitor does not notice."""
    async with Origin() as origin, await start_mesh(_to(deaf, origin.port)) as mesh:
        raw = request(line, b"Content-Length: 5", body=b"hello")
        answers = [await ask(mesh.port, raw) for _ in range(4)]
        assert [answer.status for answer in answers] == [200] * 4
        assert [seen.body for seen in origin.requests] == [b"hello"] * 4
        assert in_flight(mesh) == 0


async def test_a_target_that_fails_in_a_row_is_left_alone(deaf: int) -> None:
    """After some refusals only the other target is asked."""
    async with Origin() as origin, await start_mesh(_to(deaf, origin.port)) as mesh:
        for _ in range(20):
            await ask(mesh.port, GET)
        (failing, working) = mesh.core.targets(2)
        assert (failing.failures, working.failures) == (5, 0)
        assert failing.requests == 5
        assert len(origin.requests) == 20


async def test_there_are_so_many_tries_and_no_more(deaf: int) -> None:
    """Without a retry the first failure is the answer."""
    async with Origin() as origin, await start_mesh(_to(deaf, origin.port, retries=0)) as mesh:
        answers = [await ask(mesh.port, GET) for _ in range(2)]
        assert sorted(answer.status for answer in answers) == [200, 502]
        (refusal,) = [answer for answer in answers if answer.status == 502]
        assert b"error=connection_refused" in refusal.values(b"proxy-status")[0]
        assert in_flight(mesh) == 0


async def test_when_every_target_was_tried_the_failure_is_told(deaf: int) -> None:
    """More tries than targets change nothing, and nothing is counted out twice."""
    route = _to(deaf, retries=5)
    spare = msgspec.structs.replace(route, targets=(*route.targets, Target("http://127.0.0.1:9", weight=0)))
    for each in (route, spare):
        async with await start_mesh(each) as mesh:
            assert (await ask(mesh.port, GET)).status == 502
            assert [target.in_flight for target in mesh.core.targets(9)] == [0] * len(each.targets)
            assert _failures(mesh)[0] == 1


async def test_without_a_target_there_is_no_service() -> None:
    """A route whose targets all have no weight."""
    route = Route(host=HOST, targets=(Target("http://127.0.0.1:9", weight=0), Target("http://127.0.0.1:8", weight=0)))
    async with await start_mesh(route) as mesh:
        answer = await ask(mesh.port, GET)
        assert answer.status == 503
        assert b"error=destination_unavailable" in answer.values(b"proxy-status")[0]
        held = await ask(mesh.port, request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"))
        assert held.status == 503


def _closing_the_second_time(closed: asyncio.Event) -> Scene:
    """A target that answers, waits for a second request on the connection, and closes without an answer."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(OK)
        if not closed.is_set():
            await head_of(reader)
            closed.set()
        else:
            await reader.read()

    return scene


@pytest.mark.parametrize(("method", "status"), [(b"GET", 200), (b"DELETE", 200), (b"POST", 502), (b"PATCH", 502)])
async def test_only_an_idempotent_request_is_sent_again(method: bytes, status: int) -> None:
    """A connection that was used before may close without having seen the request, or after (RFC 9110 9.2.2)."""
    closed = asyncio.Event()
    async with Stage(_closing_the_second_time(closed)) as stage, await start_mesh(route_to(stage.port)) as mesh:
        assert (await ask(mesh.port, GET)).status == 200
        assert (await ask(mesh.port, request(method + b" / HTTP/1.1"))).status == status
        assert closed.is_set()
        assert _failures(mesh) == [0]
        assert in_flight(mesh) == 0


async def test_a_fresh_connection_that_closes_is_a_failure() -> None:
    """It cannot have been closed before the request was on its way, so nothing is sent again."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)

    async with Stage(scene) as stage, await start_mesh(route_to(stage.port)) as mesh:
        assert (await ask(mesh.port, GET)).status == 502
        assert stage.entered == 1
        assert _failures(mesh) == [1]


async def test_an_empty_body_ends_at_the_other_connection_too() -> None:
    """In chunks it has an end all the same, perhaps with trailers, for which the target waits."""
    endings: list[bytes] = []

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        if stage.entered == 1:
            writer.write(OK)
            await head_of(reader)
            return
        endings.append(await head_of(reader))
        writer.write(OK)

    async with Stage(scene) as stage, await start_mesh(route_to(stage.port)) as mesh:
        assert (await ask(mesh.port, GET)).status == 200
        empty = request(b"PUT / HTTP/1.1", b"Transfer-Encoding: chunked", body=b"0\r\nX-Sum: 0\r\n\r\n")
        assert (await ask(mesh.port, empty, "PUT")).status == 200
        assert endings == [b"0\r\nX-Sum: 0\r\n\r\n"]


async def test_a_body_is_never_sent_twice() -> None:
    """Once an octet of it has gone, there is no other try, idempotent or not."""
    closed = asyncio.Event()
    async with Stage(_closing_the_second_time(closed)) as stage, await start_mesh(route_to(stage.port)) as mesh:
        assert (await ask(mesh.port, GET)).status == 200
        answer = await ask(mesh.port, request(b"PUT / HTTP/1.1", b"Content-Length: 5", body=b"hello"))
        assert answer.status == 502
        assert stage.entered == 1


async def test_an_answer_that_has_begun_is_never_begun_again() -> None:
    """A connection that was used before and breaks in the body cuts the visitor."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(OK)
        await head_of(reader)
        writer.write(OK[:-2])

    async with Stage(scene) as stage, await start_mesh(route_to(stage.port)) as mesh:
        assert (await ask(mesh.port, GET)).status == 200
        answer = await ask(mesh.port, GET)
        assert (answer.body, answer.ended) == (b"hel", "truncated")
        assert stage.entered == 1


# A place with a target that has enough to do.


def _waiting(mesh: MeshUnderTest) -> int:
    """How many wait for a place."""
    return sum(len(queue) for target in mesh.core.targets(9) for queue in target.awaited)


def _one_at_a_time(port: int, pending_s: float) -> Route:
    return _to(port, circuit=Circuit(max_in_flight=1, max_pending=5, pending_s=pending_s))


async def test_a_place_that_a_visitor_leaves_is_for_the_next_one() -> None:
    """Even when the place becomes free in the same turn of the loop in which the first one who waits goes."""
    may_answer = asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await head_of(reader)
            await may_answer.wait()
            writer.write(OK)

    async with Stage(scene) as stage:
        route = _one_at_a_time(stage.port, pending_s=0.5)
        async with (
            await start_mesh(route, settings=MeshSettings(http2_cleartext=True)) as mesh,
            await H2Peer.connect(mesh.port) as visitor,
        ):
            first = visitor.request(HOST)
            await until(lambda: in_flight(mesh) == 1)
            second, third = visitor.request(HOST), visitor.request(HOST)
            await until(lambda: _waiting(mesh) == 2)
            may_answer.set()
            await asyncio.sleep(0)
            # The target has just written its answer, so that the proxy reads that and this together.
            visitor.reset(second)
            assert [(await visitor.message(stream)).status for stream in (first, third)] == [200, 200]
            assert in_flight(mesh) == 0


@pytest.mark.parametrize("body", [b"", b"hello"], ids=["no body", "body"])
async def test_nobody_waits_for_a_place_for_long(body: bytes) -> None:
    """A body that comes meanwhile has no other deadline, and who wakes in vain does not begin anew."""
    async with (
        Stage(_silent) as stage,
        await start_mesh(_one_at_a_time(stage.port, pending_s=0.2)) as mesh,
        await Visitor.connect(mesh.port) as busy,
        await Visitor.connect(mesh.port) as visitor,
    ):
        records = watched(mesh)
        await busy.send(GET)
        await until(lambda: in_flight(mesh) == 1)
        await visitor.send(request(b"POST / HTTP/1.1", b"Content-Length: %d" % len(body), body=body))
        (target,) = mesh.core.targets(1)
        async with asyncio.timeout(2):
            while not records:
                if (waiter := target.next_waiter()) is not None:
                    waiter.resume()
                await asyncio.sleep(0.02)
        answer = await visitor.answer("POST")
        assert answer is not None
        assert answer.status == 503


async def test_an_answer_makes_up_for_failures() -> None:
    """Failures count in a row."""
    fails = iter([True, True, False])

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        if not next(fails):
            writer.write(OK)

    async with Stage(scene) as stage, await start_mesh(route_to(stage.port)) as mesh:
        statuses = [(await ask(mesh.port, GET)).status for _ in range(2)]
        assert (statuses, _failures(mesh)) == ([502, 502], [2])
        assert (await ask(mesh.port, GET)).status == 200
        assert _failures(mesh) == [0]


# What goes through.


async def test_the_answer_begins_while_the_request_goes_on() -> None:
    """Both bodies may be under way at once, and the connection ends with the answer."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        writer.write(await reader.readexactly(5))
        writer.write(await reader.readexactly(5))
        await reader.read()

    async with (
        Stage(scene) as stage,
        await start_mesh(route_to(stage.port)) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await visitor.send(request(b"POST / HTTP/1.1", b"Content-Length: 10", body=b"hello"))
        await until(lambda: mesh.core.visitors and under_way(mesh).is_response_begun)
        await visitor.send(b"world")
        answer = await visitor.answer()
        assert answer is not None
        assert (answer.body, answer.announces_close) == (b"helloworld", True)


async def test_an_early_final_answer_ends_both_connections() -> None:
    """The rest of the body is read for a while and thrown away (RFC 9112 section 9.5)."""
    async with (
        Origin() as origin,
        await start_mesh(route_to(origin.port)) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await visitor.send(request(b"POST /-/early413 HTTP/1.1", b"Content-Length: 1000000", body=b"x" * 1000))
        answer = await visitor.answer()
        assert answer is not None
        assert (answer.status, answer.announces_close) == (413, True)
        await visitor.send(b"x" * 1000)
        assert idle(mesh) == 0
        assert await origin.connections[0].ended() in {"closed", "reset"}


async def test_trailers_pass_both_ways() -> None:
    """What stands behind a body is forwarded behind the body."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        assert await reader.readuntil(b"0\r\n") == b"5\r\nhello\r\n0\r\n"
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n")
        writer.write(await reader.readuntil(b"\r\n\r\n"))

    async with Stage(scene) as stage, await start_mesh(route_to(stage.port)) as mesh:
        body = b"5\r\nhello\r\n0\r\nX-Sum: 7\r\nX-Other: a b\r\nContent-Length: 9\r\n\r\n"
        answer = await ask(mesh.port, request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", body=body))
    assert (answer.body, answer.trailers) == (b"ok", [(b"X-Sum", b"7"), (b"X-Other", b"a b")])


async def test_visitors_of_http_1_0_get_neither_interim_answers_nor_trailers() -> None:
    """They know neither."""
    async with Origin() as origin, await start_mesh(route_to(origin.port)) as mesh:
        interim = await ask(mesh.port, request(b"GET /-/100s HTTP/1.0"))
        assert (interim.status, interim.interim) == (200, ())
        trailers = await ask(mesh.port, request(b"GET /-/trailers HTTP/1.0"))
        assert (trailers.body, trailers.ended, trailers.trailers) == (b"hello", "close", [])


@pytest.mark.parametrize("raw", [b"200 OK\r\nContent-Length: 5\r\n", b"204 No Content\r\n", b"200 OK\r\nETag: 1\r\n"])
async def test_a_head_that_is_remembered_is_right_for_every_visitor(raw: bytes) -> None:
    """Of either version, staying or leaving, asking for a body or not: it is the head that a new proxy would send."""
    answer = b"HTTP/1.1 " + raw + b"Date: now\r\n\r\n" + (b"hello" if b"5" in raw else b"")
    lines = (b"GET / HTTP/1.1", b"GET / HTTP/1.0", b"HEAD / HTTP/1.1")
    visits = list(itertools.product(lines, (b"Connection: keep-alive", b"Connection: close")))
    async with Stage(answering(answer, then_close=b"ETag" in raw)) as stage:
        anew = {}
        for visit in visits:
            async with await start_mesh(route_to(stage.port)) as mesh:
                anew[visit] = await _head_for(mesh, *visit)
        async with await start_mesh(route_to(stage.port)) as mesh:
            for visit in visits * 4:
                assert await _head_for(mesh, *visit) == anew[visit]
    assert len(set(anew.values())) > 2


async def _head_for(mesh: MeshUnderTest, line: bytes, option: bytes) -> bytes:
    return (await ask(mesh.port, request(line, option), line.split()[0].decode())).head


@pytest.mark.parametrize(
    ("line", "forwarded"), [(b"GET / HTTP/1.1", b"7"), (b"OPTIONS / HTTP/1.1", b"6"), (b"OPTIONS /x HTTP/1.0", b"6")]
)
async def test_hops_are_counted_for_options(line: bytes, forwarded: bytes) -> None:
    """RFC 9110 section 7.6.2; elsewhere the field means nothing and goes through."""
    async with Origin() as origin, await start_mesh(route_to(origin.port)) as mesh:
        await ask(mesh.port, request(line, b"Max-Forwards: 7"))
        assert origin.requests[0].values(b"max-forwards") == [forwarded]


async def test_interim_answers_are_passed_on_and_bounded() -> None:
    """To visitors who know them, and not without end (RFC 9110 section 15.2)."""
    async with Origin() as origin, await start_mesh(route_to(origin.port)) as mesh:
        answer = await ask(mesh.port, request(b"GET /-/100s HTTP/1.1"))
        assert (answer.interim, answer.body) == ((100, 103), b"hello")
        assert b"Link: </a.css>\r\n" in answer.interim_heads
        flood = await ask(mesh.port, request(b"GET /-/1xxflood HTTP/1.1"))
        assert (flood.status, len(flood.interim)) == (502, 32)


async def test_a_date_is_added_where_there_is_none() -> None:
    """RFC 9110 section 6.6.1, and the target's own is kept."""
    dated = b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n"
    for raw in (OK, dated):
        async with Stage(answering(raw)) as stage, await start_mesh(route_to(stage.port)) as mesh:
            dates = [(await ask(mesh.port, GET)).values(b"date") for _ in range(2)]
            expected = mesh.core.date() if raw is OK else b"Sun, 06 Nov 1994 08:49:37 GMT"
            assert dates == [[expected]] * 2


@pytest.mark.parametrize("body", [b"x" * 11, b"b\r\n" + b"x" * 11 + b"\r\n0\r\n\r\n"], ids=["length", "chunks"])
async def test_a_body_that_is_too_large_is_refused(body: bytes) -> None:
    """By its length before a target hears of it, or in chunks as soon as it is too much."""
    framing = b"Content-Length: 11" if len(body) == 11 else b"Transfer-Encoding: chunked"
    async with Origin() as origin, await start_mesh(_to(origin.port, limits=Limits(max_body_bytes=10))) as mesh:
        records = watched(mesh)
        answer = await ask(mesh.port, request(b"POST / HTTP/1.1", framing, body=body))
        assert (answer.status, answer.announces_close) == (413, True)
        assert all(not seen.complete for seen in origin.requests)
        assert (records[0].status, records[0].cause) == (413, "http_request_denied")
        assert in_flight(mesh) == 0


@pytest.mark.parametrize("body", [b"x" * 10, b"a\r\n" + b"x" * 10 + b"\r\n0\r\n\r\n"], ids=["length", "chunks"])
async def test_a_body_of_the_largest_size_passes(body: bytes) -> None:
    """The limit is the largest size that is accepted, chunk lines not counted."""
    framing = b"Content-Length: 10" if len(body) == 10 else b"Transfer-Encoding: chunked"
    async with Origin() as origin, await start_mesh(_to(origin.port, limits=Limits(max_body_bytes=10))) as mesh:
        assert (await ask(mesh.port, request(b"POST / HTTP/1.1", framing, body=body))).status == 200


async def test_header_edits_of_the_route_apply() -> None:
    """What the operator sets replaces what others said, on both sides."""
    blue = (("X-Team", "blue"), ("Authorization", "Basic b3Vycw=="), ("X-Request-Id", "ours"))
    route = _to(
        1,
        request_headers=HeaderEdits(remove=("Cookie",), set=blue),
        response_headers=HeaderEdits(set=(("Server", "us"), ("Date", "today"))),
    )
    scene = answering(b"HTTP/1.1 200 OK\r\nServer: them\r\nContent-Length: 0\r\n\r\n")
    async with Origin() as origin, Stage(scene) as stage:
        edited = msgspec.structs.replace(route, targets=_to(origin.port).targets)
        async with await start_mesh(edited) as mesh:
            theirs = (b"X-TEAM: red", b"Cookie: a=1", b"Authorization: Basic dGhlaXJz")
            await ask(mesh.port, request(b"GET / HTTP/1.1", *theirs))
            (seen,) = origin.requests
            assert (seen.values(b"x-team"), seen.values(b"cookie")) == ([b"blue"], [])
            assert (seen.values(b"authorization"), seen.values(b"x-request-id")) == ([b"Basic b3Vycw=="], [b"ours"])
        edited = msgspec.structs.replace(route, targets=_to(stage.port).targets)
        async with await start_mesh(edited) as mesh:
            for _ in range(4):
                answer = await ask(mesh.port, GET)
                assert (answer.values(b"server"), answer.values(b"date")) == ([b"us"], [b"today"])


@pytest.mark.parametrize(
    ("prefix", "target", "seen"),
    [
        ("/api", b"/api/x?y=/api", b"/x?y=/api"),
        ("/api", b"/api", b"/"),
        ("/api", b"/api?x", b"/?x"),
        ("/api/", b"/api/x", b"/x"),
        ("/", b"/api/x", b"/api/x"),
    ],
)
async def test_a_prefix_can_be_stripped(prefix: str, target: bytes, seen: bytes) -> None:
    """The target sees the path as if it were the root, query and all."""
    async with Origin() as origin:
        async with await start_mesh(_to(origin.port, path_prefix=prefix, strip_prefix=True)) as mesh:
            assert (await ask(mesh.port, request(b"GET %b HTTP/1.1" % target))).status == 200
        assert origin.requests[0].target == seen


async def test_a_target_may_be_told_its_own_name(deaf: int) -> None:
    """Host is that of the target which is asked, also when another one was tried before."""
    async with Origin() as origin:
        async with await start_mesh(_to(deaf, origin.port, preserve_host=False)) as mesh:
            await ask(mesh.port, GET)
        (seen,) = origin.requests
        assert seen.values(b"host") == [b"127.0.0.1:%d" % origin.port]
        assert seen.values(b"x-forwarded-host") == [HOST.encode()]


# How it ends.


async def test_a_target_that_never_answers_costs_the_request(deaf: int) -> None:
    """504, and the connection is not kept; another target is not asked, the first one may have acted."""
    route = _to(1, deaf, timeouts=Timeouts(response_s=0.05))
    async with Stage(_silent) as stage:
        targets = (_to(stage.port).targets[0], route.targets[1])
        async with await start_mesh(msgspec.structs.replace(route, targets=targets)) as mesh:
            records = watched(mesh)
            answer = await ask(mesh.port, GET)
            assert answer.status == 504
            assert b"error=http_response_timeout" in answer.values(b"proxy-status")[0]
            assert (records[0].status, in_flight(mesh), idle(mesh)) == (504, 0, 0)


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_an_answer_that_stands_still_is_cut(version: bytes) -> None:
    """The visitor cannot take it for complete, however it is delimited."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await reader.read()

    async with (
        Stage(scene) as stage,
        await start_mesh(_to(stage.port, timeouts=Timeouts(idle_s=0.05))) as mesh,
    ):
        records = watched(mesh)
        answer = await ask(mesh.port, request(b"GET / HTTP/" + version))
        assert (answer.status, answer.ended) == (200, "truncated")
        assert (records[0].cause, records[0].detail) == ("http_response_incomplete", "The answer stalled.")


async def test_a_visitor_that_leaves_ends_the_request_to_the_target() -> None:
    """The target's connection is closed, nothing stays counted, and the record says 499."""
    over = asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        over.set()

    async with Stage(scene) as stage, await start_mesh(route_to(stage.port)) as mesh:
        records = watched(mesh)
        async with await Visitor.connect(mesh.port) as visitor:
            await visitor.send(GET)
            await until(lambda: stage.entered)
            assert in_flight(mesh) == 1
        await over.wait()
        await until(lambda: records)
        assert [(record.status, record.cause) for record in records] == [(499, "connection_terminated")]
        assert (in_flight(mesh), idle(mesh)) == (0, 0)
        assert mesh.core.counters.causes == {"connection_terminated": 1}


async def test_a_visitor_that_leaves_in_the_answer_leaves_the_status_as_it_is() -> None:
    """The answer had begun with 200; the cause says that nobody took it to its end."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        await reader.read()

    async with Stage(scene) as stage, await start_mesh(route_to(stage.port)) as mesh:
        records = watched(mesh)
        async with await Visitor.connect(mesh.port) as visitor:
            await visitor.send(GET)
            await until(lambda: mesh.core.visitors and under_way(mesh).is_response_begun)
            visitor.reset()
        await until(lambda: records)
        assert [(record.status, record.cause, record.sent) for record in records] == [(200, "connection_terminated", 5)]


async def test_a_target_that_resets_is_told_apart() -> None:
    """The record says more than the answer."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        reset_on_close(writer)

    async with Stage(scene) as stage, await start_mesh(route_to(stage.port)) as mesh:
        records = watched(mesh)
        assert (await ask(mesh.port, GET)).status == 502
        assert records[0].detail == "The target reset the connection."


async def test_a_switch_that_nobody_asked_for_is_a_failure() -> None:
    """Another protocol than the visitor's, or none asked for, or in the middle of a body (RFC 9110 section 7.8)."""
    raw = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    async with Stage(answering(raw)) as stage, await start_mesh(route_to(stage.port)) as mesh:
        for fields in (WEBSOCKET, (), (b"Connection: Upgrade", b"Upgrade: h2c")):
            answer = await ask(mesh.port, request(b"GET / HTTP/1.1", *fields))
            assert answer.status == 502
            assert b"error=http_upgrade_failed" in answer.values(b"proxy-status")[0]


async def test_a_request_keeps_the_route_that_it_found() -> None:
    """A change while the answer is under way is for the next request."""
    go = asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        await go.wait()
        writer.write(OK)
        await reader.read()

    async with Stage(scene) as stage, Origin() as origin, await start_mesh(route_to(stage.port)) as mesh:
        async with await Visitor.connect(mesh.port) as visitor:
            await visitor.send(GET)
            await until(lambda: stage.entered)
            mesh.apply(Delta(revision=2, put=(route_to(origin.port),)))
            go.set()
            answer = await visitor.answer()
            assert answer is not None
            assert answer.body == b"hello"
            await visitor.send(GET)
            answer = await visitor.answer()
            assert answer is not None
            assert answer.json["target"] == "/"
        assert idle(mesh) == 1


# What is told of it.


async def test_the_record_of_an_exchange() -> None:
    """Who asked for what, who answered, how much went both ways."""
    async with Origin() as origin, await start_mesh(_to(origin.port, host="*.example.com")) as mesh:
        records = watched(mesh)
        fields = (b"Content-Length: 5", b"X-Request-Id: id-1", b"Referer: https://a/", b"User-Agent: t/1")
        answer = await ask(mesh.port, request(b"POST /a?b HTTP/1.1", *fields, body=b"hello"))
        (record,) = records
        assert origin.requests[0].values(b"x-request-id") == [b"id-1"]
        assert 0 <= record.duration_s < 3
        assert abs(record.began_at + record.duration_s - mesh.core.wall) < 1
        moments = ("began_at", "duration_s", "connect_s", "first_byte_s")
        facts = msgspec.structs.asdict(record) | dict.fromkeys(moments, 0.0)
        assert 0 < record.connect_s <= record.first_byte_s <= record.duration_s
        assert facts == dict.fromkeys(moments, 0.0) | {
            "peer": "127.0.0.1",
            "method": "POST",
            "host": HOST,
            "target": "/a?b",
            "version": "HTTP/1.1",
            "status": 200,
            "received": 5,
            "sent": len(answer.body),
            "request_id": "id-1",
            "route": "*.example.com",
            "upstream": f"http://127.0.0.1:{origin.port}",
            "org_id": "",
            "cause": "",
            "detail": "",
            "referer": "https://a/",
            "user_agent": "t/1",
            "path_prefix": "/",
            "scheme": "http",
            "tls": "",
            "user": "",
            "retries": 0,
            "trace_id": "",
            "span_id": "",
            "parent_id": "",
        }
        counters = mesh.core.counters
        assert (counters.received, counters.sent, counters.requests) == (5, len(answer.body), 1)
        assert (counters.statuses[2], counters.accepted, counters.dials, counters.causes) == (1, 1, 1, {})


async def test_the_record_of_a_refusal(deaf: int) -> None:
    """The cause and the sentence that the visitor was told, and the target that was asked last."""
    async with await start_mesh(_to(deaf)) as mesh:
        records = watched(mesh)
        answer = await ask(mesh.port, request(b"GET / HTTP/1.0"))
        (record,) = records
        assert (record.status, record.cause) == (502, "connection_refused")
        assert record.detail == answer.json["error"]
        assert record.request_id == answer.json["request_id"]
        assert (record.version, record.upstream) == ("HTTP/1.0", f"http://127.0.0.1:{deaf}")
        assert mesh.core.counters.causes == {"connection_refused": 1}


async def test_the_record_without_a_route() -> None:
    """There is nothing to tell about route and target."""
    async with await start_mesh() as mesh:
        records = watched(mesh)
        assert (await ask(mesh.port, GET)).status == 404
        assert [(record.status, record.route, record.upstream) for record in records] == [(404, "", "")]


async def test_answers_of_the_proxy_itself_keep_the_connection() -> None:
    """A 404 is an answer like any other, and so is what the proxy says about itself."""
    async with await start_mesh() as mesh, await Visitor.connect(mesh.port) as visitor:
        for line, status in ((b"GET / HTTP/1.1", 404), (b"OPTIONS * HTTP/1.1", 204), (b"TRACE / HTTP/1.1", 405)):
            await visitor.send(request(line))
            answer = await visitor.answer()
            assert answer is not None
            assert (answer.status, answer.announces_close) == (status, False)
        await visitor.send(request(b"CONNECT shop.example.com:443 HTTP/1.1"))
        answer = await visitor.answer()
        assert answer is not None
        assert (answer.status, answer.announces_close) == (405, True)


async def test_draining_ends_a_connection_with_the_answer_under_way() -> None:
    """The answer says so when its head has not been written yet."""
    go = asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        await go.wait()
        writer.write(OK)

    async with (
        Stage(scene) as stage,
        await start_mesh(route_to(stage.port), settings=MeshSettings()) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await visitor.send(GET)
        await until(lambda: stage.entered)
        async with asyncio.TaskGroup() as group:
            group.create_task(mesh.core.drain(5.0), name="drain")
            await asyncio.sleep(0)
            go.set()
            answer = await visitor.answer()
            assert answer is not None
            assert (answer.status, answer.announces_close) == (200, True)
            assert await visitor.end() == "closed"
            visitor.close()


# Whatever visitors and targets do.


class Turn(NamedTuple):
    """What somebody sends (by its name), as far as `share` of it, and how the connection is left."""

    name: str
    share: float
    leave: Literal["stay", "close", "reset", "end"]

    def octets(self, of: Mapping[str, bytes]) -> bytes:
        """What is sent."""
        raw = of[self.name]
        return raw[: int(len(raw) * self.share)]


REQUESTS: Mapping[str, bytes] = {
    "get": GET,
    "pipelined": GET * 3,
    "http 1.0": request(b"GET / HTTP/1.0"),
    "head": request(b"HEAD / HTTP/1.1"),
    "length": request(b"POST / HTTP/1.1", b"Content-Length: 70000", body=b"x" * 70_000),
    "expects": request(b"PUT / HTTP/1.1", b"Expect: 100-continue", b"Content-Length: 5", body=b"hello"),
    "chunks": request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\nX-A: 1\r\n\r\n"),
    "upgrade": request(b"GET / HTTP/1.1", *WEBSOCKET) + b"first words",
    "empty": b"\r\n",
    "nonsense": b"nonsense (\r\n\r\n",
}
ANSWERS: Mapping[str, bytes] = {
    "ok": OK,
    "surplus": OK + b"surplus",
    "early hints": b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK,
    "long": b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000,
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "until close": b"HTTP/1.0 200 OK\r\n\r\nhello",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "switch": b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst words",
    "nonsense": b"nonsense\r\n\r\n",
}


def _turns(names: Iterable[str]) -> st.SearchStrategy[list[Turn]]:
    shares = st.one_of(st.just(1.0), st.floats(0, 1))
    leaves = st.sampled_from(["stay", "stay", "close", "reset", "end"])
    return st.lists(st.builds(Turn, st.sampled_from(sorted(names)), shares, leaves), min_size=1, max_size=8)


@settings(max_examples=20)
@given(_turns(REQUESTS), _turns(ANSWERS), st.integers(0, 2))
async def test_nothing_is_left_behind(requests: list[Turn], answers: list[Turn], retries: int) -> None:
    """Whoever breaks off where: every exchange ends once, and nothing stays counted, open or under way."""
    turns = itertools.cycle(answers)

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Bodies are left unread, so that the next head may be a piece of one.
        while await reader.read(65536):
            turn = next(turns)
            writer.write(turn.octets(ANSWERS))
            if turn.leave == "reset":
                reset_on_close(writer)
            elif turn.leave == "end":
                writer.write_eof()
                await reader.read()
            if turn.leave != "stay":
                return

    limits = MeshSettings(head_timeout_s=0.02, body_idle_s=0.02, keepalive_idle_s=0.02, tunnel_idle_s=0.02)
    patience = Timeouts(response_s=0.02, idle_s=0.02)
    async with Stage(scene) as stage:
        route = _to(stage.port, stage.port, retries=retries, timeouts=patience, limits=Limits(max_body_bytes=100_000))
        async with await start_mesh(route, settings=limits) as mesh:
            records = watched(mesh)
            await asyncio.gather(*(_visit(mesh.port, turn) for turn in requests))
            await until(lambda: not mesh.core.visitors)
            assert in_flight(mesh) == 0
            assert len(records) == mesh.core.counters.requests
            await until(lambda: not mesh.core._dialer._tasks)


async def _visit(port: int, turn: Turn) -> None:
    async with await Visitor.connect(port) as visitor:
        await visitor.send(turn.octets(REQUESTS), fragment=20_000)
        if turn.leave == "reset":
            visitor.reset()
        elif turn.leave == "end":
            with contextlib.suppress(OSError):
                visitor.half_close()
            await visitor.end()
        elif turn.leave == "stay":
            await visitor.end()
