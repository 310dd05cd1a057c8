"""What one side's end means for the other: cut bodies, early ends, surplus bytes, visitors of HTTP/1.0."""

from __future__ import annotations

import pytest

from tests.adversity.verdict import NEXT, Door, barrier, request
from tests.support.client import Visitor, ask

_UPLOAD = request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", b"Expect: 100-continue")


@pytest.fixture
def port(our_door: Door) -> int:
    """Where our proxy listens."""
    return our_door.port


async def test_body_without_length_ends_with_the_connection_for_http_1_0(port: int) -> None:
    """A visitor of HTTP/1.0 gets no chunks, and the clean close is the end of the body."""
    answer = await ask(port, request(b"GET /-/nolen HTTP/1.0"))
    assert (answer.body, answer.ended) == (b"hello", "close")
    assert not answer.values(b"transfer-encoding")


@pytest.mark.parametrize("script", [b"truncchunk", b"rstchunk", b"latebadchunk"])
async def test_truncated_body_resets_the_connection_for_http_1_0(port: int, script: bytes) -> None:
    """Where only the close ends a body, a body that broke off must not end in a clean one."""
    async with await Visitor.connect(port) as visitor:
        await visitor.send(request(b"GET /-/%b HTTP/1.0" % script))
        answer = await visitor.answer()
        assert answer is None or answer.status == 502 or answer.ended == "truncated"


async def test_a_body_that_turns_bad_later_is_not_completed(our_door: Door) -> None:
    """When the origin has the first chunk already, its connection is cut and the visitor still gets 400."""
    async with await Visitor.connect(our_door.port) as visitor:
        await visitor.send(_UPLOAD)
        assert await visitor.interim() == 100
        await visitor.send(b"5\r\nhello\r\n")
        await visitor.send(b"zz\r\nhello\r\n0\r\n\r\n" + NEXT)
        answer = await visitor.answer()
        assert answer is not None
        assert answer.status == 400
        await visitor.end()
    connection = our_door.origin.connections[0]
    assert await connection.ended() in {"closed", "reset"}
    assert connection.mid_message
    assert len(our_door.origin.requests) == 1


@pytest.mark.parametrize("leave", ["reset", "close", "half_close"])
async def test_a_visitor_that_leaves_in_its_body_ends_the_request_to_the_origin(our_door: Door, leave: str) -> None:
    """Whatever way a visitor goes, the origin must not take what has come for the whole body."""
    async with await Visitor.connect(our_door.port) as visitor:
        await visitor.send(_UPLOAD)
        assert await visitor.interim() == 100
        await visitor.send(b"5\r\nhello\r\n")
        getattr(visitor, leave)()
        connection = our_door.origin.connections[0]
        assert await connection.ended() in {"closed", "reset"}
    assert connection.mid_message
    await barrier(our_door.port)


async def test_bytes_on_an_idle_connection_cost_it_its_place_in_the_pool(our_door: Door) -> None:
    """An origin that speaks unasked loses the connection, so that nobody takes its words for an answer."""
    async with await Visitor.connect(our_door.port) as visitor:
        await visitor.send(request(b"GET /first HTTP/1.1"))
        assert await visitor.answer()
        connection = our_door.origin.connections[0]
        await our_door.origin.say(connection, b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned")
        await connection.ended()
        await visitor.send(NEXT)
        answer = await visitor.answer()
    assert answer is not None
    assert answer.json["target"] == "/next"


async def test_an_answer_before_the_end_of_the_body_is_delivered(our_door: Door) -> None:
    """The 413 of an origin that does not want the body reaches a visitor that waits for it before sending on."""
    async with await Visitor.connect(our_door.port) as visitor:
        await visitor.send(request(b"POST /-/early413 HTTP/1.1", b"Content-Length: 1000000", body=b"a" * 1000))
        answer = await visitor.answer()
        assert answer is not None
        assert (answer.status, answer.body) == (413, b"hello")


async def test_pipelined_requests_behind_a_body_are_answered_in_order(our_door: Door) -> None:
    """What follows a body in the same segment is the next request, also when the body comes in chunks."""
    chunks = request(b"POST /chunks HTTP/1.1", b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n")
    length = request(b"POST /length HTTP/1.1", b"Content-Length: 5", body=b"hello")
    async with await Visitor.connect(our_door.port) as visitor:
        await visitor.send(chunks + length + NEXT)
        answers = [await visitor.answer() for _ in range(3)]
    assert [answer.json["target"] for answer in answers if answer] == ["/chunks", "/length", "/next"]
