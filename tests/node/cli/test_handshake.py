"""A visit of our own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from node.cli import handshake
from node.cli.errors import CommandError
from node.cli.handshake import prove
from tests.support.authority import Authority, Issued

NAME = "shop.example.com"


@pytest.fixture(scope="module")
def issued() -> Issued:
    """A certificate that this machine does not trust."""
    return Authority("Test Root").issue(NAME, "*.example.org")


@asynccontextmanager
async def listening(issued: Issued, heads: list[bytes], later: Issued | None = None) -> AsyncIterator[int]:
    """The port of a server that shows a certificate, `later` another one, and notes what it was asked."""
    shown = (issued.server_context(), (later or issued).server_context())

    def choose(tls: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        tls.context = shown[bool(heads)]

    context = issued.server_context()
    context.sni_callback = choose

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_the_certificate_is_the_one_that_was_obtained(issued: Issued) -> None:
    """Whoever issued it, and whatever the answer is."""
    heads: list[bytes] = []
    async with listening(issued, heads) as port:
        fingerprint = issued.certificate.fingerprint
        visit = await asyncio.to_thread(prove, [f"0.0.0.0:{port}"], "127.0.0.1", NAME, fingerprint)
    assert visit == (f"127.0.0.1:{port}", 404, "Test Root", fingerprint, False)
    assert b"Host: shop.example.com\r\n" in heads[0]


async def test_a_wildcard_is_visited_under_a_name_that_it_is_for(issued: Issued) -> None:
    """A star is no name."""
    heads: list[bytes] = []
    async with listening(issued, heads) as port:
        await asyncio.to_thread(prove, [f"127.0.0.1:{port}"], "unused", "*.example.org", None)
    assert b"Host: any.example.org\r\n" in heads[0]


async def test_another_certificate_is_no_proof(issued: Issued, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose it is, is said."""
    monkeypatch.setattr(handshake, "_LIVE_S", 0.0)
    async with listening(issued, []) as port:
        with pytest.raises(CommandError, match=r"another certificate for shop\.example\.com, issued by Test Root"):
            await asyncio.to_thread(prove, [f"127.0.0.1:{port}"], "unused", NAME, "00")


async def test_the_right_certificate_may_come_a_moment_later(issued: Issued, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers learn of it after it is reported."""
    monkeypatch.setattr(handshake, "_PAUSE_S", 0.0)
    heads: list[bytes] = []
    old = Authority("Old Root").issue(NAME)
    async with listening(old, heads, later=issued) as port:
        visit = await asyncio.to_thread(prove, [f"127.0.0.1:{port}"], "unused", NAME, issued.certificate.fingerprint)
    assert (visit.issuer, len(heads)) == ("Test Root", 2)


async def test_a_listener_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason."""
    monkeypatch.setattr(handshake, "_LIVE_S", 0.0)
    monkeypatch.setattr(handshake, "_PAUSE_S", 0.0)
    with pytest.raises(CommandError, match=r"HTTPS does not answer for shop\.example\.com at 127\.0\.0\.1:1: "):
        await asyncio.to_thread(prove, ["127.0.0.1:1"], "unused", NAME, None)
