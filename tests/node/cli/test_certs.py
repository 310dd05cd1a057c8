"""The commands about certificates, against a real API."""

from __future__ import annotations

import asyncio
import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from state.holdings import Bundle
from state.observed import CertificateFact
from tests.node.cli.conftest import Api, Result, Zexio, answering
from tests.support.authority import Authority, Issued
from tests.support.stage import until

NAME = "shop.example.com"
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def issued() -> Issued:
    """A certificate."""
    return Authority("Middle", Authority("Root")).issue(NAME)


@pytest.fixture
def held(api: Api, issued: Issued) -> Api:
    """A node that has it."""
    found = issued.certificate
    api.desk.bundles[NAME] = Bundle(fingerprint=found.fingerprint, names=(NAME,), chain=issued.chain, key=issued.key)
    report(api, fingerprint=found.fingerprint)
    return api


def report(api: Api, days: float = 60.5, **fields: Any) -> None:  # noqa: ANN401
    """What is found out of the certificate."""
    end = NOW + timedelta(days=days)
    known = {
        "status": "active",
        "issuer": "letsencrypt",
        "names": (NAME,),
        "not_before": end - timedelta(days=90),
        "not_after": end,
        "renew_at": end - timedelta(days=30),
        **fields,
    }
    cell = api.store.observed
    cell.set(cell.value.with_certificates([CertificateFact(name=NAME, **known)]))


async def test_certificates_are_listed(zexio: Zexio, held: Api) -> None:
    """With when they end, and when they are renewed."""
    lines = (await zexio("certs", "ls", "--admin", held.url)).out.splitlines()
    assert lines[1].split() == [NAME, "active", "letsencrypt", "in", "60", "d", "in", "30", "d", "-"]
    report(held, -1.5, attempts=4, last_error="refused", next_try=NOW + timedelta(hours=3, minutes=30))
    lines = (await zexio("certs", "ls", "--admin", held.url)).out.splitlines()
    assert lines[1].split()[3:] == ["EXPIRED", "36", "h", "ago", "in", "3", "h", "refused"]
    listed = json.loads((await zexio("certs", "ls", "-q", "other", "--json", "--admin", held.url)).out)
    assert listed == []


async def test_a_certificate_is_shown_with_its_chain(zexio: Zexio, held: Api) -> None:
    """All that is known."""
    lines = (await zexio("certs", "show", NAME, "--admin", held.url)).out.splitlines()
    assert "status       active" in lines
    assert any(line.startswith("chain        CN=test, by CN=Middle, until ") for line in lines)
    assert json.loads((await zexio("certs", "show", NAME, "--json", "--admin", held.url)).out)["chain"]


async def test_a_renewal_is_watched(zexio: Zexio, held: Api) -> None:
    """Until there is another certificate."""
    task = started(zexio("certs", "renew", NAME, "--admin", held.url))
    await until(lambda: held.desk.asked == [("renew", NAME)])
    before = held.store.observed.value.certificates[NAME].fingerprint
    report(held, fingerprint=before, step="ordering")
    await asyncio.sleep(0.05)
    report(held, fingerprint="new")
    result = await task
    assert (result.code, "there is a certificate of letsencrypt" in result.out) == (0, True)


async def test_a_renewal_that_fails_says_why(zexio: Zexio, held: Api) -> None:
    """And the old certificate goes on."""
    task = started(zexio("certs", "renew", NAME, "--admin", held.url))
    await until(lambda: held.desk.asked)
    before = held.store.observed.value.certificates[NAME].fingerprint
    report(held, fingerprint=before, attempts=1, last_error="refused", next_try=NOW + timedelta(hours=6))
    result = await task
    assert (result.code, "yet: refused; the next try is at" in result.err) == (1, True)
    assert (await zexio("certs", "renew", NAME, "--no-wait", "--admin", held.url)).code == 0


async def test_a_certificate_is_revoked(zexio: Zexio, held: Api) -> None:
    """For a reason."""
    result = await zexio("certs", "revoke", NAME, "--reason", "key_compromise", "--admin", held.url)
    assert (result.out, held.desk.asked) == (
        f"the certificate for {NAME} is revoked\n",
        [("revoke", NAME, "key_compromise")],
    )


async def test_a_certificate_is_imported_from_files(zexio: Zexio, held: Api, issued: Issued, tmp_path: Path) -> None:
    """From one, or from two."""
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(issued.chain)
    key.write_bytes(issued.key)
    result = await zexio("certs", "import", str(chain), "--key", str(key), "--admin", held.url)
    assert (result.code, result.out.startswith(f"{NAME} has the certificate for {NAME}, valid until")) == (0, True)
    result = await zexio("certs", "import", str(chain), "--admin", held.url)
    assert (result.code, "one private key" in result.err) == (1, True)
    chain.write_bytes(b"\xff")
    for name in (chain, tmp_path / "nowhere.pem"):
        result = await zexio("certs", "import", str(name), "--admin", held.url)
        assert (result.code, str(name) in result.err) == (2, True)


async def test_a_certificate_is_exported(zexio: Zexio, held: Api, issued: Issued, tmp_path: Path) -> None:
    """To standard output, or into a file that is new and for its owner alone."""
    line = ("certs", "export", NAME, "--admin", held.url)
    assert (await zexio(*line)).out == issued.chain.decode()
    assert json.loads((await zexio(*line, "--with-key", "--json")).out)["pem"] == (issued.chain + issued.key).decode()
    path = tmp_path / "shop.pem"
    assert (await zexio(*line, "--with-key", "--out", str(path))).out == ""
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (issued.chain + issued.key, 0o600)
    result = await zexio(*line, "--out", str(path))
    assert (result.code, "exists already" in result.err) == (1, True)
    result = await zexio(*line, "--out", str(path / "below"))
    assert (result.code, result.err.startswith("zexio: --out: ")) == (1, True)


async def test_an_imported_certificate_is_removed(zexio: Zexio, held: Api) -> None:
    """Quietly, as domains are."""
    result = await zexio("certs", "rm", NAME, "--admin", held.url)
    assert (result.code, result.out, held.desk.asked[-1]) == (0, "", ("remove", NAME))
    result = await zexio("certs", "rm", "other.example.com", "--admin", held.url)
    assert (result.code, "has no certificate here" in result.err) == (1, True)
    assert json.loads((await zexio("certs", "rm", NAME, "--json", "--admin", held.url)).out) == {"removed": NAME}


async def test_the_root_is_printed_alone(zexio: Zexio, held: Api) -> None:
    """What to do with it is for people, and not for the file."""
    result = await zexio("certs", "trust", "--admin", held.url)
    assert (result.out, "update-ca-certificates" in result.err) == ("the root", True)
    assert max(map(len, result.err.splitlines())) <= 120
    assert json.loads((await zexio("certs", "trust", "--json", "--admin", held.url)).out) == {"pem": "the root"}


async def test_another_program_is_no_node(zexio: Zexio) -> None:
    """Whatever it answers, there is one line and no traceback."""
    async with answering("{}") as url:
        for action in (("ls",), ("show", NAME), ("renew", NAME), ("revoke", NAME)):
            result = await zexio("certs", *action, "--admin", url)
            assert (result.code, len(result.err.splitlines())) == (1, 1)


def started(command: Any) -> asyncio.Task[Result]:  # noqa: ANN401  what runs a command
    """It is under way."""
    return asyncio.get_running_loop().create_task(command, name="command")
