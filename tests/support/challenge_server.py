"""A stage of a test's own: small servers that answer HTTP-01 and TLS-ALPN-01, and a solver that sets TXT records."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import tempfile
from pathlib import Path
from typing import Final, Self

from certs.keys import base64url
from certs.ports import Task
from state.holdings import Bundle
from tests.support.authority import Authority
from tests.support.pebble import NameServer, Pebble

_LABEL: Final = "_acme-challenge"


class ChallengeServer:
    """Implements certs.ports.Stage at the ports where a pebble looks; run by `async with`.

    `shown` is everything that was ever shown: tokens and names. `asked` counts the requests for tokens.
    """

    def __init__(self, pebble: Pebble) -> None:
        self.tokens: dict[str, str] = {}
        self.validations: dict[str, Bundle] = {}
        self.shown: list[str] = []
        self.asked = 0
        self._ports = (pebble.http_port, pebble.tls_port)
        self._servers: list[asyncio.Server] = []
        self._context = Authority().issue("visitor.example").server_context()
        self._context.sni_callback = self._choose

    async def show_token(self, token: str, answer: str | None) -> None:
        """As in the protocol."""
        if answer is None:
            self.tokens.pop(token, None)
        else:
            self.tokens[token] = answer
            self.shown.append(token)

    async def show_validation(self, name: str, bundle: Bundle | None) -> None:
        """As in the protocol."""
        if bundle is None:
            self.validations.pop(name, None)
        else:
            self.validations[name] = bundle
            self.shown.append(name)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is on show."""
        return not self.tokens and not self.validations

    async def __aenter__(self) -> Self:
        http, tls = self._ports
        self._servers = [
            await asyncio.start_server(self._answer, "127.0.0.1", http),
            await asyncio.start_server(_close, "127.0.0.1", tls, ssl=self._context),
        ]
        return self

    async def __aexit__(self, *_exit: object) -> None:
        for server in self._servers:
            server.close()
            await server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readline()).split(b" ")[1].decode()
        while (await reader.readline()).strip():
            pass
        self.asked += 1
        answer = self.tokens.get(path.removeprefix("/.well-known/acme-challenge/"))
        status = "200 OK" if answer is not None else "404 Not Found"
        body = answer or "nothing here"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
        writer.close()

    def _choose(self, end: ssl.SSLSocket | ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        bundle = self.validations.get(name or "")
        if bundle is None:
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["acme-tls/1"])
        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(bundle.chain + bundle.key)
            context.load_cert_chain(file.name)
        end.context = context


class TxtSolver:
    """DNS-01 through challtestsrv's management."""

    def __init__(self, server: NameServer) -> None:
        self._server = server
        self.values: list[str] = []

    async def present(self, task: Task) -> None:
        """Add the value of RFC 8555 section 8.4."""
        value = txt_value(task)
        self.values.append(value)
        self._server.set_txt(f"{_LABEL}.{task.name}", value)

    async def withdraw(self, task: Task) -> None:
        """Remove all values of the name."""
        self.values = [value for value in self.values if value != txt_value(task)]
        self._server.clear_txt(f"{_LABEL}.{task.name}")


def txt_value(task: Task) -> str:
    """What the record says."""
    return base64url(hashlib.sha256(task.key_authorization.encode()).digest())


async def _close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()
