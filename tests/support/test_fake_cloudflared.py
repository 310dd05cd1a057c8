"""The double of cloudflared against what was measured with cloudflared 2026.8.2; and, where it is, the real one."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec
import pytest

from tests.support.connectors import Connector, free_port, get, started, status_of, until
from tests.support.doubles import install
from tests.tunnels.providers.specs import cloudflare_token, spec
from tunnels.providers.base import Launch, Place, ending
from tunnels.providers.catalogue import plan
from tunnels.providers.cloudflare import read_config, read_line, read_ready
from tunnels.providers.cloudflare_quick import read_name

TOKEN = cloudflare_token()
Start = Callable[..., AbstractContextManager[tuple[Connector, int]]]


def launched(folder: Path, path: str, provider: str = "cloudflare", token: str = TOKEN) -> tuple[Launch, int]:
    """A launch as its provider plans it, with its files written, and the port of its pages."""
    port = free_port()
    place = Place(
        folder=str(folder), metrics_port=port, local_port=8080, programs={"cloudflared": path}, nonce="n" * 16
    )
    wanted = spec(provider, TOKEN if provider == "cloudflare" else "")
    launch = plan(wanted, place)
    for file in launch.files:
        content = token.encode() if file.name == "token" else file.content
        (folder / file.name).write_bytes(content)
    return launch, port


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts the double as its provider has it started, with switches."""

    @contextmanager
    def run(
        provider: str = "cloudflare", token: str = TOKEN, **switches: str | float
    ) -> Iterator[tuple[Connector, int]]:
        path = install(tmp_path / "cloudflared", "tests.support.fake_cloudflared", **switches)
        launch, port = launched(tmp_path, str(path), provider, token)
        with started(launch.argv, tmp_path, launch.env) as program:
            yield program, port

    return run


@pytest.fixture(params=["double", "real"])
def program_path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The double, and the real program where there is one."""
    if request.param == "double":
        return str(install(tmp_path / "cloudflared", "tests.support.fake_cloudflared", FAKE_READY_AFTER_S="never"))
    path = shutil.which("cloudflared")
    if path is None:
        pytest.skip("cloudflared is not installed (no Debian package has it)")
    return path


# What has to be so with both.


def test_a_token_that_is_none_ends_it_with_255(program_path: str, tmp_path: Path) -> None:
    """At once, with two plain lines."""
    launch, _ = launched(tmp_path, program_path, token="hunter2")
    with started(launch.argv, tmp_path, launch.env) as program:
        status = program.ended()
        assert status == 255
        told = read_line(program.said.decode().splitlines()[0]).told
    assert told.permanent is not None
    assert ending(launch, status, told).is_permanent


def test_a_busy_port_for_its_pages_ends_it_with_1(program_path: str, tmp_path: Path) -> None:
    """Which is not for good."""
    launch, port = launched(tmp_path, program_path)
    with socket.create_server(("127.0.0.1", port)), started(launch.argv, tmp_path, launch.env) as program:
        status = program.ended()
        assert status == 1
        assert b"address already in use" in program.said
    assert not ending(launch, status).is_permanent


def test_it_is_alive_and_not_connected(program_path: str, tmp_path: Path) -> None:
    """Its page of health says OK, its metric says 1, and only one page tells the truth. TERM ends it with 0."""
    launch, port = launched(tmp_path, program_path)
    argv = (*launch.argv[:-1], "--edge", "127.0.0.1:9", "run")
    with started(argv, tmp_path, launch.env) as program:
        until(lambda: status_of(port, "/ready") == 503)
        status, body = get(port, "/ready")
        assert msgspec.json.decode(body)["readyConnections"] == 0
        assert read_ready(status, body).edge is False
        assert get(port, "/healthcheck")[1].strip() == b"OK"
        assert b"cloudflared_tunnel_ha_connections 1" in get(port, "/metrics")[1]
        told = read_config(8080, None, *get(port, "/config"))
        assert told.routing == "yes"
        assert TOKEN.encode() not in program.said
        assert program.term() == 0


def test_it_says_which_version_it_is(program_path: str, tmp_path: Path) -> None:
    """In one line."""
    with started([program_path, "--version"], tmp_path) as program:
        assert program.ended() == 0
        assert program.said.startswith(b"cloudflared version 20")


# What only the double can show without a network.


def test_it_connects(start: Start) -> None:
    """After a while, and says so in JSON and on its page."""
    with start(FAKE_READY_AFTER_S=0.05) as (program, port):
        until(lambda: status_of(port, "/ready") == 200)
        program.until_said("Registered tunnel connection")
        lines = program.said.decode().splitlines()
        assert [read_line(line).told.permanent for line in lines] == [None] * len(lines)
        assert all(json.loads(line)["level"] == "info" for line in lines)
        assert program.term() == 0


def test_it_may_be_lost_and_stay_alive(start: Start, tmp_path: Path) -> None:
    """As long as a file is there."""
    lost = tmp_path / "lost"
    with start(FAKE_LOST_FILE=str(lost)) as (program, port):
        until(lambda: status_of(port, "/ready") == 200)
        lost.touch()
        assert get(port, "/ready")[0] == 503
        lost.unlink()
        assert get(port, "/ready")[0] == 200
        assert program.process.poll() is None


def test_cloudflare_s_rules_come_with_the_connection(start: Start) -> None:
    """And may lead elsewhere; before, it is what it was started with."""
    rules = json.dumps([{"hostname": "a.example", "service": "http://localhost:3000"}])
    with start(FAKE_RULES=rules, FAKE_READY_AFTER_S=0.1) as (program, port):
        until(lambda: status_of(port, "/config") == 200)
        program.until_said("Updated to new configuration")
        status, body = get(port, "/config")
        assert msgspec.json.decode(body)["version"] == 0
        assert read_config(8080, None, status, body).routing == "no"
        assert read_config(3000, None, status, body).url == "https://a.example"


def test_a_quick_tunnel_has_its_name_before_it_is_connected(start: Start) -> None:
    """So the name says nothing."""
    with start("cloudflare-quick", FAKE_READY_AFTER_S="never") as (program, port):
        until(lambda: status_of(port, "/quicktunnel") == 200)
        assert read_name(*get(port, "/quicktunnel")).url == "https://made-up-name.trycloudflare.com"
        assert get(port, "/ready")[0] == 503
        assert program.term() == 0


def test_a_quick_tunnel_may_be_refused(start: Start) -> None:
    """With 1."""
    with start("cloudflare-quick", FAKE_HOSTNAME="") as (program, _):
        assert program.ended() == 1


def test_a_network_that_is_not_there_yet_ends_it(start: Start, tmp_path: Path) -> None:
    """With 1, as often as it takes."""
    starts = tmp_path / "starts"
    for expected in (1, 1, 0):
        with start(FAKE_STARTS_FILE=str(starts), FAKE_NO_DNS_STARTS=2) as (program, _):
            if expected == 0:
                program.until_said("Registered")
                program.process.terminate()
            assert program.ended() == expected


def test_cloudflare_may_refuse_the_tunnel(start: Start) -> None:
    """Its token was a token."""
    with start(FAKE_REFUSED=1) as (program, _):
        assert program.ended() == 1
        assert any(read_line(line).told.permanent for line in program.said.decode().splitlines())


def test_a_token_in_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """So that one of ours would be taken, were it inherited."""
    path = install(tmp_path / "cloudflared", "tests.support.fake_cloudflared")
    launch, _ = launched(tmp_path, str(path))
    with started(launch.argv, tmp_path, {**launch.env, "TUNNEL_TOKEN": "hunter2"}) as program:
        assert program.ended() == 255
    env = {name: value for name, value in launch.env.items() if not name.startswith("TUNNEL_TOKEN")}
    with started(launch.argv, tmp_path, env) as program:
        assert program.ended() == 255
        assert read_line(program.said.decode().splitlines()[0]).told.permanent is not None


def test_a_second_signal_ends_it_at_once(start: Start) -> None:
    """The handler is gone after the first."""
    with start(FAKE_FLOOD=0) as (program, port):
        until(lambda: status_of(port, "/ready") == 200)
        program.process.send_signal(signal.SIGTERM)
        program.process.send_signal(signal.SIGTERM)
        assert program.ended() in {0, -signal.SIGTERM}


def test_flags_of_the_tunnel_are_not_understood_behind_run(tmp_path: Path) -> None:
    """Nor are those that nobody knows."""
    path = install(tmp_path / "cloudflared", "tests.support.fake_cloudflared")
    for argv in (["tunnel", "run", "--metrics", "x"], ["tunnel", "--unknown"], ["access"], ["tunnel", "--metrics"]):
        with started([path, *argv], tmp_path) as program:
            assert program.ended() == 1
            assert b"Incorrect Usage" in program.said


def test_systemd_is_told_when_it_is_connected(tmp_path: Path) -> None:
    """And not before."""
    path = install(tmp_path / "cloudflared", "tests.support.fake_cloudflared")
    launch, _ = launched(tmp_path, str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "notify"))
        notify.settimeout(10)
        with started(launch.argv, tmp_path, {**launch.env, "NOTIFY_SOCKET": str(tmp_path / "notify")}):
            assert notify.recv(64) == b"READY=1"


def test_the_token_is_printed_only_when_it_is_asked_for(start: Start) -> None:
    """In several dresses, as nothing real would."""
    with start(FAKE_PRINT_SECRET=1) as (program, _):
        program.until_said("Registered")
        assert TOKEN.encode() in program.said
        assert base64.b64encode(TOKEN.encode()) in program.said
