"""mitmweb as a process: what it is told and what becomes of it, with a program in its place that only listens."""

from __future__ import annotations

import socket
import stat
import sys
import textwrap
from pathlib import Path
from typing import Any, Final

import pytest

from node.cli import mitmweb, mitmweb_addon
from node.cli.errors import CommandError
from node.cli.mitmweb import Job, arguments, environment, find, job, running

TARGET: Final = "http://192.0.2.1:9000"
WORK: Final = Job(targets=(TARGET, "https://[2001:db8::1]:443"))
TLS: Final = {"ca": "", "server_name": "", "verify": True, "certificate": ""}

# It takes mitmweb's arguments, opens the same ports, and ends when it is told to.
STAND_IN: Final = f"""\
    #!{sys.executable}
    import socket, sys, time
    options = dict(word.split("=", 1) for word in sys.argv if "=" in word)
    ports = [word.rpartition(":")[2] for word in sys.argv if word.startswith("reverse:")] + [options["web_port"]]
    MODE
    open_ = [socket.create_server(("127.0.0.1", int(port))) for port in ports]
    print("\\x1b[1mWeb server listening at http://127.0.0.1:" + options["web_port"] + "/?token=abc\\x1b[0m", flush=True)
    sys.stdin.readline()
    """


def stand_in(folder: Path, mode: str = "") -> str:
    """The path of the program; `mode` is a line of Python that it runs first."""
    path = folder / "mitmweb"
    path.write_text(textwrap.dedent(STAND_IN).replace("MODE", mode))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def route(*urls: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    """A route as the admin API shows it."""
    targets = [{"url": url} for url in urls]
    return {
        "targets": targets,
        "proxy_protocol": "off",
        "target_tls": TLS,
        "traffic": {"split": None},
        **fields,
    }


def test_every_target_is_inspected() -> None:
    """Those of a split too, each once."""
    split = {"targets": [{"url": TARGET}, {"url": "https://192.0.2.2:443"}]}
    tls = {**TLS, "verify": False, "ca": "PEM", "server_name": "internal.example.com"}
    found = job(route(TARGET, traffic={"split": split}, target_tls=tls))
    assert found.targets == (TARGET, "https://192.0.2.2:443")
    assert (found.verify, found.ca, found.server_name) == (False, "PEM", "internal.example.com")


def test_a_target_that_mitmproxy_cannot_reach_is_left_out() -> None:
    """With the reason."""
    found = job(route(TARGET, "unix:/run/shop.sock", "h2c://192.0.2.1:80"))
    assert found.targets == (TARGET,)
    assert found.unfit["unix:/run/shop.sock"] == "mitmproxy cannot connect to a Unix socket"
    assert set(found.unfit) == {"unix:/run/shop.sock", "h2c://192.0.2.1:80"}


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (route("unix:/run/shop.sock"), "unix:/run/shop.sock cannot be inspected"),
        (route("h2://192.0.2.1:443"), "mitmproxy would speak HTTP/1 to it"),
        (route(TARGET, proxy_protocol="v1"), "PROXY header"),
        (route("https://192.0.2.1:443", target_tls={**TLS, "certificate": "node.example.com"}), "only the node has"),
        (route(), "no targets"),
    ],
)
def test_what_mitmproxy_cannot_do_is_said(wanted: dict[str, Any], reason: str) -> None:
    """Before anything is started."""
    with pytest.raises(CommandError, match=reason):
        job(wanted)


def test_one_way_to_every_target(tmp_path: Path) -> None:
    """On loopback, with the visitor's Host, nothing of the user's own configuration, and no secret."""
    inspectors = {url: f"http://127.0.0.1:{8000 + number}" for number, url in enumerate(WORK.targets)}
    told = arguments(WORK, inspectors, 8091, tmp_path)
    modes = [told[index + 1] for index, word in enumerate(told) if word == "--mode"]
    assert modes == [
        "reverse:http://192.0.2.1:9000@127.0.0.1:8000",
        "reverse:https://[2001:db8::1]:443@127.0.0.1:8001",
    ]
    for setting in ("keep_host_header=true", f"confdir={tmp_path}", "web_host=127.0.0.1", "web_port=8091"):
        assert setting in told
    assert not [word for word in told if "password" in word]


@pytest.mark.parametrize(
    ("tls", "expected"),
    [({"verify": False}, "ssl_insecure=true"), ({"ca": "PEM"}, "ssl_verify_upstream_trusted_ca=")],
)
def test_targets_are_trusted_as_the_node_trusts_them(tmp_path: Path, tls: dict[str, Any], expected: str) -> None:
    """Or as little."""
    told = arguments(Job(targets=(TARGET,), **tls), {}, 8091, tmp_path)
    assert [word for word in told if word.startswith(expected)]
    assert [path.read_text() for path in tmp_path.iterdir()] == (["PEM"] if "ca" in tls else [])


def test_mitmweb_gets_nothing_of_this_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets of the node are often variables."""
    monkeypatch.setenv("ZEXIO_CLOUD_TOKEN", "secret")
    assert "secret" not in environment(WORK, Path("folder")).values()


def test_a_program_that_is_not_there() -> None:
    """The line says how to get it."""
    with pytest.raises(CommandError, match="pipx install mitmproxy"):
        find("no-such-program")


async def test_it_runs_until_the_end_of_the_block(tmp_path: Path) -> None:
    """It listens at every port, says where its pages are, and ends in peace."""
    async with running(stand_in(tmp_path), WORK, 0) as started:
        await started.ready()
        assert list(started.inspectors) == list(WORK.targets)
        assert started.pages.endswith("/?token=abc")
        assert not started.is_open
        folder = Path(started.log).parent
        assert folder.stat().st_mode & 0o077 == 0
    assert await started.ended() == "mitmweb ended by itself with exit code 0"
    assert not folder.exists()


@pytest.mark.parametrize("mode", ["raise SystemExit('no such option')", "print('no such option'); time.sleep(60)"])
async def test_it_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """Its own words say why."""
    monkeypatch.setattr(mitmweb, "START_S", 1.0)
    monkeypatch.setattr(mitmweb, "END_S", 0.05)
    monkeypatch.setattr(mitmweb_addon, "FINISHED_S", 0.0)
    program = stand_in(tmp_path, f"sys.stdout.reconfigure(line_buffering=True); {mode}")
    async with running(program, WORK, 0) as started:
        with pytest.raises(CommandError, match="no such option"):
            await started.ready()


async def test_one_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First with SIGTERM, then with SIGKILL."""
    monkeypatch.setattr(mitmweb, "END_S", 0.05)
    monkeypatch.setattr(mitmweb_addon, "FINISHED_S", 0.0)
    deaf = "import os, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.dup2(os.open('/dev/zero', 0), 0)"
    async with running(stand_in(tmp_path, deaf), WORK, 0) as started:
        await started.ready()
    assert "exit code -9" in await started.ended()


async def test_a_port_that_is_taken() -> None:
    """The option is named."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=f"--port {port} cannot be used: Address already in use"):
            async with running("mitmweb", WORK, port):
                pass
