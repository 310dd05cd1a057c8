"""What an authentication service is shown of a request, and that nobody passes without its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from mesh.errors import Failure
from mesh.forward import Peer, RequestFields
from mesh.heads import RequestHeads
from mesh.inquiry import Answer, inquire, question
from mesh.policies import ForwardAuth
from mesh.wire import RequestLine
from tests.support.mesh_node import MeshUnderTest, start_mesh
from tests.support.stage import Scene, Stage, answering, free_port, head_of

OK = b"HTTP/1.1 204 No Content\r\nX-User: anna\r\n\r\n"
LOGIN = (
    b"HTTP/1.1 302 Found\r\nLocation: https://login.example.com/\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
    b"Date: Sat, 21 Nov 2026 12:00:00 GMT\r\nContent-Length: 5\r\n\r\nlogin"
)
PEER = Peer("192.0.2.9", b"https", lambda _address: False)
HEADS = RequestHeads(100, 1000)


def _asked(
    line: bytes = b"POST /cart?item=1 HTTP/1.1", lines: Iterable[bytes] = (b"Content-Length: 3",)
) -> tuple[RequestLine, RequestFields]:
    """A request of a visitor."""
    section = b"\r\n".join((b"Host: shop.example.com", *lines, b"", b""))
    return HEADS.line(line), HEADS.fields(section, 1)


def _auth(port: int, path: str = "/verify?app=shop", timeout_s: float = 5.0) -> ForwardAuth:
    return ForwardAuth(url=f"http://127.0.0.1:{port}{path}", timeout_s=timeout_s)


async def _inquire(mesh: MeshUnderTest, wanted: ForwardAuth) -> Answer:
    return await inquire(mesh.core, *_asked(), PEER, wanted)


async def _failure(scene: Scene) -> Failure:
    """How a question to a service that plays `scene` fails."""
    async with Stage(scene) as service, await start_mesh() as mesh:
        with pytest.raises(Failure) as caught:
            await _inquire(mesh, _auth(service.port))
        return caught.value


def _fields(lines: bytes) -> dict[bytes, bytes]:
    """Field lines of different names as lower-case names and values."""
    split = [line.partition(b": ") for line in lines.split(b"\r\n")[:-1]]
    fields = {name.lower(): value for name, _, value in split}
    assert len(fields) == len(split)
    return fields


def test_the_service_is_shown_the_request_and_who_it_is_from() -> None:
    """With the visitor's own fields, and those that only the proxy can set."""
    lines = (b"Authorization: Basic YTpi", b"Cookie: a=1", b"X-Forwarded-Method: GET", b"X-Forwarded-Uri: /free")
    shown = _fields(question(*_asked(lines=lines), PEER, b"auth:8080"))
    expected = {
        b"host": b"auth:8080",
        b"authorization": b"Basic YTpi",
        b"cookie": b"a=1",
        b"x-forwarded-method": b"POST",
        b"x-forwarded-uri": b"/cart?item=1",
        b"x-forwarded-proto": b"https",
        b"x-forwarded-host": b"shop.example.com",
        b"x-forwarded-for": b"192.0.2.9",
    }
    assert {name: shown.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    "line",
    [
        *(b"Content-Length: 3", b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"TE: trailers"),
        *(b"Connection: keep-alive, X-Secret", b"Upgrade: websocket", b"Range: bytes=0-1", b'If-None-Match: "a"'),
        *(b"If-Modified-Since: Sat, 21 Nov 2026 12:00:00 GMT", b"If_None_Match: a"),
    ],
)
def test_the_service_is_not_shown_what_is_meant_for_the_target(line: bytes) -> None:
    """A body that does not come, a page that the service does not have, and what is for one connection only."""
    fields = (line,) if line.startswith(b"Connection") else (b"Connection: upgrade, te", line)
    shown = _fields(question(*_asked(lines=fields), PEER, b"auth"))
    assert set(shown) <= {
        *(b"host", b"via", b"forwarded", b"x-real-ip"),
        *(b"x-forwarded-" + name for name in (b"for", b"proto", b"host", b"method", b"uri")),
    }


def test_a_nominated_authorization_is_not_shown() -> None:
    """Connection says that it goes no further."""
    lines = (b"Connection: authorization", b"Authorization: Basic YTpi")
    assert b"authorization" not in _fields(question(*_asked(lines=lines), PEER, b"auth"))


async def test_the_question_is_a_get_without_a_body() -> None:
    """At the path of the URL, whatever the request was."""
    heads: list[bytes] = []

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await head_of(reader))
        writer.write(OK)

    async with Stage(scene) as service, await start_mesh() as mesh:
        await _inquire(mesh, _auth(service.port))
        await _inquire(mesh, _auth(service.port, path=""))
        port = service.port
    assert [head.split(b"\r\n")[0] for head in heads] == [b"GET /verify?app=shop HTTP/1.1", b"GET / HTTP/1.1"]
    assert b"\r\nHost: 127.0.0.1:%d\r\n" % port in heads[0]


async def test_an_answer_that_lets_pass_says_what_the_target_is_told() -> None:
    """Fields are compared without regard to case, and come as often as the service says them."""
    raw = b"HTTP/1.1 200 OK\r\nX-User: anna\r\nx-role: a\r\nX-Role: b\r\nX-Other: 1\r\nContent-Length: 2\r\n\r\nok"
    async with Stage(answering(raw)) as service, await start_mesh() as mesh:
        answer = await _inquire(mesh, _auth(service.port))
    assert answer.lets_pass
    assert answer.copied(("X-USER", "X-Role", "X-None")) == b"X-User: anna\r\nx-role: a\r\nX-Role: b\r\n"
    assert answer.copied(()) == b""


async def test_any_other_answer_is_for_the_visitor() -> None:
    """As it is, but for what the proxy says anew."""
    async with Stage(answering(LOGIN)) as service, await start_mesh() as mesh:
        answer = await _inquire(mesh, _auth(service.port))
    assert not answer.lets_pass
    assert (answer.status, answer.body) == (302, b"login")
    assert b"Location: https://login.example.com/\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n" in answer.lines
    assert b"date:" not in answer.lines.lower()
    assert b"content-length:" not in answer.lines.lower()


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!",
        b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nn\r\n2\r\no!\r\n0\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\n\r\nno!",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!",
    ],
)
async def test_an_answer_may_be_framed_in_any_way(raw: bytes) -> None:
    """By its length, by chunks, or by the end of the connection; interim responses are passed over."""
    async with Stage(answering(raw, then_close=True)) as service, await start_mesh() as mesh:
        answer = await _inquire(mesh, _auth(service.port))
    assert (answer.status, answer.body) == (403, b"no!")


async def test_connections_to_the_service_are_kept() -> None:
    """One question after the other comes on the same."""
    async with Stage(answering(OK)) as service, await start_mesh() as mesh:
        for _ in range(3):
            await _inquire(mesh, _auth(service.port))
        assert service.entered == 1


async def test_a_kept_connection_that_breaks_is_replaced() -> None:
    """The service may have closed it when the question was on its way."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(OK)
        await head_of(reader)

    async with Stage(scene) as service, await start_mesh() as mesh:
        answers = [await _inquire(mesh, _auth(service.port)) for _ in range(3)]
        assert service.entered == 3
    assert [answer.status for answer in answers] == [204] * 3


@pytest.mark.parametrize(
    ("raw", "status", "cause"),
    [
        (b"", 502, "connection_terminated"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", 502, "http_response_incomplete"),
        (b"nonsense\r\n\r\n", 502, "http_protocol_error"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"a" * 70000, 502, "http_protocol_error"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 70000, 502, "http_protocol_error"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20, 502, "http_response_incomplete"),
        (b"HTTP/1.1 101 Hello\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n", 502, "http_upgrade_failed"),
    ],
)
async def test_without_a_whole_answer_nobody_passes(raw: bytes, status: int, cause: str) -> None:
    """Even where it began well. Only the log is told of the service."""
    failure = await _failure(answering(raw, then_close=True))
    assert (failure.status, failure.cause) == (status, cause)
    assert "/verify?app=shop" in failure.said
    assert "/verify" not in failure.detail


async def test_a_service_that_is_not_there_lets_nobody_pass() -> None:
    """The connection is refused."""
    with free_port() as listener:
        port: int = listener.getsockname()[1]
    async with await start_mesh() as mesh:
        with pytest.raises(Failure, match="refused") as caught:
            await _inquire(mesh, _auth(port))
    assert caught.value.status == 502


@pytest.mark.parametrize("timeout_s", [0.02, 60.0])
async def test_a_service_that_nobody_waits_for_is_told(timeout_s: float) -> None:
    """Its connection is closed: the time is over, or the visitor has gone."""
    asked, ended = asyncio.Event(), asyncio.Event()

    async def scene(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        asked.set()
        try:
            await reader.read()
        finally:
            ended.set()

    async with Stage(scene) as service, await start_mesh() as mesh:
        inquiry = _inquire(mesh, _auth(service.port, timeout_s=timeout_s))
        task = asyncio.get_running_loop().create_task(inquiry, name="inquiry")
        await asked.wait()
        if timeout_s > 1:
            task.cancel()
        await asyncio.wait([task])
        await ended.wait()
    if task.cancelled():
        return
    failure = task.exception()
    assert isinstance(failure, Failure)
    assert (failure.status, failure.cause) == (504, "http_response_timeout")
