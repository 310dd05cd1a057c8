"""Handshakes that wait for a certificate: who is asked, how often, for how long, and how many may wait."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from mesh.core import Core
from mesh.on_demand import MOST_ASKED, MOST_HELD, MOST_HELD_PER_NETWORK, MOST_REFUSED
from mesh.routes import Certificate, Delta, MeshSettings, Snapshot
from tests.support.stage import until

SETTINGS = MeshSettings(on_demand_s=5.0)
NAME = "new.example.com"
ADDRESS = "192.0.2.1"


class Waiting:
    """A visitor whose handshake is held; `outcomes` says of each time it went on whether it had been refused."""

    def __init__(self) -> None:
        """Not yet."""
        self.outcomes: list[bool] = []

    def go_on(self, *, is_refused: bool) -> None:
        """Note it."""
        self.outcomes.append(is_refused)


class Asked(list[tuple[str, str]]):
    """Whom the core asks."""

    is_behind = False

    def __call__(self, name: str, address: str) -> bool:
        """Note it."""
        if not self.is_behind:
            self.append((name, address))
        return not self.is_behind


def started(settings: MeshSettings = SETTINGS) -> tuple[Core, Asked]:
    """A core without certificates."""
    core, asked = Core(Snapshot(revision=1, settings=settings)), Asked()
    core.on_demand.ask = asked
    return core, asked


def certificate(*names: str) -> Certificate:
    """One that nobody shows, as it is found by its names alone."""
    return Certificate(fingerprint=names[0], names=names, chain=b"", key=b"")


def address(number: int) -> str:
    """Each of another network."""
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def waiting(core: Core, name: str = NAME, at: str = ADDRESS) -> Waiting:
    """A visitor who is held."""
    waiter = Waiting()
    assert core.on_demand.hold(waiter, name, at)
    return waiter


def is_held(core: Core, name: str = NAME, at: str = ADDRESS) -> bool:
    """Whether one more visitor is."""
    return core.on_demand.hold(Waiting(), name, at)


async def test_a_name_is_asked_for_once_and_all_who_wait_go_on() -> None:
    """With the certificate, however many came for it."""
    core, asked = started()
    first, second, other = waiting(core), waiting(core, at="192.0.2.2"), waiting(core, "other.example.com")
    assert asked == [(NAME, ADDRESS), ("other.example.com", ADDRESS)]
    core.apply(Delta(revision=2, put_certificates=(certificate(NAME),)))
    await until(lambda: first.outcomes and second.outcomes)
    assert (first.outcomes, second.outcomes, other.outcomes) == ([False], [False], [])
    assert core.on_demand.held == 1


@pytest.mark.parametrize("change", [Delta, Snapshot])
@pytest.mark.parametrize("name", [NAME, "*.example.com", "NEW.example.com"])
async def test_any_certificate_that_covers_the_name_will_do(name: str, change: type[Delta | Snapshot]) -> None:
    """A wildcard too, by whatever change it comes."""
    core, _ = started()
    waiter = waiting(core)
    if change is Delta:
        core.apply(Delta(revision=2, put_certificates=(certificate("b.example"), certificate(name))))
    else:
        core.apply(Snapshot(revision=2, settings=SETTINGS, certificates=(certificate(name),)))
    await until(lambda: waiter.outcomes)
    assert waiter.outcomes == [False]


async def test_a_change_of_something_else_brings_nobody_on() -> None:
    """They wait for a certificate."""
    core, asked = started()
    waiter = waiting(core)
    core.apply(Delta(revision=2, put_certificates=(certificate("b.example", "*.b.example"),)))
    core.apply(Delta(revision=3, settings=msgspec.structs.replace(SETTINGS, on_demand_s=6.0)))
    waiting(core)
    assert (waiter.outcomes, len(asked), core.on_demand.held) == ([], 1, 2)


async def test_a_refusal_is_remembered_for_its_time() -> None:
    """Then the name is asked for again."""
    core, asked = started()
    waiter = waiting(core)
    core.on_demand.refused(NAME, 60.0)
    await until(lambda: waiter.outcomes)
    assert waiter.outcomes == [True]
    assert not is_held(core)
    core.now += 59.0
    assert not is_held(core, at="192.0.2.9")
    core.now += 2.0
    assert is_held(core)
    assert len(asked) == 2


async def test_a_refusal_without_a_time_is_for_those_who_wait() -> None:
    """The next visitor asks again."""
    core, asked = started()
    waiter = waiting(core)
    core.on_demand.refused(NAME, 0.0)
    await until(lambda: waiter.outcomes)
    assert is_held(core)
    assert len(asked) == 2


async def test_what_another_worker_was_told_holds_here_too() -> None:
    """The answer goes to all of them; a later one takes the place of an earlier one."""
    core, asked = started()
    core.on_demand.refused(NAME, 60.0)
    assert not is_held(core)
    core.on_demand.refused(NAME, 0.0)
    assert is_held(core)
    assert len(asked) == 1


async def test_no_refusal_holds_for_ever() -> None:
    """Whatever the answer says."""
    core, _ = started()
    core.on_demand.refused(NAME, 1e12)
    core.now += 25 * 3600
    assert is_held(core)


async def test_nobody_waits_for_nothing() -> None:
    """Without somebody to ask, when that is switched off, and when nobody listens."""
    core, asked = started(MeshSettings())
    assert not is_held(core)
    core, asked = started()
    asked.is_behind = True
    assert not is_held(core)
    core.on_demand.ask = None
    assert not is_held(core)
    assert (asked, core.on_demand.held) == ([], 0)


async def test_who_leaves_is_not_called_back() -> None:
    """Not even one who leaves between the answer and its turn."""
    core, _ = started()
    first, second, third = waiting(core), waiting(core), waiting(core)
    core.on_demand.leave(first)
    core.on_demand.refused(NAME, 1.0)
    core.on_demand.leave(second)
    await until(lambda: third.outcomes)
    assert (first.outcomes, second.outcomes, core.on_demand.held) == ([], [], 0)
    core.on_demand.leave(first)


async def test_a_question_that_nobody_answers_is_asked_again() -> None:
    """After the time that handshakes wait; an answer that comes later is good for all."""
    core, asked = started()
    early = waiting(core)
    core.now += 4.0
    late = waiting(core)
    core.now += 2.0
    latest = waiting(core)
    assert asked == [(NAME, ADDRESS)] * 2
    core.apply(Delta(revision=2, put_certificates=(certificate(NAME),)))
    await until(lambda: early.outcomes and late.outcomes and latest.outcomes)
    assert early.outcomes + late.outcomes + latest.outcomes == [False] * 3


async def test_few_may_wait_from_one_network() -> None:
    """There is room again when one of them leaves."""
    core, asked = started()
    waiters = [waiting(core) for _ in range(MOST_HELD_PER_NETWORK)]
    assert not is_held(core)
    assert is_held(core, at="192.0.2.2")
    core.on_demand.leave(waiters[0])
    assert is_held(core)
    assert len(asked) == 1


async def test_a_network_of_ipv6_is_one_visitor() -> None:
    """Most have 2^64 addresses."""
    core, _ = started()
    for number in range(MOST_HELD_PER_NETWORK):
        waiting(core, at=f"2001:db8::{number:x}")
    assert not is_held(core, at="2001:db8::ffff:1")
    assert is_held(core, at="2001:db8:0:1::1")


async def test_a_trusted_proxy_is_many_visitors() -> None:
    """It has as much room as there is, and as many names."""
    core, asked = started(MeshSettings(on_demand_s=5.0, trusted_proxies=("192.0.2.0/24",)))
    for number in range(MOST_HELD):
        waiting(core, f"n{number}.example.com")
    assert not is_held(core)
    assert (core.on_demand.held, len(asked)) == (MOST_HELD, MOST_HELD)


async def test_few_may_wait_in_all() -> None:
    """Each keeps a socket and a hello."""
    core, _ = started()
    waiters = [waiting(core, at=address(number)) for number in range(MOST_HELD)]
    assert not is_held(core, at=address(MOST_HELD))
    assert not is_held(core, "other.example.com", address(MOST_HELD))
    core.on_demand.leave(waiters[3])
    assert is_held(core, at=address(MOST_HELD))


async def test_who_asks_and_leaves_makes_no_room_for_another_question() -> None:
    """Until it is answered, or has been waited for long enough."""
    core, asked = started()
    for number in range(MOST_ASKED):
        core.on_demand.leave(waiting(core, f"n{number}.example.com", address(number)))
    assert core.on_demand.held == 0
    assert not is_held(core)
    core.on_demand.refused("n7.example.com", 1.0)
    assert is_held(core)
    assert not is_held(core, "other.example.com")
    core.now += 5.5
    assert is_held(core, "other.example.com")
    assert len(asked) == MOST_ASKED + 2


async def test_a_network_asks_for_so_many_names_at_once() -> None:
    """Then for a few a second; others are not held up by it."""
    core, asked = started()
    for number in range(2 * MOST_HELD_PER_NETWORK):
        name = f"n{number}.example.com"
        if is_held(core, name):
            core.on_demand.refused(name, 60.0)
    assert 50 <= len(asked) < MOST_HELD_PER_NETWORK
    assert not is_held(core)
    assert is_held(core, at="198.51.100.1")


async def test_refusals_are_remembered_for_a_bounded_number_of_names() -> None:
    """The oldest is forgotten first."""
    core, _ = started()
    for number in range(MOST_REFUSED + 1):
        core.on_demand.refused(f"n{number}.example.com", 60.0)
    assert is_held(core, "n0.example.com")
    assert not is_held(core, "n1.example.com")


async def test_many_who_go_on_leave_turns_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handshake takes a millisecond, and there may be a thousand."""
    core, _ = started()
    turns: list[Callable[[], None]] = []
    monkeypatch.setattr(core, "call_soon", turns.append)
    waiters = [waiting(core, at=address(number)) for number in range(100)]
    core.apply(Delta(revision=2, put_certificates=(certificate(NAME),)))
    done: list[int] = []
    while turns:
        turns.pop()()
        done.append(sum(len(waiter.outcomes) for waiter in waiters))
    assert done[-1] == 100
    assert done[0] < 50
    assert len(done) > 3


async def test_all_go_on_when_nobody_is_to_wait_any_more() -> None:
    """The settings say so, or the worker ends."""
    core, _ = started()
    waiter = waiting(core)
    core.on_demand.refused("other.example.com", 60.0)
    core.apply(Delta(revision=2, settings=MeshSettings()))
    await until(lambda: waiter.outcomes)
    assert waiter.outcomes == [True]
    core.apply(Delta(revision=3, settings=SETTINGS))
    waiter = waiting(core, "other.example.com")
    await core.drain(0.1)
    await until(lambda: waiter.outcomes)
    assert waiter.outcomes == [True]
    assert not is_held(core)
