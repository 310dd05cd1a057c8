"""Certificates as they are remembered: what a bundle says of itself, and when it is to be renewed."""

from __future__ import annotations

import hashlib
import os
import ssl
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certs.keys import Unusable, cert_id, leaf_of
from certs.record import Held
from certs.schedule import planned
from state.holdings import Bundle
from state.observed import CertificateSource

# Who has issued what no public authority did.
INTERNAL: Final = "internal"


def held_of(
    bundle: Bundle, now: datetime, at: float, before: Held | None = None, *, source: CertificateSource = "acme"
) -> Held:
    """What is remembered of a certificate that came `now`, in the place of the one `before`.

    `at` is a random number in [0, 1). It takes a millisecond of a processor. Raises certs.keys.Unusable.
    """
    leaf = leaf_of(bundle.chain)
    replaced = before.plan if before is not None and before.source == source == "acme" else None
    try:
        identifier = cert_id(bundle.chain) if source == "acme" else ""
    except Unusable:
        # Without the identifier of its authority's key there is no way to ask about it (RFC 9773 section 4.1).
        identifier = ""
    plan = planned(identifier, (leaf.not_before, leaf.not_after), now, at=at, replaced=replaced)
    return Held(bundle=bundle, plan=plan, serial=leaf.serial, key_type=leaf.key_type, source=source)


def key_id(bundle: Bundle) -> str:
    """A name for the key of a certificate, which tells nothing of it: SHA-256 of the public key."""
    key = x509.load_pem_x509_certificate(bundle.chain).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def check_servable(bundle: Bundle) -> None:
    """Raise certs.keys.Unusable, with OpenSSL's reason, for a certificate that no handshake would succeed with.

    A key that is too short, say, or a signature by an algorithm of the past.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # OpenSSL reads files only; this one is in memory and has no name.
    file = os.memfd_create("certificate")
    try:
        os.write(file, bundle.chain + bundle.key)
        context.load_cert_chain(f"/proc/self/fd/{file}")
    except ssl.SSLError as error:
        raise Unusable(f"no handshake would succeed with it: {(error.reason or 'unknown').lower()}") from None
    finally:
        os.close(file)
