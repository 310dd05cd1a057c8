"""The real server with the real ssh, started as its provider plans it: what it says is what the provider reads."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.support.connectors import Connector, started, until
from tests.support.sshd import KeyPair, Sshd
from tests.tunnels.providers.specs import spec
from tunnels.providers.base import Launch, Place, Told, ending
from tunnels.providers.catalogue import check, plan

pytestmark = pytest.mark.needs("sshd", "ssh")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    """A server that listens."""
    folder = tmp_path / "server"
    folder.mkdir()
    with Sshd(folder) as running:
        yield running


def launch_to(
    server: Sshd, folder: Path, *, key: str = "", host_key: str = "", remote_port: int = 0, local: int = 9
) -> Launch:
    """A launch as its provider plans it, with its files written."""
    wanted = spec(
        "ssh",
        key or server.client.private,
        server=server.destination,
        host_key=host_key or server.host.public,
        remote_port=str(remote_port or server.remote_port),
    )
    assert check(wanted) == ()
    programs = {"ssh": "/usr/bin/ssh"}
    launch = plan(
        wanted, Place(folder=str(folder), metrics_port=1, local_port=local, programs=programs, nonce="n" * 16)
    )
    for file in launch.files:
        path = folder / file.name
        path.write_bytes(file.content)
        path.chmod(0o600)
    return launch


def told(launch: Launch, program: Connector) -> Told:
    """The last of its lines that told anything."""
    lines = [launch.read_line(line).told for line in program.said.decode().splitlines()]
    return next((found for found in reversed(lines) if found != Told()), Told())


def test_a_page_comes_through_the_tunnel(server: Sshd, tmp_path: Path) -> None:
    """From the moment on that the one line is there which says so."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"through")

        def log_message(self, *_: object) -> None:
            return

    origin = HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=origin.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    launch = launch_to(server, tmp_path, local=origin.server_port)
    with started(launch.argv, tmp_path, launch.env) as program:
        until(lambda: told(launch, program).edge)
        connection = http.client.HTTPConnection("127.0.0.1", server.remote_port, timeout=5)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"through"
        connection.close()
        # A line for the forward, and none for each connection.
        assert len(program.said.splitlines()) == 1
    origin.shutdown()
    origin.server_close()


def test_a_wrong_host_key_is_permanent(server: Sshd, tmp_path: Path) -> None:
    """It may be somebody else's server."""
    launch = launch_to(server, tmp_path, host_key=KeyPair().public)
    with started(launch.argv, tmp_path, launch.env) as program:
        status = program.ended()
        assert ending(launch, status, told(launch, program)).is_permanent
        assert "host key" in (told(launch, program).permanent or "")


def test_a_wrong_key_is_permanent(server: Sshd, tmp_path: Path) -> None:
    """The server does not know it."""
    launch = launch_to(server, tmp_path, key=KeyPair().private)
    with started(launch.argv, tmp_path, launch.env) as program:
        status = program.ended()
        assert status == 255
        assert "refuses the key" in ending(launch, status, told(launch, program)).reason


def test_a_port_that_is_not_given_may_be_later(server: Sshd, tmp_path: Path) -> None:
    """Whether it is taken or not permitted, the server does not say."""
    launch = launch_to(server, tmp_path, remote_port=1)
    with started(launch.argv, tmp_path, launch.env) as program:
        end = ending(launch, program.ended(), told(launch, program))
        assert "remote port" in end.reason
        assert not end.is_permanent


def test_a_server_that_goes_away_ends_it(server: Sshd, tmp_path: Path) -> None:
    """And one that is not there; both may be back."""
    launch = launch_to(server, tmp_path)
    with started(launch.argv, tmp_path, launch.env) as program:
        until(lambda: told(launch, program).edge)
        server.stop()
        assert program.ended() == 255
        assert not ending(launch, 255, told(launch, program)).is_permanent
    with started(launch.argv, tmp_path, launch.env) as program:
        end = ending(launch, program.ended(), told(launch, program))
        assert (end.is_permanent, "not reached" in end.reason) == (False, True)
    server.start()
    with started(launch.argv, tmp_path, launch.env) as program:
        until(lambda: told(launch, program).edge)
        assert program.term() == 0
