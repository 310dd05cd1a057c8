"""What an ACME server can do wrong: refusals, hangs, bodies that are cut, huge or nonsense, and false certificates."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.authority import Authority

PROBLEM_TYPE: Final = "urn:ietf:params:acme:error:"
PEM_END: Final = b"-----END CERTIFICATE-----\n"

DateForm = Literal["gmt", "offset", "name", "rfc850", "asctime", "lower", "no-zone"]


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one request.

    With a `status`, that is the answer, with `body` or `size` bytes; else the request is passed on, and its answer gets
    the `headers` and is changed by `alter`. `is_late` loses the true answer. One that hangs answers when the front is
    closed; one that `is_cut` sends half of the body before the connection is aborted.
    """

    status: int = 0
    body: bytes = b""
    size: int = 0
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    alter: Callable[[bytes], bytes] | None = None
    is_late: bool = False
    is_hanging: bool = False
    is_cut: bool = False
    has_nonce: bool = True


def problem(
    kind: str,
    status: int = 400,
    *,
    detail: str = "no",
    retry_after: str | None = None,
    identifiers: tuple[str, ...] = (),
) -> Fault:
    """A problem document (RFC 8555 section 6.7), with a subproblem for each of `identifiers`."""
    document: dict[str, object] = {"type": PROBLEM_TYPE + kind, "detail": detail, "status": status}
    if identifiers:
        document["subproblems"] = [
            {"type": PROBLEM_TYPE + kind, "detail": detail, "identifier": {"type": "dns", "value": identifier}}
            for identifier in identifiers
        ]
    headers = {"Content-Type": "application/problem+json"}
    if retry_after is not None:
        headers["Retry-After"] = retry_after
    return Fault(status=status, body=json.dumps(document).encode(), headers=headers)


def rate_limited(retry_after: str | None = None) -> Fault:
    """429, and when to come back, in seconds or as a date."""
    return problem("rateLimited", 429, detail="too many new orders", retry_after=retry_after)


def unavailable(status: int = 503, retry_after: str | None = None) -> Fault:
    """What a server in front of the authority says when that is down: an HTML page."""
    headers = {"Content-Type": "text/html"}
    if retry_after is not None:
        headers["Retry-After"] = retry_after
    return Fault(status=status, body=b"<html><h1>Service Unavailable</h1></html>", headers=headers, has_nonce=False)


def answered(body: bytes, status: int = 200, content_type: str = "application/json") -> Fault:
    """Any answer."""
    return Fault(status=status, body=body, headers={"Content-Type": content_type})


def huge(size: int) -> Fault:
    """An answer of so many bytes that are no JSON."""
    return Fault(status=200, size=size, headers={"Content-Type": "application/json"})


def hanging() -> Fault:
    """No answer before the front is closed."""
    return Fault(status=200, is_hanging=True)


def lost() -> Fault:
    """The request is carried out, and its answer never comes: the connection is aborted."""
    return Fault(is_late=True, is_cut=True)


def cut() -> Fault:
    """Half of the true body, and then the connection is aborted."""
    return Fault(is_cut=True)


def altered(change: Callable[[bytes], bytes], **headers: str) -> Fault:
    """The true answer, changed; `_` in the names of headers stands for `-`."""
    return Fault(alter=change, headers={name.replace("_", "-"): value for name, value in headers.items()})


def edited(**fields: object) -> Fault:
    """The true JSON object, with some members replaced."""

    def edit(body: bytes) -> bytes:
        return json.dumps({**json.loads(body), **fields}).encode()

    return altered(edit)


def processing(retry_after: str = "1") -> Fault:
    """An order that the authority has not finished yet."""
    return msgspec.structs.replace(edited(status="processing"), headers={"Retry-After": retry_after})


def refused_authorization(kind: str, detail: str) -> Fault:
    """An authorization whose challenges have all failed (RFC 8555 section 7.1.4): for `authz`."""
    error = {"type": PROBLEM_TYPE + kind, "detail": detail, "status": 403}

    def refuse(body: bytes) -> bytes:
        document: dict[str, Any] = json.loads(body)
        challenges = [{**challenge, "status": "invalid", "error": error} for challenge in document["challenges"]]
        return json.dumps({**document, "status": "invalid", "challenges": challenges}).encode()

    return altered(refuse)


def truncated_chain() -> Fault:
    """The leaf without what signed it: for `certificate`."""
    return altered(lambda body: body.partition(PEM_END)[0] + PEM_END)


def broken_chain() -> Fault:
    """A chain that ends in the middle of its second certificate: for `certificate`."""
    return altered(lambda body: body[: body.index(PEM_END) + len(PEM_END) + 200])


def wrong_key() -> Fault:
    """A certificate for the right names and a key that nobody has: for `certificate`."""

    def exchange(body: bytes) -> bytes:
        authority = Authority("Wrong Root")
        return authority.issue(*names_of(body)).chain + authority.pem.encode()

    return altered(exchange)


def wrong_names(*names: str) -> Fault:
    """A certificate for the right key and other names: for `certificate`."""

    def exchange(body: bytes) -> bytes:
        leaf = x509.load_pem_x509_certificates(body)[0]
        signed = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(leaf.issuer)
            .public_key(leaf.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(leaf.not_valid_before_utc)
            .not_valid_after(leaf.not_valid_after_utc)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=True)
            .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
        )
        return signed.public_bytes(Encoding.PEM) + body.partition(PEM_END)[2]

    return altered(exchange)


def names_of(chain: bytes) -> tuple[str, ...]:
    """The DNS names of the first certificate."""
    leaf = x509.load_pem_x509_certificates(chain)[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return tuple(names.get_values_for_type(x509.DNSName))


def http_date(moment: dt.datetime, form: DateForm = "gmt") -> str:
    """A date for Retry-After as RFC 9110 section 5.6.7 wants it, or as servers were seen to write it."""
    moment = moment.astimezone(dt.UTC)
    tokyo = moment.astimezone(dt.timezone(dt.timedelta(hours=9)))
    new_york = moment.astimezone(dt.timezone(dt.timedelta(hours=-5)))
    forms = {
        "gmt": f"{moment:%a, %d %b %Y %H:%M:%S} GMT",
        "offset": f"{tokyo:%a, %d %b %Y %H:%M:%S} +0900",
        "name": f"{new_york:%a, %d %b %Y %H:%M:%S} EST",
        "rfc850": f"{moment:%A, %d-%b-%y %H:%M:%S} GMT",
        "asctime": f"{moment:%a %b} {moment.day:2d} {moment:%H:%M:%S %Y}",
        "lower": f"{moment:%a, %d %b %Y %H:%M:%S} gmt".lower(),
        "no-zone": f"{moment:%a, %d %b %Y %H:%M:%S}",
    }
    return forms[form]
