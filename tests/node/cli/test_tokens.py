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


@pytest.mark.parametrize(("content", "reason"), [(b"", "is empty"), (b"\xff", "is not text")])
async def test_a_secret_that_is_none_mints_nothing(zexio: Zexio, tmp_path: Path, content: bytes, reason: str) -> None:
    """Anybody could mint a token with an empty one."""
    path = tmp_path / "mesh-jwt.secret"
    path.touch(0o600)
    path.write_bytes(content)
    result = await zexio("tokens", "issue", "--org", "org_a", "--data", str(tmp_path))
    assert (result.code, result.out, result.err) == (1, "", f"zexio: {path} {reason}\n")


async def test_a_folder_is_no_secret(zexio: Zexio, tmp_path: Path) -> None:
    """One line, like any other file that cannot be read."""
    (tmp_path / "mesh-jwt.secret").mkdir(0o700)
    result = await zexio("tokens", "issue", "--org", "org_a", "--data", str(tmp_path))
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
async def test_root_may_mint_for_a_node_of_another_user(zexio: Zexio, tmp_path: Path) -> None:
    """A service has a user of its own, and its operator has sudo."""
    mesh_secret(load(None, {}, {"--data": str(tmp_path)}))
    for path in (tmp_path, tmp_path / "mesh-jwt.secret"):
        os.chown(path, 12_345, -1)
    assert (await zexio("tokens", "issue", "--org", "org_a", "--data", str(tmp_path))).code == 0


@pytest.mark.parametrize(
    "flags",
    [
        *[("--org", ""), ("--org", "\udcff"), ("--org", "a b"), ("--org", ".a"), ("--org", "a" * 129)],
        *[("--org", "org_a", "--user", ""), ("--org", "org_a", "--source", "é"), ("--org", "org_a", "--target", "a b")],
        ("--org", "org_a", "--ttl", "99999999999999999d"),
    ],
)
async def test_a_token_that_no_route_admits_is_not_minted(
    zexio: Zexio, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    """It says what is wrong instead."""
    monkeypatch.setenv("MESH_JWT_SECRET", SECRET)
    result = await zexio("tokens", "issue", *flags)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert flags[-2] in result.err


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
