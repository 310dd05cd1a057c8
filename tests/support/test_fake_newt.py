"""The double of newt against what was read in newt 1.15.0."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec
import pytest

from tests.support.connectors import Connector, free_port, get, started, until
from tests.support.doubles import install
from tests.tunnels.providers.specs import spec
from tunnels.providers.base import Place
from tunnels.providers.catalogue import plan
from tunnels.providers.pangolin import read_line, read_metrics

SECRET = "s3cr3ts3cr3t"
Start = Callable[..., AbstractContextManager[tuple[Connector, int]]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts the double as its provider has it started, with switches."""

    @contextmanager
    def run(**switches: str | float) -> Iterator[tuple[Connector, int]]:
        path = install(tmp_path / "newt", "tests.support.fake_newt", **switches)
        port = free_port()
        place = Place(
            folder=str(tmp_path), metrics_port=port, local_port=8080, programs={"newt": str(path)}, nonce="n" * 16
        )
        launch = plan(spec("pangolin", f"https://site1:{SECRET}@pangolin.example.com"), place)
        with started(launch.argv, tmp_path, launch.env) as program:
            yield program, port

    return run


def test_it_connects_and_writes_its_file(start: Start, tmp_path: Path) -> None:
    """Which it leaves there when it ends."""
    healthy = tmp_path / "healthy"
    with start() as (program, port):
        program.until_said("Tunnel connection to server established successfully!")
        until(healthy.exists)
        assert healthy.read_text() == "ok"
        assert get(port, "/healthz") == (200, b"ok")
        told = read_metrics(*get(port, "/metrics"))
        assert (told.edge, told.permanent, told.latency_ms) == (None, None, 20)
        assert all(read_line(line).level == "info" for line in program.said.decode().splitlines())
        assert program.term() == 0
    assert healthy.exists()


def test_its_file_goes_and_comes_with_the_connection(start: Start, tmp_path: Path) -> None:
    """While it stays alive."""
    healthy, lost = tmp_path / "healthy", tmp_path / "lost"
    with start(FAKE_LOST_FILE=str(lost)) as (program, port):
        until(healthy.exists)
        lost.touch()
        until(lambda: not healthy.exists())
        assert read_metrics(*get(port, "/metrics")).edge is False
        lost.unlink()
        until(healthy.exists)
        assert program.process.poll() is None


def test_its_file_may_stay(start: Start, tmp_path: Path) -> None:
    """Its figures are what tells the truth then."""
    with start(FAKE_KEEP_HEALTH=1, FAKE_LOST_FILE=str(tmp_path / "lost")) as (program, port):
        until((tmp_path / "healthy").exists)
        (tmp_path / "lost").touch()
        program.until_said("Periodic ping failed")
        assert (tmp_path / "healthy").exists()
        assert read_metrics(*get(port, "/metrics")).edge is False


def test_refused_credentials_do_not_end_it(start: Start) -> None:
    """Its figures tell of the first, its lines only of the third."""
    with start(FAKE_REFUSED=1, FAKE_RETRY_S=0.02) as (program, port):
        until(lambda: b"auth_failed" in get(port, "/metrics")[1] if b"Newt" in program.said else False)
        assert read_metrics(*get(port, "/metrics")).permanent is not None
        program.until_said("status code: 401")
        assert any(read_line(line).told.permanent for line in program.said.decode().splitlines())
        assert program.process.poll() is None
        assert program.term() == 0


def test_its_secret_is_saved_for_everybody_to_read(start: Start, tmp_path: Path) -> None:
    """Which is why its folder is private."""
    with start() as (program, _):
        program.until_said("Newt version")
        saved = tmp_path / "config.json"
        assert stat.S_IMODE(saved.stat().st_mode) == 0o644
        assert msgspec.json.decode(saved.read_bytes())["secret"] == SECRET


def test_it_may_start_anew_under_the_same_process_id(start: Start) -> None:
    """The server can have it do so."""
    with start(FAKE_REEXEC_AFTER_S=0.05) as (program, port):
        program.until_said("Received restart message")
        until(lambda: program.said.count(b"Tunnel connection to server") == 2)
        assert get(port, "/healthz")[0] == 200
        assert program.term() == 0


def test_what_it_needs_comes_from_arguments_variables_or_a_file(tmp_path: Path) -> None:
    """In this order; without it, it ends with 1."""
    path = install(tmp_path / "newt", "tests.support.fake_newt")
    config = tmp_path / "config.json"
    env = {"CONFIG_FILE": str(config), "NEWT_ADMIN_ADDR": "127.0.0.1:0"}
    with started([path], tmp_path, env) as program:
        assert program.ended() == 1
    config.write_text(json.dumps({"id": "file", "secret": "file", "endpoint": "file"}))
    with started([path, "--id", "flag"], tmp_path, {**env, "NEWT_ID": "env", "NEWT_SECRET": "env"}) as program:
        program.until_said("Tunnel connection")
        held = json.loads(config.read_text())
    assert (held["id"], held["secret"], held["endpoint"]) == ("flag", "env", "file")


def test_a_busy_port_for_its_pages_is_only_an_error_in_its_log(tmp_path: Path) -> None:
    """Every other one takes the same port by default."""
    path = install(tmp_path / "newt", "tests.support.fake_newt")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        env = {
            "CONFIG_FILE": str(tmp_path / "config.json"),
            "NEWT_ADMIN_ADDR": f"127.0.0.1:{listener.getsockname()[1]}",
        }
        with started([path, "--id", "a", "--secret", "b", "--endpoint", "c"], tmp_path, env) as program:
            program.until_said("Tunnel connection")
            assert b"admin http error" in program.said


def test_it_says_which_version_it_is(tmp_path: Path) -> None:
    """As `pangolin` it is the same program."""
    path = install(tmp_path / "pangolin", "tests.support.fake_newt")
    with started([path, "--version"], tmp_path) as program:
        assert program.ended() == 0
        assert program.said == b"Newt version 1.15.0\n"
    env = {"CONFIG_FILE": str(tmp_path / "c"), "SITE_ID": "a", "SITE_SECRET": "b", "NEWT_ADMIN_ADDR": "127.0.0.1:0"}
    with started([path, "up", "site", "--endpoint", "c"], tmp_path, env) as program:
        program.until_said("Tunnel connection")
    assert os.path.lexists(tmp_path / "c")
