"""Minting mesh tokens."""

from __future__ import annotations

import pytest

from mesh.access import Verifier
from mesh.errors import Failure
from mesh.routes import AccessKeys, Route, VerifyKey
from node.tokens import Bearer, mint

SECRET = "0123456789abcdef0123456789abcdef"
KEYS = AccessKeys(keys=(VerifyKey(algorithm="HS256", material=SECRET.encode()),), leeway_s=0.0)
ROUTE = Route(host="a.zexio.internal", targets=(), org_id="org_a", access="tenant")
BEARER = Bearer(org_id="org_a", user_id="ann", source="web", target="orders", issuer=KEYS.issuer)


def authorization(token: str) -> bytes:
    """The header that carries a token."""
    return f"Bearer {token}".encode()


def test_the_data_plane_believes_a_minted_token() -> None:
    """What is minted here is what is verified there."""
    verdict = Verifier(KEYS).check(authorization(mint(BEARER, SECRET, issued_at=1000, ttl_s=60)), ROUTE, 1001.0)
    assert verdict.claims is not None
    assert (verdict.claims.org_id, verdict.claims.user_id, verdict.claims.source) == ("org_a", "ann", "web")
    assert verdict.claims.expires_at == 1060


def test_a_minted_token_expires() -> None:
    """After its time it is worth nothing."""
    with pytest.raises(Failure):
        Verifier(KEYS).check(authorization(mint(BEARER, SECRET, issued_at=1000, ttl_s=60)), ROUTE, 1061.0)


def test_a_token_may_name_an_audience() -> None:
    """A node that wants one refuses tokens without it."""
    keys = AccessKeys(keys=KEYS.keys, audience="mesh-1")
    bearer = Bearer(org_id="org_a", user_id="ann", source="web", target="x", issuer=keys.issuer, audience="mesh-1")
    assert Verifier(keys).check(authorization(mint(bearer, SECRET, issued_at=1000, ttl_s=60)), ROUTE, 1001.0).claims
    with pytest.raises(Failure):
        Verifier(keys).check(authorization(mint(BEARER, SECRET, issued_at=1000, ttl_s=60)), ROUTE, 1001.0)
