"""A node from its start to its end: routes that are put are served, tenants are kept apart, nobody is cut off."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.flows.running import PATIENCE_S, RunningNode, origin, run, until, worker_pids

PUBLIC = "demo.zexio.app"
TENANT = "orders.acme.zexio.internal"


async def test_a_route_is_served_until_it_is_removed(tmp_path: Path) -> None:
    """Put through the API, live in every worker, counted, gone."""
    async with origin() as behind, RunningNode(tmp_path / "data") as node:
        assert (await node.get(PUBLIC))[0] == 404
        await node.put(PUBLIC, behind.url)
        assert await node.get(PUBLIC, "/hello") == (200, "/hello org=-")
        await node.call("DELETE", f"/routes/{PUBLIC}")
        await node.gets(404, PUBLIC)
        found = await node.metrics()
        assert found["zexio_worker_ready"] == {"0": 1, "1": 1}
        node.signal(signal.SIGTERM)
        assert await node.ended() == 0


async def test_tenants_are_kept_apart(tmp_path: Path) -> None:
    """contracts/plane.md decision 9, through real processes: 401 without a token, 403 with another tenant's."""
    async with origin() as behind, RunningNode(tmp_path / "data") as node:
        await node.put(TENANT, behind.url, org_id="org_acme")
        assert (await node.get(TENANT))[0] == 401
        assert (await node.get(TENANT, token=node.token("org_other")))[0] == 403
        assert (await node.get(TENANT, token=node.token("org_acme", secret="x" * 64)))[0] == 401
        assert await node.get(TENANT, token=node.token("org_acme")) == (200, "/ org=org_acme")


async def test_a_restart_keeps_routes_and_secrets(tmp_path: Path) -> None:
    """What was put is served again, and tokens stay valid."""
    data = tmp_path / "data"
    async with origin() as behind:
        async with RunningNode(data) as node:
            await node.put(TENANT, behind.url, org_id="org_acme")
            token = node.token("org_acme")
            node.signal(signal.SIGTERM)
            assert await node.ended() == 0
        async with RunningNode(data) as node:
            assert (await node.get(TENANT, token=token))[0] == 200
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in data.iterdir()} == {0}


async def test_a_request_in_flight_is_finished_before_the_end(tmp_path: Path) -> None:
    """SIGTERM: nobody new comes in, whoever is in gets an answer, the exit code is 0."""
    async with origin() as behind, RunningNode(tmp_path / "data") as node:
        await node.put(PUBLIC, behind.url)
        async with asyncio.TaskGroup() as group:
            slow = group.create_task(node.get(PUBLIC, "/slow"))
            await behind.waiting.wait()
            node.signal(signal.SIGTERM)
            await node.logged("stopping")
            await _until_refused(node.mesh)
            behind.gate.set()
            assert await slow == (200, "/slow org=-")
        assert await node.ended() == 0


async def test_the_deadline_ends_a_request_that_never_ends(tmp_path: Path) -> None:
    """A drain is bounded, and its end is an orderly one."""
    async with origin() as behind, RunningNode(tmp_path / "data", environ={"ZEXIO_NODE_DRAIN_S": "0.05"}) as node:
        await node.put(PUBLIC, behind.url)
        async with asyncio.TaskGroup() as group:
            slow = group.create_task(_is_cut(node))
            await behind.waiting.wait()
            node.signal(signal.SIGTERM)
            assert await node.ended() == 0
            assert await slow


async def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    """Whoever presses Ctrl-C twice waits for nobody, however long the drain may take."""
    async with origin() as behind, RunningNode(tmp_path / "data", environ={"ZEXIO_NODE_DRAIN_S": "3600"}) as node:
        await node.put(PUBLIC, behind.url)
        workers = worker_pids(node.pid)
        async with asyncio.TaskGroup() as group:
            slow = group.create_task(_is_cut(node))
            await behind.waiting.wait()
            node.signal(signal.SIGINT)
            await node.logged("stopping")
            await _until_refused(node.mesh)
            node.signal(signal.SIGINT)
            assert await node.ended() == 0
            assert await slow
        assert len(workers) == 2


@pytest.mark.parametrize(("flag", "setting"), [("--mesh", "mesh.listen"), ("--admin", "admin.listen")])
async def test_a_taken_port_is_one_line(tmp_path: Path, flag: str, setting: str) -> None:
    """The address and the setting are named; the exit code is 1."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        addresses = {"--mesh": "127.0.0.1:0", "--admin": "127.0.0.1:0", flag: taken}
        flags = [word for pair in addresses.items() for word in pair]
        code, out, err = await run("up", "--data", str(tmp_path / "data"), *flags)
    assert (code, out, err) == (1, "", f"zexio: {setting}: {taken} is already in use\n")


async def test_two_nodes_do_not_share_a_folder(tmp_path: Path) -> None:
    """The second one says who has it."""
    async with RunningNode(tmp_path / "data") as node:
        code, _out, err = await run(
            "up", "--data", str(tmp_path / "data"), "--mesh", "127.0.0.1:0", "--admin", "127.0.0.1:0"
        )
        assert (code, err.count("\n")) == (1, 1)
        assert f"is in use by another node (process {node.pid})" in err


async def test_an_unknown_setting_is_one_line(tmp_path: Path) -> None:
    """With the nearest name, before anything is started."""
    code, out, err = await run("up", "--data", str(tmp_path / "data"), environ={"ZEXIO_MESH_WROKERS": "2"})
    assert (code, out) == (2, "")
    assert err == "zexio: ZEXIO_MESH_WROKERS: there is no such setting; the nearest is ZEXIO_MESH_WORKERS\n"


async def test_a_node_needs_no_standard_streams(tmp_path: Path) -> None:
    """Service managers start programs without stdin and stdout; the workers serve all the same."""
    arguments = ["up", "--data", str(tmp_path / "data"), "--mesh", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'exec "$@" <&- >&-', "sh", sys.executable, "-m", "node.cli.main", *arguments),
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "ZEXIO_MESH_WORKERS": "1", "ZEXIO_LOG_ACCESS": "json"},
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            seen = [json.loads(await process.stderr.readline())["message"] for _ in range(2)]
    finally:
        process.terminate()
        await process.communicate()
    assert seen == ["worker serves", "serving"]
    assert process.returncode == 0


async def test_the_access_log_tells_each_request(tmp_path: Path) -> None:
    """One JSON line on stdout for each, with the cause of what the proxy answered itself."""
    async with origin() as behind, RunningNode(tmp_path / "data", environ={"ZEXIO_LOG_ACCESS": "json"}) as node:
        await node.put(PUBLIC, behind.url)
        await node.get(PUBLIC, "/hello")
        await node.get("unknown.example.com")
        node.signal(signal.SIGTERM)
        await node.ended()
        records = [json.loads(line) for line in await node.access_lines()]
    assert {(record["host"], record["status"], record["cause"]) for record in records} == {
        (PUBLIC, 200, ""),
        ("unknown.example.com", 404, "destination_not_found"),
    }


async def test_the_log_is_on_the_api(tmp_path: Path) -> None:
    """`GET /system/logs` has what stderr has."""
    async with RunningNode(tmp_path / "data") as node:
        entries = await node.call("GET", "/system/logs")
        assert any(entry["message"].startswith("serving mesh=") for entry in entries)
        assert {*entries[0]} == {"timestamp", "level", "message"}


async def _until_refused(mesh: str) -> None:
    host, _colon, port = mesh.rpartition(":")

    async def is_refused() -> bool:
        try:
            _reader, writer = await asyncio.open_connection(host, int(port))
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:
            return False  # it still waited in the queue when the listener closed
        writer.close()
        return False

    await until(is_refused)


async def _is_cut(node: RunningNode) -> bool:
    try:
        await node.get(PUBLIC, "/slow")
    except aiohttp.ClientError:
        return True
    return False
