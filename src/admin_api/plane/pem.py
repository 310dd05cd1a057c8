"""Certificates in PEM, as requests bring them and as answers describe them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from admin_api.body import raw_body, read_json
from admin_api.errors import ApiError
from admin_api.models import model_of
from admin_api.plane.domain_schema import MAX_PEM_BYTES, Link, PemBody

# The second one is of RFC 8555 section 9.1 and has no room for a key; the first is what files with one go by.
PEM_TYPE: Final = "application/x-pem-file"
CHAIN_TYPE: Final = "application/pem-certificate-chain"

_JSON: Final = "application/json"


async def read_pem(request: web.Request) -> bytes:
    """The chain and the key of a request, as PEM itself or as JSON; raises ApiError 400, 413 or 415."""
    if request.content_type in {PEM_TYPE, CHAIN_TYPE}:
        body = await raw_body(request)
        if len(body) > MAX_PEM_BYTES:
            raise ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {MAX_PEM_BYTES} bytes.")
        return body
    if "Content-Type" in request.headers and request.content_type != _JSON:
        raise ApiError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Send the body as {_JSON} or as {PEM_TYPE}.")
    pem: str = (await read_json(request, model_of(PemBody))).model_dump()["pem"]
    return pem.encode()


def links_of(chain: bytes) -> tuple[Link, ...]:
    """What is in a chain; nothing when it cannot be read."""
    try:
        return tuple(_link(certificate) for certificate in x509.load_pem_x509_certificates(chain))
    except ValueError:
        return ()


def _link(certificate: x509.Certificate) -> Link:
    return Link(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        serial=f"{certificate.serial_number:x}",
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
    )
