"""An authority that says what a test wrote down, true or not, over plain HTTP, and looks at no signature."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
from collections.abc import Callable, Mapping
from typing import Self

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"


class Reply(msgspec.Struct, frozen=True):
    """An answer. `raw` takes the place of everything; without an end, the connection stays open after it."""

    status: int = 200
    body: object = None
    fields: Mapping[str, str] = msgspec.field(default_factory=dict)
    raw: bytes | None = None
    is_open: bool = False


Answer = Reply | Callable[[Mapping[str, object]], Reply]


class ScriptedAuthority:
    """Run by `async with`. `says` has the answers by path, taken in turn, the last one for good; `asked` the requests.

    As it is made, it issues a certificate for `a.example` after HTTP-01, at once.
    """

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[str, str, Mapping[str, object]]] = []
        self.says: dict[str, list[Answer]] = {}
        self._server: asyncio.Server
        self._root_key = ec.generate_private_key(ec.SECP256R1())
        self._writers: set[asyncio.StreamWriter] = set()
        self.csr = b""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self.says = {
            "/dir": [Reply(body=self.directory())],
            "/nonce": [Reply()],
            "/new-account": [Reply(201, {"status": "valid"}, {"Location": f"{self.url}/account"})],
            "/account": [Reply(body={"status": "valid"})],
            "/new-order": [Reply(201, self.order("pending"), {"Location": f"{self.url}/order"})],
            "/order": [Reply(body=self.order("ready")), Reply(body=self.order("valid"))],
            "/authorization": [
                Reply(body=self.authorization("pending")),
                Reply(body=self.authorization("valid")),
            ],
            "/challenge": [Reply(body={})],
            "/finalize": [self._finalized],
            "/certificate": [lambda _: Reply(body=self.chain())],
            "/revoke": [Reply()],
        }
        return self

    async def __aexit__(self, *_exit: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    def count(self, path: str) -> int:
        """How often a path was asked for."""
        return sum(1 for _, asked, _ in self.asked if asked == path)

    def directory(self, **more: object) -> dict[str, object]:
        """The directory, with more or other fields."""
        paths = {"newNonce": "nonce", "newAccount": "new-account", "newOrder": "new-order", "revokeCert": "revoke"}
        return {**{name: f"{self.url}/{path}" for name, path in paths.items()}, **more}

    def order(self, status: str, **more: object) -> dict[str, object]:
        """An order, with more or other fields."""
        return {
            "status": status,
            "identifiers": [{"type": "dns", "value": "a.example"}],
            "authorizations": [f"{self.url}/authorization"],
            "finalize": f"{self.url}/finalize",
            **({"certificate": f"{self.url}/certificate"} if status == "valid" else {}),
            **more,
        }

    def authorization(self, status: str, **more: object) -> dict[str, object]:
        """An authorization, with more or other fields."""
        challenge = {"type": "http-01", "url": f"{self.url}/challenge", "status": status, "token": TOKEN}
        identifier = {"type": "dns", "value": "a.example"}
        return {"status": status, "identifier": identifier, "challenges": [challenge], **more}

    @property
    def root(self) -> str:
        """The root that it issues below, in PEM."""
        return _certificate("root", self._root_key.public_key(), self._root_key, 100).decode()

    def chain(
        self,
        *names: str,
        key: ec.EllipticCurvePublicKey | None = None,
        days: float = 10,
        signed_by: ec.EllipticCurvePrivateKey | None = None,
    ) -> bytes:
        """A chain for the key that was sent (or another), and `a.example` (or other names)."""
        wanted = key or x509.load_der_x509_csr(self.csr).public_key()
        assert isinstance(wanted, ec.EllipticCurvePublicKey)
        alternative = x509.SubjectAlternativeName([x509.DNSName(name) for name in names or ("a.example",)])
        leaf = _certificate("leaf", wanted, signed_by or self._root_key, days, alternative)
        root = _certificate("root", self._root_key.public_key(), self._root_key, 100)
        return leaf + root

    def _finalized(self, payload: Mapping[str, object]) -> Reply:
        self.csr = decoded(str(payload["csr"]))
        return Reply(body=self.order("processing"))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                await self._answer(line.decode(), reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, line: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, path, _ = line.split(" ")
        length = 0
        while field := (await reader.readline()).strip():
            if field.lower().startswith(b"content-length:"):
                length = int(field.partition(b":")[2])
        payload = payload_of(await reader.readexactly(length))
        self.asked.append((method, path, payload))
        answers = self.says.get(path, [Reply(404)])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        reply = answer if isinstance(answer, Reply) else answer(payload)
        writer.write(reply.raw if reply.raw is not None else _spelled(reply, method))
        await writer.drain()
        if reply.raw is not None and not reply.is_open:
            writer.close()


def payload_of(body: bytes) -> Mapping[str, object]:
    """What a signed request says."""
    if not body:
        return {}
    payload = decoded(json.loads(body)["payload"])
    found: Mapping[str, object] = json.loads(payload) if payload else {}
    return found


def decoded(text: str) -> bytes:
    """From base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def leaf_with_authority_key() -> bytes:
    """A certificate that names the key of its authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(2027, 1, 1, tzinfo=dt.UTC))
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def _spelled(reply: Reply, method: str) -> bytes:
    body = (
        reply.body if isinstance(reply.body, bytes) else b"" if reply.body is None else json.dumps(reply.body).encode()
    )
    fields = {"Replay-Nonce": "bm9uY2U", "Content-Length": str(len(body)), **reply.fields}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {reply.status} Said\r\n{head}\r\n".encode() + (b"" if method == "HEAD" else body)


def _certificate(
    subject: str,
    key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    days: float,
    extension: x509.ExtensionType | None = None,
) -> bytes:
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=20))
        .not_valid_after(now + dt.timedelta(days=days))
    )
    if extension is not None:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(Encoding.PEM)
