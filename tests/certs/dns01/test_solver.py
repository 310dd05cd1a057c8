"""Challenges are answered in the zone, side by side, and only the own answer is taken away."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import sys
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path

import dns.tsig
import pytest

from certs.dns01.command import Command
from certs.dns01.rfc2136 import Rfc2136
from certs.dns01.solver import DnsSolver, provider_of, solver_of, value_of
from certs.errors import IssueError
from certs.ports import Task
from certs.resolve import Resolver
from certs.settings import CertsSettings, Rfc2136Spec
from state.store import Store
from tests.certs.issuing import Issuing
from tests.support.challenge_server import ChallengeServer
from tests.support.dns_server import DnsServer
from tests.support.pebble import Pebble

ZONES = ("acme.example.net",)
HOOK = """
import json, sys, urllib.request
port, act, name, value = sys.argv[1:]
path = {"set": "set-txt", "remove": "clear-txt"}[act]
body = json.dumps({"host": name + ".", "value": value}).encode()
urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", body).close()
"""


def task(name: str, token: str, *, is_wildcard: bool = False) -> Task:
    """A challenge."""
    return Task(name=name, is_wildcard=is_wildcard, type="dns-01", token=token, key_authorization=f"{token}.thumbprint")


@pytest.fixture
def solver(server: DnsServer, resolver: Resolver, key: dns.tsig.Key, tmp_path: Path) -> DnsSolver:
    """With a provider that updates the server."""
    path = tmp_path / "key"
    path.write_text(f'key "updates" {{ secret "{base64.b64encode(key.secret).decode()}"; }};')
    path.chmod(0o600)
    provider = Rfc2136(Rfc2136Spec(server=server.where, key_file=path), resolver)
    return DnsSolver(provider, resolver, zones=ZONES, propagation_s=20, pause_s=0.005)


async def test_a_customer_cannot_lead_us_anywhere(solver: DnsSolver, server: DnsServer) -> None:
    """Into a zone that we may change for another purpose, say; taking away what was not made is quiet."""
    strict = DnsSolver(solver._provider, solver._resolver)
    one = task("delegated.example.com", "a")
    with pytest.raises(IssueError, match=r"certs\.dns_delegation"):
        await strict.present(one)
    await strict.withdraw(one)
    assert server.texts("delegated.acme.example.net") == []


def test_the_value_is_that_of_the_rfc() -> None:
    """RFC 8555 section 8.4: base64url of SHA-256, without padding."""
    digest = hashlib.sha256(b"a.thumbprint").digest()
    assert base64.urlsafe_b64decode(value_of(task("a.example.com", "a")) + "=") == digest
    assert len(value_of(task("a.example.com", "a"))) == 43


async def test_a_name_and_its_wildcard_are_answered_together(server: DnsServer, solver: DnsSolver) -> None:
    """At one place, and each goes alone."""
    apex, wildcard = task("shop.example.com", "a"), task("shop.example.com", "b", is_wildcard=True)
    place = "_acme-challenge.shop.example.com"
    await asyncio.gather(solver.present(apex), solver.present(wildcard))
    assert sorted(server.texts(place)) == sorted([value_of(apex), value_of(wildcard)])
    await solver.withdraw(apex)
    assert server.texts(place) == [value_of(wildcard)]
    await solver.withdraw(wildcard)
    await solver.withdraw(wildcard)
    assert server.texts(place) == []


async def test_names_may_delegate_to_one_place(server: DnsServer, solver: DnsSolver) -> None:
    """In a zone of its own, the only one that is changed."""
    tasks = [task("delegated.example.com", "a"), task("also.example.com", "b")]
    await asyncio.gather(*(solver.present(one) for one in tasks))
    assert sorted(server.texts("delegated.acme.example.net")) == sorted(value_of(one) for one in tasks)
    await asyncio.gather(*(solver.withdraw(one) for one in tasks))
    assert server.texts("delegated.acme.example.net") == []


async def test_after_a_restart_the_answer_is_found_again(server: DnsServer, solver: DnsSolver) -> None:
    """Who withdraws need not be who presented."""
    one = task("delegated.example.com", "a")
    await solver.present(one)
    await DnsSolver(solver._provider, solver._resolver, zones=ZONES).withdraw(one)
    assert server.texts("delegated.acme.example.net") == []


async def test_it_is_withdrawn_from_where_it_was_made(server: DnsServer, solver: DnsSolver) -> None:
    """Though the CNAME has changed since."""
    one = task("delegated.example.com", "a")
    await solver.present(one)
    server.put("_acme-challenge.delegated.example.com")
    await solver.withdraw(one)
    assert server.texts("delegated.acme.example.net") == []


async def test_a_value_that_does_not_spread_is_a_failure(server: DnsServer, resolver: Resolver) -> None:
    """And can still be withdrawn."""
    provider = Notes()
    solver = DnsSolver(provider, resolver, zones=ZONES, propagation_s=0.5, pause_s=0.005)
    one = task("shop.example.com", "a")
    with pytest.raises(IssueError, match="is not seen everywhere"):
        await solver.present(one)
    await solver.withdraw(one)
    assert [call[0] for call in provider.calls] == ["set", "remove"]


async def test_calls_for_one_place_come_one_at_a_time(server: DnsServer, resolver: Resolver) -> None:
    """Those for other places meanwhile."""
    provider = Notes()
    solver = DnsSolver(provider, resolver, zones=ZONES, propagation_s=0.02, pause_s=0.005)
    names = ("delegated.example.com", "also.example.com", "shop.example.com")
    provider.gate.clear()
    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(quietly(solver.present(task(name, name))), name=name)
        await provider.two.wait()
        provider.gate.set()
    assert provider.most == {"delegated.acme.example.net": 1, "_acme-challenge.shop.example.com": 1}
    assert len(provider.calls) == 3
    assert len(solver._turns) == 0


async def quietly(presenting: Awaitable[None]) -> None:
    """Whether the value was seen is not the question."""
    with contextlib.suppress(IssueError):
        await presenting


@pytest.mark.needs("pebble", "pebble-challtestsrv")
async def test_an_authority_accepts_a_name_and_its_wildcard(
    server: DnsServer, solver: DnsSolver, store: Store, stage: ChallengeServer
) -> None:
    """By updates, at a delegated place; nothing stays behind."""
    names = ("delegated.example.com", "*.delegated.example.com")
    with AskingPebble(server.port) as pebble:
        issuing = Issuing(pebble, store, stage)
        issuing.solvers["dns-01"] = solver
        issued = await issuing.issue(*names, challenges=("dns-01",))
    assert set(issued.bundle.names) == set(names)
    assert server.updates == 4
    assert server.texts("delegated.acme.example.net") == []


@pytest.mark.needs("pebble", "pebble-challtestsrv")
async def test_an_authority_accepts_what_a_command_made(issuing: Issuing, tmp_path: Path) -> None:
    """Where the zone's servers cannot be found the resolvers say when it is seen."""
    hook = tmp_path / "hook.py"
    hook.write_text(HOOK)
    command = Command([sys.executable, str(hook), str(issuing.pebble.dns._management)])
    issuing.solvers["dns-01"] = DnsSolver(command, Resolver([issuing.pebble.dns.address]), pause_s=0.02)
    issued = await issuing.issue("*.hooked.example.com", challenges=("dns-01",))
    assert issued.bundle.names == ("*.hooked.example.com",)


def test_the_settings_choose_the_provider(resolver: Resolver) -> None:
    """Updates, the command, or none."""
    spec = Rfc2136Spec(server="192.0.2.1:53")
    assert isinstance(provider_of(CertsSettings(rfc2136=spec, dns_command=("hook",)), resolver), Rfc2136)
    assert isinstance(provider_of(CertsSettings(dns_command=("hook",)), resolver), Command)
    assert solver_of(CertsSettings(), resolver) is None
    solver = solver_of(CertsSettings(dns_command=("hook",), dns_propagation_s=7), resolver)
    assert solver is not None
    assert solver._propagation_s == 7


class AskingPebble(Pebble):
    """An authority that asks a name server of ours."""

    def __init__(self, port: int) -> None:
        """Which listens on `port`."""
        super().__init__()
        self._name_server = port

    def _start_authority(self) -> None:
        self.dns.port = self._name_server
        super()._start_authority()


class Notes:
    """A provider that only notes how it is called; calls wait for its gate."""

    def __init__(self) -> None:
        """No calls yet, and none is held up."""
        self.calls: list[tuple[str, str, str]] = []
        self.most: Counter[str] = Counter()
        self.gate = asyncio.Event()
        self.gate.set()
        self.two = asyncio.Event()
        self._now: Counter[str] = Counter()

    async def set(self, name: str, value: str) -> None:
        """Note it."""
        await self._note("set", name, value)

    async def remove(self, name: str, value: str) -> None:
        """Note it."""
        await self._note("remove", name, value)

    async def _note(self, verb: str, name: str, value: str) -> None:
        self.calls.append((verb, name, value))
        self._now[name] += 1
        self.most[name] = max(self.most[name], self._now[name])
        if self._now.total() == 2:
            self.two.set()
        await self.gate.wait()
        self._now[name] -= 1
