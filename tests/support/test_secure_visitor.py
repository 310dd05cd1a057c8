"""The visitor over TLS against asyncio's own TLS, and how it tells an end from a cut."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.authority import Authority
from tests.support.secure_visitor import Cut, SecureVisitor
from tests.support.stage import Stage

AUTHORITY = Authority()
ISSUED = AUTHORITY.issue("a.example")


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)


async def connect(stage: Stage, name: str = "a.example") -> SecureVisitor:
    """A visitor of the stage."""
    return await SecureVisitor.connect(stage.port, AUTHORITY.visitor_context(), name)


async def test_what_it_says_arrives() -> None:
    """Whole or in pieces, until both have said goodbye."""
    async with Stage(_echo, tls=ISSUED.server_context()) as stage, await connect(stage) as visitor:
        await visitor.send(b"hello")
        await visitor.send(b", world", fragment=1)
        assert await visitor.receive_until(b"world") == b"hello, world"
        await visitor.say_goodbye()
        assert await visitor.receive_all() == b""


async def test_an_end_without_goodbye_is_a_cut() -> None:
    """Whatever asyncio's own streams make of it."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello" + await reader.readexactly(1))
        await writer.drain()
        writer.transport.abort()

    async with Stage(scene, tls=ISSUED.server_context()) as stage, await connect(stage) as visitor:
        await visitor.send(b"!")
        with pytest.raises(Cut):
            await visitor.receive_all()


async def test_someone_who_is_not_asked_for_by_name() -> None:
    """No name is sent, and none is checked."""
    async with Stage(_echo, tls=ISSUED.server_context()) as stage, await connect(stage, "") as visitor:
        assert visitor.tls.server_hostname is None
