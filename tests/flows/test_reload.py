"""SIGHUP on a node that serves."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.flows.running import RunningNode, origin

TENANT = "orders.acme.zexio.internal"
OLD, NEW = "o" * 32, "n" * 32


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A file with a secret."""
    path = tmp_path / "zexio.toml"
    path.write_text(f'[jwt]\nsecret = "{OLD}"\n')
    return path


async def test_a_rotated_secret_is_in_force_at_once(tmp_path: Path, config: Path) -> None:
    """The new one is believed, and the old one is not, although its token was verified before."""
    async with origin() as behind, RunningNode(tmp_path / "data", config) as node:
        await node.put(TENANT, behind.url, org_id="org_acme")
        old, new = node.token("org_acme", OLD), node.token("org_acme", NEW)
        assert (await node.get(TENANT, token=old))[0] == 200
        assert (await node.get(TENANT, token=new))[0] == 401
        write(config, f'[jwt]\nsecret = "{NEW}"\n')
        node.signal(signal.SIGHUP)
        assert (await node.logged("settings reloaded"))["keys_changed"] is True
        await node.gets(200, TENANT, token=new)
        await node.gets(401, TENANT, token=old)


async def test_limits_change_without_a_restart(tmp_path: Path, config: Path) -> None:
    """And what needs one is named."""
    async with origin() as behind, RunningNode(tmp_path / "data", config) as node:
        await node.put(TENANT, behind.url, org_id="org_acme", access="public")
        long_path = "/" + "a" * 200
        assert (await node.get(TENANT, long_path))[0] == 200
        write(config, f'[jwt]\nsecret = "{OLD}"\n[mesh]\nmax_target_bytes = 100\n[admin]\nlisten = "127.0.0.1:1"\n')
        node.signal(signal.SIGHUP)
        assert (await node.logged("settings reloaded"))["changed"] == ["mesh.max_target_bytes"]
        await node.gets(414, TENANT, long_path)


async def test_a_broken_file_changes_nothing(tmp_path: Path, config: Path) -> None:
    """The log says why, the node serves on, and a repaired file is taken."""
    async with origin() as behind, RunningNode(tmp_path / "data", config) as node:
        await node.put(TENANT, behind.url, org_id="org_acme")
        write(config, "[jwt]\nsecert = 'x'\n")
        node.signal(signal.SIGHUP)
        refused = await node.logged("settings not reloaded, the old ones stay")
        assert "the nearest is jwt.secret" in refused["reasons"][0]
        assert (await node.get(TENANT, token=node.token("org_acme", OLD)))[0] == 200
        write(config, f'[jwt]\nsecret = "{NEW}"\n')
        node.signal(signal.SIGHUP)
        await node.logged("settings reloaded")
        await node.gets(200, TENANT, token=node.token("org_acme", NEW))


@pytest.mark.parametrize("url", ["https://u:hush@127.0.0.1:1/x", "https://h/x#frag", "https://[", "https://h:99999/x"])
async def test_no_url_ends_the_node(tmp_path: Path, config: Path, url: str) -> None:
    """Each is refused in one line, which does not repeat the password, and the old keys stay."""
    async with RunningNode(tmp_path / "data", config) as node:
        write(config, f'[jwt]\njwks_url = "{url}"\n')
        node.signal(signal.SIGHUP)
        refused = await node.logged("settings not reloaded, the old ones stay")
        assert len(refused["reasons"]) == 1
        assert refused["reasons"][0].startswith(f"{config}: jwt.jwks_url: the URL of a key set has a")
        assert "hush" not in refused["reasons"][0]
        assert await node.call("GET", "/health") == "OK"


async def test_a_new_default_access_reaches_routes_that_exist(tmp_path: Path, config: Path) -> None:
    """contracts/plane.md decision 9: a node setting makes tenant the default everywhere."""
    async with origin() as behind, RunningNode(tmp_path / "data", config) as node:
        await node.put("demo.zexio.app", behind.url, org_id="org_acme")
        assert (await node.get("demo.zexio.app"))[0] == 200
        write(config, f'[jwt]\nsecret = "{OLD}"\n[mesh]\ndefault_access = "tenant"\n')
        node.signal(signal.SIGHUP)
        await node.gets(401, "demo.zexio.app")


def write(config: Path, text: str) -> None:
    """Replace the file's content."""
    config.write_text(text)
