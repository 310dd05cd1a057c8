"""The origin records what it was sent, byte by byte, and misbehaves exactly when it is asked to."""

from __future__ import annotations

import pytest

from tests.support.client import Answer, Visitor, ask
from tests.support.origin import Origin
from tests.support.scripts import SCRIPTS

_LEAVES = {"101unasked", "101h2c", "websocket"}


def _get(path: str, *fields: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: a", *fields, "", ""]).encode()


async def test_an_ordinary_request_is_described() -> None:
    """The answer says what came."""
    async with Origin() as origin:
        answer = await ask(origin.port, b"POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
    assert answer.json == {"method": "POST", "target": "/a?b", "body": "hello"}


async def test_every_byte_is_kept() -> None:
    """Chunk lines and trailers are in `raw`, the body without them in `body`."""
    raw = b"POST / HTTP/1.1\r\nhOsT:  a\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"
    async with Origin() as origin:
        async with await Visitor.connect(origin.port) as visitor:
            await visitor.send(raw.replace(b";x", b""), fragment=1)
            await visitor.answer()
        await origin.connections[0].ended()
    (seen,) = origin.requests
    assert bytes(seen.raw) == origin.received == raw.replace(b";x", b"")
    assert (seen.body, seen.trailers, seen.complete) == (b"hello", [(b"X-T", b"1")], True)
    assert seen.headers[0] == (b"hOsT", b"a")
    assert seen.values(b"HOST") == [b"a"]


async def test_chunks_that_are_not_exact_cost_the_connection() -> None:
    """A proxy that forwards an extension or a wrong size is noticed."""
    async with Origin() as origin:
        async with await Visitor.connect(origin.port) as visitor:
            await visitor.send(
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\n\r\n"
            )
            assert await visitor.answer() is None
        assert await origin.connections[0].ended() == "ours"
    assert not origin.requests[0].complete


@pytest.mark.parametrize(("leave", "ending"), [("close", "closed"), ("reset", "reset")])
async def test_the_end_of_a_connection_is_told_apart(leave: str, ending: str) -> None:
    """A clean end and a reset are recorded, and whether a message was under way."""
    async with Origin() as origin, await Visitor.connect(origin.port) as visitor:
        await visitor.send(_get("/") + b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf")
        await visitor.answer()
        getattr(visitor, leave)()
        assert await origin.connections[0].ended() == ending
    assert origin.connections[0].mid_message
    assert [seen.complete for seen in origin.requests] == [True, False]


async def test_expect_is_honoured() -> None:
    """The origin asks for the body with 100."""
    async with Origin() as origin, await Visitor.connect(origin.port) as visitor:
        await visitor.send(b"POST / HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert await visitor.interim() == 100
        await visitor.send(b"hello")
        answer = await visitor.answer()
    assert answer is not None
    assert answer.status == 200


@pytest.mark.parametrize("fragment", [0, 1])
@pytest.mark.parametrize("name", sorted(SCRIPTS.keys() - _LEAVES))
async def test_a_script_sends_its_bytes_and_leaves_as_it_says(name: str, fragment: int) -> None:
    """Every script comes over whole, in pieces too; those that keep the connection keep it."""
    script = SCRIPTS[name]
    async with Origin(fragment=fragment) as origin, await Visitor.connect(origin.port) as visitor:
        await visitor.send(_get(f"/-/{name}"))
        assert await visitor.octets(len(script.sends)) == script.sends
        if script.after == "keep":
            await visitor.send(_get("/next"))
            answer = await visitor.answer()
            assert isinstance(answer, Answer)
            assert answer.json["target"] == "/next"
        else:
            assert await visitor.end() == ("reset" if script.after == "reset" else "closed")


@pytest.mark.parametrize("name", sorted(_LEAVES))
async def test_an_upgraded_connection_echoes(name: str) -> None:
    """Behind a 101 the origin sends back what comes."""
    async with Origin() as origin, await Visitor.connect(origin.port) as visitor:
        await visitor.send(_get(f"/-/{name}"))
        answer = await visitor.answer()
        assert answer is not None
        assert answer.status == 101
        await visitor.send(b"frame")
        assert await visitor.octets(5) == b"frame"


async def test_what_was_seen_can_be_forgotten() -> None:
    """Connections stay open; their next requests are recorded."""
    async with Origin() as origin, await Visitor.connect(origin.port) as visitor:
        await visitor.send(_get("/first"))
        await visitor.answer()
        origin.forget()
        await visitor.send(_get("/second"))
        await visitor.answer()
        assert [seen.target for seen in origin.requests] == [b"/second"]


async def test_the_origin_can_speak_unasked() -> None:
    """Bytes that nobody asked for go out on an open connection."""
    async with Origin() as origin, await Visitor.connect(origin.port) as visitor:
        await visitor.send(_get("/"))
        await visitor.answer()
        await origin.say(origin.connections[0], b"surplus")
        assert await visitor.octets(7) == b"surplus"
