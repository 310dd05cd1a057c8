"""Which keys the data plane believes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import OKPAlgorithm

from mesh.routes import AccessKeys
from node.compile import Edge
from node.data import mesh_secret
from node.mesh_keys import MeshKeys, configured_keys
from node.settings import CannotStart, Settings, load
from state.cell import Cell

SECRET = "s" * 32
Read = Callable[..., Settings]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads settings from these variables."""

    def read(**environ: str) -> Settings:
        return load(None, {name.upper(): text for name, text in environ.items()}, {"--data": str(tmp_path / "data")})

    return read


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    """The file of a public key."""
    path = tmp_path / "key.pem"
    write_key(path)
    return path


@pytest.fixture
async def jwks_url() -> AsyncIterator[str]:
    """The address of a JWKS with one key, `k1`."""
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    jwk = OKPAlgorithm.to_jwk(public, as_dict=True)
    key: dict[str, object] = {**jwk, "kid": "k1", "alg": "EdDSA", "use": "sig"}

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(text=json.dumps({"keys": [key]}))

    app = web.Application()
    app.router.add_get("/jwks", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/jwks"
    await runner.cleanup()


def write_key(path: Path) -> None:
    """Put a new public key into a file."""
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    path.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def at_start(settings: Settings) -> AccessKeys:
    """The keys that a node starts with."""
    return configured_keys(settings.jwt, mesh_secret(settings))


def algorithms(keys: AccessKeys) -> list[str]:
    """The algorithms of the keys."""
    return [key.algorithm for key in keys.keys]


def test_without_configuration_there_is_a_secret(read: Read) -> None:
    """The node makes it, and keeps it."""
    (key,) = at_start(read()).keys
    assert key.algorithm == "HS256"
    assert at_start(read()).keys == (key,)


def test_a_secret_and_public_keys_go_together(read: Read, pem: Path) -> None:
    """Each is bound to its own algorithm."""
    settings = read(mesh_jwt_secret=SECRET, zexio_jwt_pem_files=str(pem))
    assert algorithms(at_start(settings)) == ["HS256", "EdDSA"]


def test_public_keys_alone_make_no_secret(read: Read, pem: Path) -> None:
    """There is nothing here that could mint a token."""
    assert algorithms(at_start(read(zexio_jwt_pem_files=str(pem)))) == ["EdDSA"]


def test_the_rules_come_from_the_settings(read: Read) -> None:
    """Issuer, audience, leeway and size."""
    keys = at_start(
        read(zexio_jwt_issuer="me", zexio_jwt_audience="you", zexio_jwt_leeway_s="1", zexio_jwt_max_token_bytes="2048")
    )
    assert (keys.issuer, keys.audience, keys.leeway_s, keys.max_token_bytes) == ("me", "you", 1.0, 2048)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "cannot be read"), ("no key", "holds no public key"), ("-----BEGIN PRIVATE KEY-----", "private key")],
)
def test_an_unfit_file_is_one_line(read: Read, tmp_path: Path, content: str | None, reason: str) -> None:
    """The node does not start with fewer keys than it was told."""
    path = tmp_path / "bad.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CannotStart, match=rf"^jwt\.pem_files: {path} .*{reason}"):
        at_start(read(zexio_jwt_pem_files=str(path)))


async def test_a_jwks_adds_keys(read: Read, jwks_url: str) -> None:
    """After the first fetch the data plane knows them."""
    edge = Cell(Edge())
    keys = MeshKeys(read(zexio_jwt_jwks_url=jwks_url), edge)
    assert algorithms(edge.value.keys) == []
    await keys.first_fetch()
    assert [key.kid for key in edge.value.keys.keys] == ["k1"]


async def test_a_jwks_that_is_down_is_no_reason_not_to_start(read: Read) -> None:
    """The node asks again later."""
    edge = Cell(Edge())
    keys = MeshKeys(read(zexio_jwt_jwks_url="http://127.0.0.1:1/jwks", mesh_jwt_secret=SECRET), edge)
    await keys.first_fetch()
    assert algorithms(edge.value.keys) == ["HS256"]


async def test_a_reload_replaces_the_secret(read: Read) -> None:
    """With a new generation, so that workers forget what they verified with the old one."""
    edge = Cell(Edge())
    keys = MeshKeys(read(mesh_jwt_secret=SECRET), edge)
    before = edge.value
    assert keys.reload(read(mesh_jwt_secret="t" * 32))
    assert edge.value.keys.keys[0].material == b"t" * 32
    assert edge.value.keys.generation > before.keys.generation
    assert edge.value.revision > before.revision


async def test_a_reload_without_change_leaves_the_keys(read: Read) -> None:
    """Verified tokens stay cached."""
    edge = Cell(Edge())
    keys = MeshKeys(read(mesh_jwt_secret=SECRET), edge)
    before = edge.value
    assert keys.reload(read(mesh_jwt_secret=SECRET)) is False
    assert edge.value is before


async def test_a_reload_makes_no_secret(read: Read, tmp_path: Path) -> None:
    """A file that went missing is a mistake, and the tokens in use stay valid."""
    edge = Cell(Edge())
    keys = MeshKeys(read(), edge)
    before = edge.value
    (tmp_path / "data" / "mesh-jwt.secret").unlink()
    with pytest.raises(CannotStart, match=r"mesh-jwt\.secret cannot be read"):
        keys.reload(read())
    assert edge.value is before


async def test_a_reload_that_fails_leaves_the_keys(read: Read) -> None:
    """All of them: the next reload compares with what is in force."""
    edge = Cell(Edge())
    settings = read(mesh_jwt_secret=SECRET)
    keys = MeshKeys(settings, edge)
    before = edge.value
    section = msgspec.structs.replace(settings.jwt, secret="t" * 32, jwks_url="https://[")
    for _again in range(2):
        with pytest.raises(ValueError, match="malformed host"):
            keys.reload(msgspec.structs.replace(settings, jwt=section))
    assert edge.value is before
    assert keys.reload(settings) is False


async def test_a_changed_file_is_a_change(read: Read, pem: Path) -> None:
    """The path may stay while its content is replaced."""
    settings = read(zexio_jwt_pem_files=str(pem))
    keys = MeshKeys(settings, Cell(Edge()))
    write_key(pem)
    assert keys.reload(settings)


async def test_fetched_keys_survive_another_key_s_change(read: Read, jwks_url: str) -> None:
    """Until the next fetch, tokens that they verify are not refused."""
    edge = Cell(Edge())
    keys = MeshKeys(read(zexio_jwt_jwks_url=jwks_url), edge)
    await keys.first_fetch()
    assert keys.reload(read(zexio_jwt_jwks_url=jwks_url, mesh_jwt_secret=SECRET))
    assert algorithms(edge.value.keys) == ["HS256", "EdDSA"]


async def test_a_fetch_from_before_a_reload_is_too_late(read: Read, jwks_url: str) -> None:
    """It was under way while the URL was taken out of the settings."""
    edge = Cell(Edge())
    keys = MeshKeys(read(mesh_jwt_secret=SECRET, zexio_jwt_jwks_url=jwks_url), edge)
    before = keys._source
    assert before is not None
    keys.reload(read(mesh_jwt_secret=SECRET))
    await before.refresh()
    assert algorithms(edge.value.keys) == ["HS256"]


async def test_another_url_is_asked_at_once(read: Read, jwks_url: str) -> None:
    """The keys of the old one are believed no longer."""
    edge = Cell(Edge())
    keys = MeshKeys(read(mesh_jwt_secret=SECRET), edge)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(keys.run())
        keys.reload(read(mesh_jwt_secret=SECRET, zexio_jwt_jwks_url=jwks_url))
        async for value in edge.changes():
            if len(value.keys.keys) == 2:
                break
        keys.reload(read(mesh_jwt_secret=SECRET))
        assert algorithms(edge.value.keys) == ["HS256"]
        running.cancel()


async def test_an_unknown_kid_without_a_url_is_nothing() -> None:
    """There is nobody to ask."""
    keys = MeshKeys(load(None, {"MESH_JWT_SECRET": SECRET}, {}), Cell(Edge()))
    keys.unknown_kid("k9")
    await keys.first_fetch()
