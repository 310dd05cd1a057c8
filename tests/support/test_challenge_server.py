"""The stage of the tests answers as a mesh would, and only what is on show."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Iterator

import pytest

from certs.challenges import validation_certificate
from certs.keys import base64url
from certs.ports import Task
from tests.support.challenge_server import ChallengeServer, TxtSolver
from tests.support.pebble import Pebble


@pytest.fixture(scope="module")
def pebble() -> Iterator[Pebble]:
    """Its ports are where the stage is."""
    with Pebble() as started:
        yield started


async def got(port: int, path: str) -> bytes:
    """The answer to a GET."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def shaken(port: int, *protocols: str) -> tuple[str | None, bytes]:
    """The protocol and the certificate of a handshake for `a.example`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(protocols)
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="a.example")
    end: ssl.SSLObject = writer.get_extra_info("ssl_object")
    found = end.selected_alpn_protocol(), end.getpeercert(binary_form=True) or b""
    writer.close()
    return found


async def test_tokens(pebble: Pebble) -> None:
    """Those on show, and 404 for others."""
    async with ChallengeServer(pebble) as stage:
        await stage.show_token("t", "t.thumb")
        assert (await got(pebble.http_port, "/.well-known/acme-challenge/t")).endswith(b"\r\n\r\nt.thumb")
        assert (await got(pebble.http_port, "/.well-known/acme-challenge/u")).startswith(b"HTTP/1.1 404 ")
        await stage.show_token("t", None)
        assert (await got(pebble.http_port, "/.well-known/acme-challenge/t")).startswith(b"HTTP/1.1 404 ")
        assert (stage.shown, stage.asked, stage.is_empty) == (["t"], 3, True)


async def test_validations(pebble: Pebble) -> None:
    """A visitor of a name that is validated gets that certificate by its protocol, and others get another."""
    async with ChallengeServer(pebble) as stage:
        _, usual = await shaken(pebble.tls_port, "http/1.1")
        bundle = validation_certificate("a.example", "t.thumb")
        await stage.show_validation("a.example", bundle)
        protocol, shown = await shaken(pebble.tls_port, "acme-tls/1")
        assert (protocol, hashlib.sha256(shown).hexdigest()) == ("acme-tls/1", bundle.fingerprint)
        await stage.show_validation("a.example", None)
        assert (await shaken(pebble.tls_port, "http/1.1"))[1] == usual


async def test_records(pebble: Pebble) -> None:
    """RFC 8555 section 8.4."""
    solver = TxtSolver(pebble.dns)
    task = Task(name="a.example", type="dns-01", token="t", key_authorization="t.thumb")
    await solver.present(task)
    assert solver.values == [base64url(hashlib.sha256(b"t.thumb").digest())]
    await solver.withdraw(task)
    assert solver.values == []
