"""Whether HTTPS answers under a name: a visit of our own at the node's TLS listener."""

from __future__ import annotations

import hashlib
import http.client
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID

from node.cli.errors import CommandError

_LIMIT_S: Final = 10.0
# The certificate is in force at the workers a moment after it is reported.
_LIVE_S: Final = 5.0
_PAUSE_S: Final = 0.2

_ANYWHERE: Final = frozenset({"", "0.0.0.0", "::", "[::]", "*"})  # noqa: S104  what a listener is called
_PORT: Final = 443


class Visit(NamedTuple):
    """What a visitor saw: where, the status of the answer, who issued the certificate, and if we trust that."""

    address: str
    status: int
    issuer: str
    fingerprint: str
    is_trusted: bool


def prove(listeners: Sequence[str], machine: str, name: str, fingerprint: str | None) -> Visit:
    """Visit `name` at the first listener of the node on `machine`, until it shows the certificate `fingerprint`.

    Raises CommandError when no answer comes, or another certificate is shown.
    """
    host, _colon, port = listeners[0].rpartition(":")
    place = (machine if host in _ANYWHERE else host.strip("[]"), int(port))
    end = time.monotonic() + _LIVE_S
    while True:
        reason = ""
        try:
            visit = _visit(place, _visited(name))
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = (
                f"HTTPS does not answer for {name} at {_written(place)}: {getattr(error, 'strerror', None) or error}"
            )
        else:
            if fingerprint in {None, visit.fingerprint}:
                return visit
            reason = f"{_written(place)} shows another certificate for {name}, issued by {visit.issuer}"
        if time.monotonic() > end:
            raise CommandError(reason)
        time.sleep(_PAUSE_S)


def _visited(name: str) -> str:
    """A name that a wildcard is for, or the name itself."""
    return f"any.{name[2:]}" if name.startswith("*.") else name


def _visit(place: tuple[str, int], name: str) -> Visit:
    try:
        return _request(place, name, ssl.create_default_context(), is_trusted=True)
    except ssl.SSLCertVerificationError:
        # An authority for tests, or our own: its certificate is the right one if it is the one that was obtained.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return _request(place, name, context, is_trusted=False)


def _request(place: tuple[str, int], name: str, context: ssl.SSLContext, *, is_trusted: bool) -> Visit:
    with (
        socket.create_connection(place, timeout=_LIMIT_S) as plain,
        context.wrap_socket(plain, server_hostname=name) as tls,
    ):
        der = tls.getpeercert(binary_form=True) or b""
        tls.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nUser-Agent: zexio\r\nConnection: close\r\n\r\n".encode())
        response = http.client.HTTPResponse(tls, method="GET")
        response.begin()
        return Visit(_written(place), response.status, _issuer(der), hashlib.sha256(der).hexdigest(), is_trusted)


def _written(place: tuple[str, int]) -> str:
    host, port = place
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _issuer(der: bytes) -> str:
    issuer = x509.load_der_x509_certificate(der).issuer
    names = [
        each.value
        for oid in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME)
        for each in issuer.get_attributes_for_oid(oid)
    ]
    return ", ".join(str(name) for name in names) or issuer.rfc4514_string()
