"""An ACME server in front of pebble that adds what pebble 2.4 lacks, goes wrong as it is told, and counts.

Every request is passed on with the Host that the client used, so that pebble makes URLs of the front and accepts what
clients sign for these (RFC 8555 section 6.4). Pebble takes signed URLs for `https`, so the front speaks TLS, with the
identity of pebble: `ca_file` of the one is good for both.
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import ssl
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, Literal, Self

import aiohttp
import msgspec
from aiohttp import web
from cryptography import x509
from multidict import CIMultiDict

from tests.support.acme_faults import Fault, names_of, problem
from tests.support.pebble import Pebble

Endpoint = Literal[
    "directory",
    "newNonce",
    "newAccount",
    "account",
    "newOrder",
    "order",
    "authz",
    "challenge",
    "finalize",
    "certificate",
    "revokeCert",
    "keyChange",
    "renewalInfo",
    "other",
]

PATHS: Final[Mapping[str, Endpoint]] = {
    "dir": "directory",
    "nonce-plz": "newNonce",
    "sign-me-up": "newAccount",
    "my-account": "account",
    "order-plz": "newOrder",
    "my-order": "order",
    "list-orderz": "other",
    "authZ": "authz",
    "chalZ": "challenge",
    "finalize-order": "finalize",
    "certZ": "certificate",
    "revoke-cert": "revokeCert",
    "rollover-account-key": "keyChange",
    "renewal-info": "renewalInfo",
}
# RFC 9110 section 7.6.1, and what aiohttp sets itself.
NOT_PASSED: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding"})
CHUNK: Final = 65_536
LONGEST_S: Final = 60.0


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that was downloaded through the front; `window` is when it should be renewed."""

    names: tuple[str, ...]
    not_before: dt.datetime
    not_after: dt.datetime
    window: tuple[dt.datetime, dt.datetime]
    explanation_url: str | None = None


class Answer(msgspec.Struct):
    """An answer before it is sent."""

    status: int
    headers: CIMultiDict[str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as an object; empty when it is none."""
        try:
            document = json.loads(self.body)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}

    def set_json(self, document: Mapping[str, object]) -> None:
        """Another body."""
        self.body = json.dumps(document).encode()


class AcmeFront:
    """Serves while it is open. What happened can be read from its counters at any time.

    `requests` counts by endpoint, `orders` the orders that were made by name, `polls` the questions about the window of
    a certificate. `issued` goes by certificate id (RFC 9773 section 4.1). `profiles_asked` are those of new orders, in
    order. `renewal_retry_after` is sent with every window; None: nothing is.
    """

    def __init__(self, pebble: Pebble, *, profiles: Mapping[str, str] | None = None, has_ari: bool = True) -> None:
        """In front of a pebble that runs; `profiles` are those offered, with their descriptions."""
        self._pebble = pebble
        self._profiles = dict(profiles or {})
        self._has_ari = has_ari
        self._faults: defaultdict[Endpoint, deque[Fault]] = defaultdict(deque)
        self._always: dict[Endpoint, Fault] = {}
        self._statuses: dict[str, str] = {}
        self._replaced_by: dict[str, str] = {}
        self._extras: dict[str, dict[str, object]] = {}
        self._closing = asyncio.Event()
        self._resources = AsyncExitStack()
        self._session: aiohttp.ClientSession | None = None
        self._port = 0
        self.requests: Counter[Endpoint] = Counter()
        self.orders: Counter[str] = Counter()
        self.polls: Counter[str] = Counter()
        self.issued: dict[str, Issued] = {}
        self.profiles_asked: list[str | None] = []
        self.renewal_retry_after: str | None = "21600"

    @property
    def directory(self) -> str:
        """The URL of the directory."""
        return f"https://localhost:{self._port}/dir"

    @property
    def ca_file(self) -> Path:
        """What a client trusts in order to talk to the front."""
        return self._pebble.ca_file

    def fail(self, endpoint: Endpoint, *faults: Fault) -> None:
        """Let the next requests go wrong so, one after the other, before what goes wrong always."""
        self._faults[endpoint].extend(faults)

    def fail_always(self, endpoint: Endpoint, fault: Fault) -> None:
        """Let every request go wrong so."""
        self._always[endpoint] = fault

    def heal(self) -> None:
        """Let nothing go wrong any more."""
        self._faults.clear()
        self._always.clear()

    def set_window(
        self, cert_id: str, start: dt.datetime, end: dt.datetime, *, explanation_url: str | None = None
    ) -> None:
        """Say when a certificate that was issued should be renewed."""
        self.issued[cert_id] = msgspec.structs.replace(
            self.issued[cert_id], window=(start, end), explanation_url=explanation_url
        )

    def ids_of(self, name: str) -> list[str]:
        """The ids of the certificates for a name, in the order in which they were downloaded."""
        return [cert_id for cert_id, issued in self.issued.items() if name in issued.names]

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        trusting = ssl.create_default_context(cafile=self._pebble.ca_file)
        connector = aiohttp.TCPConnector(ssl=trusting, limit=0)
        self._session = await self._resources.enter_async_context(aiohttp.ClientSession(connector=connector))
        runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        self._resources.push_async_callback(_ended, runner)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        folder = self._pebble.ca_file.parent
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        self._port = runner.addresses[0][1]
        return self

    async def __aexit__(self, *_exit: object) -> None:
        self._closing.set()
        await self._resources.aclose()

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=1_000_000)
        application.router.add_route("*", "/{path:.*}", self._serve)
        return application

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        endpoint = PATHS.get(request.path.split("/")[1], "other")
        self.requests[endpoint] += 1
        faults = self._faults[endpoint]
        fault = faults.popleft() if faults else self._always.get(endpoint, Fault())
        if fault.is_hanging:
            await self._closing.wait()
        if fault.status:
            return await self._fault_of(request, fault)
        answer = await self._answer(request, endpoint)
        if fault.is_late:
            return self._aborted(request)
        if fault.alter is not None and answer.status < 400:
            answer.body = fault.alter(answer.body)
        if endpoint in {"order", "finalize"}:
            # What counts is what the client was told.
            self._statuses[_number(request.path)] = str(answer.json().get("status"))
        answer.headers.update(fault.headers)
        if fault.is_cut:
            return await self._cut(request, answer)
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)

    async def _fault_of(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        headers = CIMultiDict(fault.headers)
        if fault.has_nonce and request.method == "POST":
            # Clients sign their next request with it, also after an error (RFC 8555 section 6.5.1).
            headers["Replay-Nonce"] = await self._nonce(request)
        answer = Answer(fault.status, headers, fault.body)
        if fault.is_cut:
            return await self._cut(request, answer)
        if fault.size:
            return await _poured(request, answer, fault.size)
        return web.Response(status=fault.status, headers=headers, body=fault.body)

    async def _cut(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        response.content_length = len(answer.body)
        await response.prepare(request)
        await response.write(answer.body[: len(answer.body) // 2])
        return self._aborted(request, response)

    def _aborted(self, request: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        return response or web.Response()

    async def _answer(self, request: web.Request, endpoint: Endpoint) -> Answer:
        if endpoint == "renewalInfo":
            return self._renewal_info(_number(request.path))
        payload = _payload(await request.read()) if endpoint == "newOrder" else {}
        refusal = self._refusal(payload)
        if refusal is not None:
            headers = CIMultiDict(refusal.headers)
            headers["Replay-Nonce"] = await self._nonce(request)
            return Answer(refusal.status, headers, refusal.body)
        answer = await self._passed_on(request)
        if answer.status < 400:
            self._learn(request, endpoint, answer, payload)
        return answer

    def _refusal(self, payload: Mapping[str, Any]) -> Fault | None:
        """Why a new order is not made, if so."""
        profile, replaces = payload.get("profile"), payload.get("replaces")
        if profile is not None and profile not in self._profiles:
            return problem("invalidProfile", detail=f"profile {profile} is not offered")
        if replaces is None:
            return None
        issued = self.issued.get(replaces)
        if issued is None or not set(issued.names) & set(_identifiers(payload)):
            return problem("malformed", detail="replaces names no certificate for these identifiers")
        order = self._replaced_by.get(replaces)
        if order is not None and self._statuses.get(order) != "invalid":
            return problem("alreadyReplaced", 409, detail="the certificate has been replaced")
        return None

    def _learn(self, request: web.Request, endpoint: Endpoint, answer: Answer, payload: Mapping[str, Any]) -> None:
        if endpoint == "directory":
            answer.set_json(self._directory_of(request, answer.json()))
        elif endpoint == "newOrder":
            self._learn_order(answer, payload)
        elif endpoint in {"order", "finalize"}:
            answer.set_json({**answer.json(), **self._extras.get(_number(request.path), {})})
        elif endpoint == "certificate":
            self._learn_certificate(answer.body)

    def _directory_of(self, request: web.Request, document: dict[str, Any]) -> dict[str, Any]:
        if self._has_ari:
            document["renewalInfo"] = f"https://{request.host}/renewal-info"
        if self._profiles:
            document["meta"] = {**document.get("meta", {}), "profiles": self._profiles}
        return document

    def _learn_order(self, answer: Answer, payload: Mapping[str, Any]) -> None:
        self.orders.update(_identifiers(payload))
        self.profiles_asked.append(payload.get("profile"))
        number = _number(answer.headers["Location"])
        self._statuses[number] = str(answer.json().get("status"))
        self._extras[number] = {key: payload[key] for key in ("profile", "replaces") if key in payload}
        if "replaces" in payload:
            self._replaced_by[payload["replaces"]] = number
        answer.set_json({**answer.json(), **self._extras[number]})

    def _learn_certificate(self, chain: bytes) -> None:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        window = (begin + (end - begin) * 2 / 3, begin + (end - begin) * 3 / 4)
        self.issued.setdefault(
            cert_id_of(leaf), Issued(names=names_of(chain), not_before=begin, not_after=end, window=window)
        )

    def _renewal_info(self, cert_id: str) -> Answer:
        self.polls[cert_id] += 1
        issued = self.issued.get(cert_id)
        if issued is None:
            fault = problem("malformed", 404, detail="no such certificate")
            return Answer(fault.status, CIMultiDict(fault.headers), fault.body)
        headers = CIMultiDict({"Content-Type": "application/json"})
        if self.renewal_retry_after is not None:
            headers["Retry-After"] = self.renewal_retry_after
        start, end = (moment.isoformat().replace("+00:00", "Z") for moment in issued.window)
        answer = Answer(200, headers, b"")
        explanation = {} if issued.explanation_url is None else {"explanationURL": issued.explanation_url}
        answer.set_json({"suggestedWindow": {"start": start, "end": end}, **explanation})
        return answer

    async def _passed_on(self, request: web.Request, path: str = "", method: str = "") -> Answer:
        assert self._session is not None
        url = self._pebble.directory.removesuffix("/dir") + (path or request.path_qs)
        headers = CIMultiDict((key, value) for key, value in request.headers.items() if key.lower() not in NOT_PASSED)
        limit = aiohttp.ClientTimeout(total=LONGEST_S)
        body = None if method else await request.read()
        async with self._session.request(
            method or request.method, url, data=body, headers=headers, timeout=limit, allow_redirects=False
        ) as response:
            passed = CIMultiDict(
                (key, value) for key, value in response.headers.items() if key.lower() not in NOT_PASSED
            )
            return Answer(response.status, passed, await response.read())

    async def _nonce(self, request: web.Request) -> str:
        answer = await self._passed_on(request, "/nonce-plz", "HEAD")
        return answer.headers["Replay-Nonce"]


async def _ended(runner: web.AppRunner) -> None:
    """Aborted, as a client that is not there any more never says goodbye, and uvloop cannot be closed before it did."""
    server = runner.server
    for connection in server.connections if server is not None else ():
        if connection.transport is not None:
            connection.transport.abort()
    await runner.cleanup()


async def _poured(request: web.Request, answer: Answer, size: int) -> web.StreamResponse:
    """So many bytes, as long as somebody reads them."""
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    await response.prepare(request)
    for _ in range(size // CHUNK):
        await response.write(b"x" * CHUNK)
    await response.write_eof()
    return response


def _number(path: str) -> str:
    return path.rpartition("/")[2]


def _payload(body: bytes) -> dict[str, Any]:
    """What a flattened JWS carries (RFC 8555 section 6.2); its signature is for pebble to check."""
    text = json.loads(body)["payload"]
    document = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) or "{}")
    return document if isinstance(document, dict) else {}


def _identifiers(payload: Mapping[str, Any]) -> list[str]:
    return [str(identifier["value"]) for identifier in payload.get("identifiers", ())]


def cert_id_of(leaf: x509.Certificate) -> str:
    """The certificate's id, as RFC 9773 section 4.1 makes it of key identifier and serial number."""
    authority = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier or b""
    # The number as DER has it: a leading zero where it would be negative otherwise.
    serial = leaf.serial_number.to_bytes(leaf.serial_number.bit_length() // 8 + 1, "big")
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (authority, serial))
