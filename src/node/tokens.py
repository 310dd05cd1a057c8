"""Mints mesh tokens from a shared secret, for operators who want to try a tenant route."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import msgspec


class Bearer(msgspec.Struct, frozen=True, kw_only=True):
    """Who a token speaks for: the claims of contracts/plane.md, Auth."""

    org_id: str
    user_id: str
    source: str
    target: str
    issuer: str
    audience: str | None = None


def mint(bearer: Bearer, secret: str, *, issued_at: int, ttl_s: int) -> str:
    """A JWT signed with HS256 (RFC 7515 section 3.1); `issued_at` in Unix seconds."""
    claims = {
        "iss": bearer.issuer,
        "iat": issued_at,
        "nbf": issued_at,
        "exp": issued_at + ttl_s,
        "orgId": bearer.org_id,
        "userId": bearer.user_id,
        "sourceService": bearer.source,
        "targetService": bearer.target,
    }
    if bearer.audience is not None:
        claims["aud"] = bearer.audience
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(claims)}"
    mac = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{_base64url(mac)}"


def _part(value: dict[str, object] | dict[str, str]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
