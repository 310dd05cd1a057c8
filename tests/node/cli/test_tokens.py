"""Issuing tokens."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jwt
import pytest

from node.data import mesh_secret
from node.settings import load
from tests.node.cli.conftest import Zexio

SECRET = "s" * 32


def claims(token: str, secret: str) -> dict[str, object]:
    """What a library that we did not write reads in a token."""
    decoded: dict[str, object] = jwt.decode(token, secret, algorithms=["HS256"], issuer="zexio-service-mesh")
    return decoded


async def test_a_token_of_the_node_s_own_secret(zexio: Zexio, tmp_path: Path) -> None:
    """The folder is enough; the token is alone on its line, for `$(...)`."""
    secret = mesh_secret(load(None, {}, {"--data": str(tmp_path)}))
    assert secret is not None
    result = await zexio("tokens", "issue", "--org", "org_a", "--data", str(tmp_path))
    found = claims(result.out.strip(), secret)
    assert (found["orgId"], found["userId"], found["sourceService"]) == ("org_a", "operator", "zexio-cli")


async def test_every_claim_can_be_chosen(zexio: Zexio, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the secret may come from the seed's variable."""
    monkeypatch.setenv("MESH_JWT_SECRET", SECRET)
    options = ("--user", "ann", "--source", "web", "--target", "orders", "--ttl", "15m", "--json")
    result = json.loads((await zexio("tokens", "issue", "--org", "org_a", *options)).out)
    found = claims(result["token"], SECRET)
    assert (found["userId"], found["sourceService"], found["targetService"]) == ("ann", "web", "orders")
    assert result["expires_in"] == 900


async def test_without_a_folder_it_says_where_it_looked(zexio: Zexio, tmp_path: Path) -> None:
    """One line with the path and what to do."""
    result = await zexio("tokens", "issue", "--org", "org_a", "--data", str(tmp_path))
    assert result.code == 1
    assert result.err == (
        f"zexio: there is no {tmp_path}/mesh-jwt.secret; name the node's folder with --data, or start it once\n"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_secret_of_another_user_stays_secret(zexio: Zexio, tmp_path: Path) -> None:
    """It says so instead of minting a worthless token."""
    path = tmp_path / "mesh-jwt.secret"
    path.write_text(SECRET)
    path.chmod(0)
    result = await zexio("tokens", "issue", "--org", "org_a", "--data", str(tmp_path))
    assert "this user may not read" in result.err


async def test_with_public_keys_alone_no_token_can_be_made(
    zexio: Zexio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The private key is elsewhere."""
    monkeypatch.setenv("ZEXIO_JWT_JWKS_URL", "https://keys.example/jwks")
    result = await zexio("tokens", "issue", "--org", "org_a", "--data", str(tmp_path))
    assert (result.code, "public keys only" in result.err) == (1, True)


async def test_wrong_settings_are_a_wrong_call(zexio: Zexio, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token would be made with the wrong secret."""
    monkeypatch.setenv("ZEXIO_JWT_SECERT", SECRET)
    result = await zexio("tokens", "issue", "--org", "org_a")
    assert (result.code, "the nearest is ZEXIO_JWT_SECRET" in result.err) == (2, True)
