"""The authority of the tests is up when it says so, obeys its options, and forgets."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest
import requests

from tests.support.pebble import Pebble, PebbleOptions, free_ports


@pytest.fixture(scope="module")
def pebble() -> Iterator[Pebble]:
    """One with everything that can be told from outside."""
    options = PebbleOptions(alternate_roots=1, external_accounts={"kid-1": "c2VjcmV0LXNlY3JldC1zZWNyZXQ"})
    with Pebble(options) as started:
        yield started


def asked(pebble: Pebble, name: str, kind: str) -> dns.message.Message:
    """What the name server says."""
    question = dns.message.make_query(name, kind)
    return dns.query.udp(question, "127.0.0.1", port=pebble.dns.port, timeout=5)


def directory(pebble: Pebble) -> dict[str, object]:
    """The ACME directory, fetched by a client that trusts the listener's CA."""
    answer = requests.get(pebble.directory, verify=str(pebble.ca_file), timeout=5)
    found: dict[str, object] = answer.json()
    return found


def test_it_is_ready_and_trusted_by_its_own_file(pebble: Pebble) -> None:
    """Options show in the directory; nothing but `ca_file` is needed to talk to it."""
    found = directory(pebble)
    assert "newOrder" in found
    assert found["meta"] == {
        "externalAccountRequired": True,
        "termsOfService": "data:text/plain,Do%20what%20thou%20wilt",
    }
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(pebble.directory, timeout=5)


def test_roots_and_intermediates(pebble: Pebble) -> None:
    """One for each alternate chain, and a context that trusts them all."""
    assert pebble.root(0) != pebble.root(1)
    assert pebble.intermediate().startswith("-----BEGIN CERTIFICATE-----")
    assert len(pebble.visitor_context().get_ca_certs()) == 2


def test_its_name_server_says_what_it_was_told(pebble: Pebble) -> None:
    """Values are added and cleared; unknown names have the loopback address."""
    pebble.dns.set_txt("_acme-challenge.a.example", "one")
    pebble.dns.set_txt("_acme-challenge.a.example", "two")
    assert len(asked(pebble, "_acme-challenge.a.example", "TXT").answer[0]) == 2
    pebble.dns.clear_txt("_acme-challenge.a.example")
    assert not asked(pebble, "_acme-challenge.a.example", "TXT").answer
    pebble.dns.add_a("a.example", "192.0.2.1")
    pebble.dns.add_aaaa("a.example", "2001:db8::1")
    assert "192.0.2.1" in str(asked(pebble, "a.example", "A").answer)
    assert "2001:db8::1" in str(asked(pebble, "a.example", "AAAA").answer)
    pebble.dns.clear_a("a.example")
    pebble.dns.clear_aaaa("a.example")
    assert "127.0.0.1" in str(asked(pebble, "a.example", "A").answer)
    assert not asked(pebble, "a.example", "AAAA").answer
    pebble.dns.add_caa("a.example", ("issue", "ca.example"))
    assert "ca.example" in str(asked(pebble, "a.example", "CAA").answer)
    pebble.dns.clear_caa("a.example")
    pebble.dns.set_cname("b.example", "c.example")
    assert "c.example." in str(asked(pebble, "b.example", "CNAME").answer)
    pebble.dns.clear_cname("b.example")
    pebble.dns.set_servfail("d.example")
    assert asked(pebble, "d.example", "A").rcode() == dns.rcode.SERVFAIL
    pebble.dns.clear_servfail("d.example")
    assert asked(pebble, "d.example", "A").rcode() == dns.rcode.NOERROR


def test_a_restart_forgets_at_the_same_address() -> None:
    """The roots are others then; records of the name server stay."""
    with Pebble() as pebble:
        pebble.dns.add_a("stays.example", "192.0.2.9")
        before, root = pebble.directory, pebble.root()
        pebble.restart()
        assert pebble.directory == before
        assert pebble.root() != root
        assert "192.0.2.9" in str(asked(pebble, "stays.example", "A").answer)
        folder = Path(pebble.ca_file).parent
        processes = list(pebble._processes)
    assert not folder.exists()
    assert [process.poll() for process in processes] == [-9, -9]


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed (Debian package util-linux)")
def test_it_dies_with_a_run_that_is_killed() -> None:
    """Nobody else would end it."""
    script = (
        "import time; from tests.support.pebble import Pebble\n"
        "pebble = Pebble().__enter__(); print(*(each.pid for each in pebble._processes), pebble._folder, flush=True)\n"
        "time.sleep(50)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        *pids, folder = run.stdout.readline().split()
        run.kill()
    try:
        assert len(pids) == 2
        # What is left of a dead process until somebody asks for its end has no command line.
        while any(path.exists() and path.read_bytes() for path in (Path(f"/proc/{pid}/cmdline") for pid in pids)):
            time.sleep(0.01)
    finally:
        shutil.rmtree(folder)


def test_it_is_skipped_loudly_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Debian package is named."""
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(pytest.skip.Exception, match="Debian package pebble"), Pebble():
        pass


def test_free_ports_are_different_ones() -> None:
    """Even when many are wanted."""
    assert len(set(free_ports(50))) == 50
