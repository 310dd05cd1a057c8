"""Talks to the admin API of a node."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

from node.cli.errors import CommandError
from state.errors import SecretError
from state.private_files import secret_text

TIMEOUT_S: Final = 30.0
MAX_REASON: Final = 300


class ClientOptions(Protocol):
    """The arguments that every command with a client has."""

    admin: str
    signature_secret_file: Path | None


class Answer(NamedTuple):
    """What the admin API said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401  JSON is anything
        """The body, decoded."""
        return json.loads(self.body)


class NodeError(CommandError):
    """The node answered with an error of this HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        """A failure with its message."""
        super().__init__(message)
        self.status = status


class AdminClient:
    """Sends one request per connection to the admin API at `base`, signed when there is a secret."""

    def __init__(self, base: str, secret: str | None = None) -> None:
        """A client; raises CommandError when `base` is not an address."""
        try:
            self._base = urlsplit(base if "://" in base else f"http://{base}")
            is_usable = self._base.scheme in {"http", "https"} and self._base.hostname and self._base.port != 0
        except ValueError:
            is_usable = False
        if not is_usable:
            raise CommandError(f"--admin: {base!r} is not an address such as http://127.0.0.1:8081", 2)
        self._secret = secret

    @property
    def host(self) -> str:
        """The name or address of the machine that answers."""
        return str(self._base.hostname)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        wait_s: float = 0.0,
    ) -> Answer:
        """The answer to a request with an optional JSON body, which the node may keep back for `wait_s` seconds.

        Raises NodeError when it is an error, and CommandError when none came.
        """
        payload = b"" if body is None else json.dumps(body).encode()
        fields = {**(headers or {}), **self._signature(payload)}
        if body is not None:
            fields["Content-Type"] = "application/json"
        answer = self._exchange(method, path, payload, fields, TIMEOUT_S + wait_s)
        if answer.status >= 400:
            raise NodeError(answer.status, f"{method} {path}: {answer.status}: {_reason(answer)}")
        return answer

    def events(self, path: str, method: str = "GET", body: object = None) -> Iterator[bytes]:
        """The data of server-sent events, one after the other, until the node ends the stream; raises CommandError."""
        payload = b"" if body is None else json.dumps(body).encode()
        fields = self._signature(payload) | ({} if body is None else {"Content-Type": "application/json"})
        with self._asking(), closing(self._connect()) as connection:
            connection.request(method, self._base.path.rstrip("/") + path, payload or None, fields)
            response = connection.getresponse()
            if response.status >= 400:
                raise NodeError(response.status, f"{method} {path}: {response.status}: {_reason(_answer(response))}")
            for line in response:
                if line.startswith(b"data: "):
                    yield line.removeprefix(b"data: ").rstrip(b"\n")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around code that takes answers apart: those of another program raise CommandError."""
        try:
            yield
        except (ValueError, LookupError, TypeError, AttributeError):
            raise CommandError(f"{self._base.geturl()} does not answer like a zexio node (see --admin)") from None

    def _exchange(self, method: str, path: str, payload: bytes, fields: Mapping[str, str], timeout_s: float) -> Answer:
        with self._asking(), closing(self._connect(timeout_s)) as connection:
            connection.request(method, self._base.path.rstrip("/") + path, payload or None, dict(fields))
            return _answer(connection.getresponse())

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Around an exchange with the node: what goes wrong with it raises CommandError."""
        where = self._base.geturl()
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or error
            raise CommandError(
                f"no answer from the admin API at {where}: {reason} (is the node up? see --admin)"
            ) from None
        except ValueError as error:
            raise CommandError(f"the request cannot be sent to {where}: {error}") from None

    def _connect(self, timeout_s: float = TIMEOUT_S) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._base.scheme == "https" else http.client.HTTPConnection
        return kind(str(self._base.hostname), self._base.port, timeout=timeout_s)

    def _signature(self, payload: bytes) -> dict[str, str]:
        # contracts/plane.md decision 19: with a timestamp a captured request is worthless after five minutes.
        if self._secret is None:
            return {}
        timestamp = str(int(time.time()))
        signature = hmac.digest(self._secret.encode(), timestamp.encode() + b"." + payload, hashlib.sha256)
        return {"X-Timestamp": timestamp, "X-Signature": signature.hex()}


def connect(options: ClientOptions) -> AdminClient:
    """The client that a command's arguments ask for; raises CommandError when the secret cannot be read."""
    path = options.signature_secret_file
    if path is None:
        return AdminClient(options.admin)
    try:
        # It may be a pipe that another program writes to, so its rights are not asked for.
        return AdminClient(options.admin, secret_text(path, path.read_bytes()))
    except OSError as error:
        raise CommandError(f"--signature-secret-file: {path}: {error.strerror}") from None
    except SecretError as error:
        raise CommandError(f"--signature-secret-file: {error}") from None


def _answer(response: http.client.HTTPResponse) -> Answer:
    return Answer(response.status, dict(response.getheaders()), response.read())


def _reason(answer: Answer) -> str:
    if answer.status == 401:
        return "the node asks for a signature (see --signature-secret-file)"
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        text = " ".join(answer.body.decode(errors="replace").split())
        return text[:MAX_REASON] or http.client.responses.get(answer.status, "an error")
