"""A domain is added and watched, against a real API."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from admin_api.plane.records import Home
from node.cli import domain_add, handshake
from node.cli.errors import CommandError
from node.cli.parser import build
from state.observed import CertificateFact
from tests.node.cli.conftest import Api, Result, Zexio, serving
from tests.node.cli.test_handshake import listening
from tests.support.authority import Authority, Issued
from tests.support.stage import until

NAME = "shop.example.com"
NOW = datetime.now(UTC)
TARGETS = "http://127.0.0.1:9000"


@pytest.fixture(scope="module")
def issued() -> Issued:
    """A certificate for the domain."""
    return Authority("Test Root").issue(NAME)


@pytest.fixture
async def home(issued: Issued) -> AsyncIterator[Home]:
    """A node that listens for TLS, and shows that certificate."""
    async with listening(issued, []) as port:
        yield Home(public_name="edge.zexio.app", tls_listen=(f"127.0.0.1:{port}",))


@pytest.fixture(autouse=True)
def _brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain_add, "_PULSE_S", 0.02)
    monkeypatch.setattr(handshake, "_LIVE_S", 0.0)


def report(api: Api, **fields: Any) -> None:  # noqa: ANN401
    """What is found out of the certificate."""
    cell = api.store.observed
    cell.set(cell.value.with_certificates([CertificateFact(name=NAME, **fields)]))


def active(issued: Issued) -> dict[str, Any]:
    """What is reported of a certificate that is served."""
    return {
        "status": "active",
        "issuer": "test",
        "fingerprint": issued.certificate.fingerprint,
        "not_after": NOW + timedelta(days=90),
    }


async def watched(zexio: Zexio, api: Api, *options: str) -> asyncio.Task[Result]:
    """The command under way, from the moment in which the domain is there."""
    command = zexio("domains", "add", NAME, "--admin", api.url, *options)
    task = asyncio.get_running_loop().create_task(started(command), name="command")
    await until(lambda: NAME in api.store.desired.value.domains)
    return task


async def started(command: Awaitable[Result]) -> Result:
    """What becomes of it."""
    return await command


async def test_progress_is_shown_until_https_answers(zexio: Zexio, api: Api, issued: Issued) -> None:
    """With the records that it needs, the steps, and who issued the certificate."""
    task = await watched(zexio, api)
    report(api, status="issuing", step="ordering")
    await asyncio.sleep(0.05)
    report(api, **active(issued))
    result = await task
    lines = [line.strip().partition(" s ")[2] or line.strip() for line in result.out.splitlines()]
    assert result.code == 0, result.err
    assert lines[:2] == [
        f"{NAME} answers by routes of its own",
        f"it needs: {NAME} CNAME edge.zexio.app",
    ]
    assert "ordering" in lines
    assert lines[-4].startswith("there is a certificate of test, valid until ")
    assert lines[-3].startswith("HTTPS answers at 127.0.0.1:")
    assert lines[-2] == "issued by Test Root, whom this machine does not trust"
    assert lines[-1].startswith("to do: zexio routes set")


async def test_a_domain_serves_a_host_or_a_project(zexio: Zexio, api: Api) -> None:
    """What is not named stays as it is."""
    for host in ("demo.zexio.app", "other.zexio.app"):
        await zexio("routes", "set", host, TARGETS, "--admin", api.url)
    line = ("domains", "add", NAME, "--no-wait", "--admin", api.url)
    assert f"{NAME} answers as demo.zexio.app does" in (await zexio(*line, "--project", "demo")).out
    assert f"{NAME} answers as demo.zexio.app does" in (await zexio(*line, "--https", "on")).out
    assert f"{NAME} answers as other.zexio.app does" in (await zexio(*line, "--to", "other.zexio.app")).out
    domain = api.store.desired.value.domains[NAME]
    assert (domain.https, domain.revision) == ("on", api.store.desired.revision)
    await zexio(*line)
    assert api.store.desired.revision == domain.revision
    result = await zexio(*line, "--project", "nobody")
    assert (result.code, "There is no project 'nobody'." in result.err) == (1, True)


async def test_no_certificate_is_not_waited_for(zexio: Zexio, api: Api) -> None:
    """Nothing will come."""
    result = await zexio("domains", "add", NAME, "--certificate", "off", "--admin", api.url)
    assert (result.code, api.store.desired.value.domains[NAME].certificate) == (0, "off")


async def test_what_cannot_work_in_time_is_not_waited_for(zexio: Zexio, api: Api) -> None:
    """The reason is said, and when it is tried again."""
    task = await watched(zexio, api)
    report(api, status="failing", last_error="refused", next_try=NOW + timedelta(hours=6))
    result = await task
    assert result.code == 1
    assert f"zexio: there is no new certificate for {NAME} yet: refused; the next try is at" in result.err
    assert f"look again: zexio domains show '{NAME}'" in result.err


async def test_records_are_looked_up_again_while_they_are_waited_for(zexio: Zexio, api: Api, issued: Issued) -> None:
    """So that a change of them is noticed at once."""
    task = await watched(zexio, api)
    report(
        api, status="failing", last_error="add a record", advice=("add a record",), next_try=NOW + timedelta(hours=6)
    )
    await until(lambda: ("check", NAME) in api.desk.asked)
    report(api, **active(issued))
    result = await task
    assert (result.code, "to do: add a record" in result.out) == (0, True)


async def test_time_is_over_some_day(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    """With the step that it is at."""
    report(api, status="issuing", step="validating")
    options = build().parse_args(["domains", "add", NAME, "--admin", api.url])
    options.wait = 0.2
    with pytest.raises(CommandError, match="yet: validating"):
        await asyncio.to_thread(domain_add.add, options)
    assert "validating" in capsys.readouterr().out


async def test_a_certificate_that_nobody_shows_is_not_enough(zexio: Zexio, api: Api, issued: Issued) -> None:
    """Visitors would see another one."""
    task = await watched(zexio, api)
    report(api, **{**active(issued), "fingerprint": "00"})
    result = await task
    assert (result.code, "shows another certificate" in result.err) == (1, True)


@pytest.mark.parametrize(
    ("home", "code", "word"),
    [(Home(tls_listen=()), 1, "the node listens nowhere for TLS: set mesh.tls_listen"), (Home(), 0, "valid until")],
)
async def test_without_a_listener_there_is_no_https(
    zexio: Zexio, api: Api, issued: Issued, code: int, word: str
) -> None:
    """Where it is not known whether there is one, the certificate has to do."""
    report(api, **active(issued))
    result = await zexio("domains", "add", NAME, "--admin", api.url)
    assert (result.code, word in result.out + result.err) == (code, True)


async def test_a_domain_that_others_change_all_the_time_is_not_changed(zexio: Zexio) -> None:
    """It is read again a few times."""
    puts = []

    async def get(_request: web.Request) -> web.Response:
        return web.json_response({"revision": 1, "https": "on"})

    async def put(request: web.Request) -> web.Response:
        puts.append(request.headers["If-Match"])
        return web.json_response({"error": "stale"}, status=412)

    async with serving(web.get("/domains/{name}", get), web.put("/domains/{name}", put)) as url:
        result = await zexio("domains", "add", NAME, "--https", "off", "--admin", url)
    assert (result.code, puts) == (1, ['"1"'] * 3)


async def test_programs_get_every_step(zexio: Zexio, api: Api, issued: Issued) -> None:
    """As objects, of which the last is the visit."""
    report(api, **active(issued))
    result = await zexio("domains", "add", NAME, "--json", "--admin", api.url)
    first, *_steps, last = (json.loads(line) for line in result.out.splitlines())
    assert (first["domain"]["name"], last["https"]["status"], last["https"]["is_trusted"]) == (NAME, 404, False)


async def test_ctrl_c_leaves_the_domain(api: Api) -> None:
    """And says how to look again."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "node.cli.main", "domains", "add", NAME, "--admin", api.url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    while b"it needs" not in await process.stdout.readline():
        pass
    report(api, status="pending")
    assert b"pending" in await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _out, err = await process.communicate()
    assert (process.returncode, f"look again: zexio domains show '{NAME}'" in err.decode()) == (130, True)
    assert NAME in api.store.desired.value.domains
