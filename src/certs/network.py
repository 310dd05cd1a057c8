"""Requests to one authority, in a thread of their own: bounded in size and time, and each failure an IssueError."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue
from typing import Final, ParamSpec, TypeVar
from urllib.parse import urljoin, urlsplit

import msgspec
import requests
import urllib3.exceptions
from acme.jws import JWS
from josepy.errors import DeserializationError
from josepy.json_util import decode_b64jose
from josepy.jwa import JWASignature
from josepy.jwk import JWK
from requests.utils import get_environ_proxies, parse_header_links

from certs.answers import failure_of, one_line, retry_after_s
from certs.errors import IssueError

P = ParamSpec("P")
R = TypeVar("R")

CONNECT_S: Final = 10.0
READ_S: Final = 30.0
WHOLE_S: Final = 60.0
LARGEST_BODY: Final = 1 << 20

# Where six of ten are refused, one request in 27,000 is refused so often in a row.
NONCE_TRIES: Final = 20

_NONCE: Final = re.compile(r"[A-Za-z0-9_-]+")


class Answer(msgspec.Struct, frozen=True):
    """An answer of status 200 to 299. Names of `fields` are in lower case."""

    status: int
    url: str
    fields: Mapping[str, str]
    body: bytes
    wait_s: float | None = None

    def links(self, relation: str) -> list[str]:
        """Where the Link fields of a relation lead to."""
        with contextlib.suppress(ValueError, KeyError):
            found = parse_header_links(self.fields.get("link", ""))
            return [urljoin(self.url, link["url"]) for link in found if link.get("rel") == relation]
        return []


class Signer(msgspec.Struct, frozen=True):
    """Who signs: a key, and the URL of its account once it has one (else the key itself goes along)."""

    key: JWK
    algorithm: JWASignature
    account: str | None = None


class Network:
    """Plain and signed requests over connections that are kept. Only for one thread at a time."""

    def __init__(self, directory: str, roots: Path | None) -> None:
        """`roots` is a PEM file to verify the authority's own server with, in place of the usual roots."""
        self._home = urlsplit(directory)
        self._verify = str(roots) if roots is not None else system_roots()
        self._nonces: list[str] = []
        self._proxies: dict[str, dict[str, str]] = {}
        self._session = requests.Session()
        # A .netrc is none of our business; the proxy of the environment is asked for below.
        self._session.trust_env = False
        self._session.headers.update(
            {
                "User-Agent": f"zexio acme-python/{version('acme')}",
                # RFC 8555 section 6.1 wants a language; compressed bodies cannot be bounded.
                "Accept-Language": "en",
                "Accept-Encoding": "identity",
            }
        )

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def get(self, url: str) -> Answer:
        """A GET without a signature."""
        return self._ask("GET", url)

    def post(self, url: str, payload: Mapping[str, object] | None, signer: Signer, new_nonce: str) -> Answer:
        """A signed POST; without a payload it reads (RFC 8555 section 6.3). Refused nonces are tried again."""
        body = b"" if payload is None else msgspec.json.encode(payload)
        for _ in range(NONCE_TRIES - 1):
            try:
                return self._post_once(url, body, signer, new_nonce)
            except IssueError as error:
                if error.kind != "badNonce":
                    raise
        return self._post_once(url, body, signer, new_nonce)

    def _post_once(self, url: str, body: bytes, signer: Signer, new_nonce: str) -> Answer:
        signed = JWS.sign(body, signer.key, signer.algorithm, self._nonce(new_nonce), url, signer.account)
        data = signed.json_dumps().encode()
        return self._ask("POST", url, data, {"Content-Type": "application/jose+json"})

    def _nonce(self, new_nonce: str) -> bytes:
        if not self._nonces:
            self._ask("HEAD", new_nonce)
        if not self._nonces:
            raise IssueError("badAnswer", "the authority gives no nonce")
        try:
            return decode_b64jose(self._nonces.pop())
        except DeserializationError as error:
            raise IssueError("badAnswer", "the authority's nonce is not base64url") from error

    def _ask(self, method: str, url: str, data: bytes | None = None, fields: Mapping[str, str] | None = None) -> Answer:
        self._check_url(url)
        try:
            return self._ask_once(method, url, data, fields)
        except IssueError as error:
            # It may have closed a connection that was idle, or is just being restarted (RFC 9110 section 9.2.2).
            if data is not None or not _is_dropped(error):
                raise
            return self._ask_once(method, url, data, fields)

    def _ask_once(self, method: str, url: str, data: bytes | None, fields: Mapping[str, str] | None) -> Answer:
        deadline = time.monotonic() + WHOLE_S
        try:
            with self._session.request(
                method,
                url,
                data=data,
                headers=fields,
                timeout=(CONNECT_S, READ_S),
                verify=self._verify,
                proxies=self._proxies_for(url),
                # A signature is for one URL (RFC 8555 section 6.4), and nobody else is to be asked.
                allow_redirects=False,
                stream=True,
            ) as response:
                return self._answer(response, _body_of(response, deadline))
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise IssueError("unreachable", f"{urlsplit(url).hostname}: {_reason(error)}") from error

    def _answer(self, response: requests.Response, body: bytes) -> Answer:
        fields = {name.lower(): value for name, value in response.headers.items()}
        # RFC 8555 section 6.5.1: others are to be ignored.
        if _NONCE.fullmatch(nonce := fields.get("replay-nonce", "")):
            self._nonces.append(nonce)
        wait_s = retry_after_s(fields.get("retry-after"), fields.get("date"), time.time())
        if response.status_code >= 400:
            raise failure_of(response.status_code, body, wait_s)
        if not 200 <= response.status_code < 300:
            raise IssueError("badAnswer", f"the authority answered {response.status_code}", status=response.status_code)
        return Answer(response.status_code, str(response.url), fields, body, wait_s)

    def _proxies_for(self, url: str) -> dict[str, str]:
        """The proxies of the environment, which takes longer to read than to sign a request."""
        place = urlsplit(url).netloc
        if place not in self._proxies:
            self._proxies[place] = get_environ_proxies(url, no_proxy=None)
        return self._proxies[place]

    def _check_url(self, url: str) -> None:
        """An answer must not send us elsewhere than to servers that can prove who they are, or home."""
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        is_home = (parts.scheme, parts.netloc) == (self._home.scheme, self._home.netloc)
        if not parts.hostname or not (parts.scheme == "https" or is_home):
            raise IssueError("badAnswer", f"the authority gives a URL that is not to be used: {one_line(url[:200])}")


def system_roots() -> str | bool:
    """Where the machine keeps the roots that it trusts (SSL_CERT_FILE, SSL_CERT_DIR); True: it has none, so certifi's.

    requests takes those of certifi, which know nothing of an authority that the operator has had trusted.
    """
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        return paths.cafile
    return paths.capath if paths.capath and any(Path(paths.capath).iterdir()) else True


class Courier:
    """A thread that runs one call after the other for coroutines. A call that was cancelled ends for itself."""

    def __init__(self, name: str, finish: Callable[[], None]) -> None:
        """`finish` is called in the thread at its end."""
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._finish = finish
        # A daemon, because a request that hangs must not keep the process from ending.
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What `function` returns or raises."""
        future: Future[R] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - whoever waits shall have it
                future.set_exception(error)

        self._calls.put(run)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """End the thread after the call that it is at."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
        self._finish()


def _body_of(response: requests.Response, deadline: float) -> bytes:
    """The body as it came; raises IssueError when there is too much of it, or it takes too long."""
    body = bytearray()
    # Not decoded: a few octets of gzip can be gigabytes.
    for piece in response.raw.stream(65_536, decode_content=False):
        body += piece
        if len(body) > LARGEST_BODY:
            raise IssueError("badAnswer", "the authority's answer is too long")
        if time.monotonic() > deadline:
            raise IssueError("unreachable", "the authority's answer takes too long")
    return bytes(body)


def _is_dropped(error: IssueError) -> bool:
    """Whether the connection ended in the place of an answer."""
    return any(isinstance(cause, ConnectionResetError | ConnectionAbortedError) for cause in _causes(error))


def _reason(error: BaseException) -> str:
    """The operating system's words, or those of the innermost cause: outer ones repeat it with addresses of objects."""
    if isinstance(error, requests.exceptions.Timeout):
        return "no answer in time"
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, urllib3.exceptions.LocationValueError):
            # Its text has the URL in it, and that of a proxy may have a password.
            return "its URL, or that of the proxy of the environment, cannot be read"
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {cause.verify_message}"
        if isinstance(cause, OSError) and cause.strerror:
            return one_line(cause.strerror)
    return one_line(str(causes[-1]) or type(causes[-1]).__name__)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
