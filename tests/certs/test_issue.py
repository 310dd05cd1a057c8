"""Issuances against pebble: every challenge, every death, and an authority that does not keep its word."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from cryptography import x509

from certs.errors import IssueError
from certs.issue import fetch_renewal_info, issue, revoke
from certs.keys import certificates, common_name, is_same_key, leaf_of, make_key
from certs.order import GRAVE, SETBACKS, IssueRequest, OrderState
from certs.ports import Task
from certs.settings import ChallengeType
from tests.certs.issuing import Issuing, Killed
from tests.certs.scripted import Reply, ScriptedAuthority, leaf_with_authority_key
from tests.support.challenge_server import TxtSolver
from tests.support.pebble import Pebble, PebbleOptions

ACME = "urn:ietf:params:acme:error:"
STEPS = ("account", "ordering", "presenting", "validating", "finalizing", "downloading")


@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01", "dns-01"])
async def test_a_certificate_by_each_challenge(issuing: Issuing, challenge: ChallengeType) -> None:
    """It is for the name, by pebble's root, and nothing stays on show."""
    issued = await issuing.issue("one.example", challenges=(challenge,))
    assert issued.bundle.names == ("one.example",)
    assert is_same_key(issued.bundle.key, issued.bundle.chain)
    chain = [*certificates(issued.bundle.chain), x509.load_pem_x509_certificate(issuing.pebble.root().encode())]
    chain[-2].verify_directly_issued_by(chain[-1])
    assert issuing.steps == [(step, challenge if step in {"presenting", "validating"} else None) for step in STEPS]
    assert issuing.stage.is_empty


async def test_a_wildcard_and_the_name_itself(issuing: Issuing) -> None:
    """Two values at one TXT name, validated together; HTTP-01, though wanted first, cannot do it."""
    issued = await issuing.issue("wild.example", "*.wild.example", challenges=("http-01", "dns-01"))
    assert set(issued.bundle.names) == {"wild.example", "*.wild.example"}
    assert ("presenting", "dns-01") in issuing.steps


async def test_an_rsa_key(issuing: Issuing) -> None:
    """The key type of a request is that of the certificate."""
    issued = await issuing.issue("rsa.example", key_type="rsa2048")
    assert leaf_of(issued.bundle.chain).key_type == "rsa2048"


async def test_an_address(issuing: Issuing) -> None:
    """RFC 8738: an address is validated as it is."""
    issued = await issuing.issue("127.0.0.1")
    assert issued.bundle.names == ("127.0.0.1",)


async def test_many_at_once_share_one_account(issuing: Issuing) -> None:
    """Each has a client of its own; the account is made once."""
    accounts = issuing.pebble.count("sign-me-up")
    names = [f"many-{number}.example" for number in range(8)]
    issued = await asyncio.gather(*(issuing.issue(name) for name in names))
    assert [one.bundle.names for one in issued] == [(name,) for name in names]
    assert len({one.bundle.key for one in issued}) == 8
    assert issuing.pebble.count("sign-me-up") - accounts == 1


# Deaths: an order is made three saves long, and six steps.


@pytest.mark.parametrize("moment", [1, 2, 3])
@pytest.mark.parametrize("when", ["before_save", "after_save"])
async def test_a_death_at_any_save_costs_no_second_order(issuing: Issuing, when: str, moment: int) -> None:
    """Not even when the authority made the order and its URL was not saved: pebble lists the orders of an account."""
    name, orders = f"{when[:5]}-{moment}.example".replace("_", ""), issuing.orders
    setattr(issuing, when, moment)
    with pytest.raises(Killed):
        await issuing.issue(name)
    issued = await issuing.resumed(name)
    assert issuing.orders - orders == 1
    if issuing.saved:
        assert issued.bundle.key == issuing.saved[0].key
    assert issuing.stage.is_empty


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("challenge", ["http-01", "dns-01"])
async def test_a_death_at_any_step_costs_no_second_order(issuing: Issuing, step: str, challenge: ChallengeType) -> None:
    """What was on show is taken away by the next process."""
    name, orders = f"{step}-{challenge}.example", issuing.orders
    issuing.at_step = step
    with pytest.raises(Killed):
        await issuing.issue(name, challenges=(challenge,))
    await issuing.resumed(name, challenges=(challenge,))
    assert issuing.orders - orders == 1
    assert issuing.stage.is_empty


async def test_a_cancelled_issuance_takes_its_answers_away_and_goes_on_later(issuing: Issuing) -> None:
    """As at a shutdown."""
    reached, release = asyncio.Event(), asyncio.Event()

    class Slow(TxtSolver):
        async def present(self, task: Task) -> None:
            await super().present(task)
            reached.set()
            await release.wait()

    issuing.solvers["dns-01"] = slow = Slow(issuing.pebble.dns)
    orders = issuing.orders
    work = asyncio.get_running_loop().create_task(issuing.issue("slow.example", challenges=("dns-01",)))
    await reached.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert not slow.values
    release.set()
    await issuing.resumed("slow.example", challenges=("dns-01",))
    assert issuing.orders - orders == 1


async def test_what_is_left_of_another_wish_is_taken_away(issuing: Issuing) -> None:
    """A state for other names serves no more, but its challenges may still be on show."""
    issuing.at_step = "validating"
    with pytest.raises(Killed):
        await issuing.issue("old.example")
    assert issuing.stage.tokens
    issued = await issuing.resumed("new.example")
    assert issued.bundle.names == ("new.example",)
    assert issuing.stage.is_empty


async def test_the_order_of_a_state_may_have_gone(issuing: Issuing) -> None:
    """Authorities forget orders, and give up those that nobody answers."""
    issuing.after_save = 2
    with pytest.raises(Killed):
        await issuing.issue("gone.example")
    lost = issuing.saved[-1]
    issuing.saved.append(msgspec.structs.replace(lost, order=f"{lost.order}x"))
    issued = await issuing.resumed("gone.example")
    assert issued.bundle.key == lost.key


# Challenges that fail


async def test_the_next_challenge_is_tried_when_one_fails(issuing: Issuing) -> None:
    """With a new order, for the old one is invalid; the key stays."""
    orders = issuing.orders

    class Nothing:
        async def present(self, task: Task) -> None: ...
        async def withdraw(self, task: Task) -> None: ...

    issuing.solvers["http-01"] = Nothing()
    issued = await issuing.issue("rotated.example", challenges=("http-01", "tls-alpn-01", "dns-01"))
    assert issuing.orders - orders == 2
    assert [challenge for step, challenge in issuing.steps if step == "presenting"] == ["http-01", "tls-alpn-01"]
    assert issued.bundle.key == issuing.saved[0].key
    assert issuing.stage.is_empty


async def test_a_solver_that_fails_costs_no_order(issuing: Issuing) -> None:
    """The authority has not looked yet, so another challenge of the same authorization will do."""

    class Broken:
        async def present(self, task: Task) -> None:
            raise IssueError("solver", "the provider refuses")

        async def withdraw(self, task: Task) -> None:
            raise OSError("and again")

    issuing.solvers["dns-01"] = Broken()
    orders = issuing.orders
    await issuing.issue("broken.example", challenges=("dns-01", "http-01"))
    assert issuing.orders - orders == 1


async def test_when_all_challenges_fail_each_reason_is_told(issuing: Issuing) -> None:
    """And the next attempt begins with a new order and all challenges."""
    await issuing.stage.__aexit__()
    with pytest.raises(IssueError) as caught:
        await issuing.issue("shut.example", challenges=("http-01", "tls-alpn-01"))
    assert caught.value.kind == "connection"
    assert caught.value.identifier == "shut.example"
    assert caught.value.detail.startswith("http-01: ")
    assert "; tls-alpn-01: " in caught.value.detail
    left = issuing.saved[-1]
    assert (left.phase, left.tried, left.order) == ("made", (), None)
    await issuing.stage.__aenter__()
    issued = await issuing.resumed("shut.example")
    assert issued.bundle.key != left.key


async def test_a_challenge_that_nobody_here_can_answer(issuing: Issuing) -> None:
    """A wildcard without DNS-01 is told before anything is on show."""
    with pytest.raises(IssueError, match=r"for \*\.wild\.example the authority takes dns-01, which is not") as caught:
        await issuing.issue("*.wild.example", challenges=("http-01", "tls-alpn-01"))
    assert caught.value.kind == "solver"
    assert not issuing.stage.shown


# Peculiar authorities


async def test_an_external_account(issuing: Issuing) -> None:
    """Bound by an HMAC key; without one the reason is told before the authority is asked."""
    key = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"
    with Pebble(PebbleOptions(external_accounts={"kid-1": key}, always_valid=True)) as bound:
        spec = {"directory": bound.directory, "roots": bound.ca_file}
        with pytest.raises(IssueError, match="pebble needs eab_kid and eab_hmac_file"):
            await issuing.issue("eab.example", spec=spec)
        with pytest.raises(IssueError, match="not base64url"):
            await issuing.issue("eab.example", spec={**spec, "eab_kid": "kid-1", "eab_hmac": "a"})
        with pytest.raises(IssueError, match="pebble made no account with eab_kid and eab_hmac_file: "):
            await issuing.issue("eab.example", spec={**spec, "eab_kid": "kid-2", "eab_hmac": key})
        await issuing.issue("eab.example", spec={**spec, "eab_kid": "kid-1", "eab_hmac": key})


async def test_the_chain_below_a_root_of_choice(issuing: Issuing) -> None:
    """Where no chain ends there, the authority's own choice is taken."""
    with Pebble(PebbleOptions(alternate_roots=2, always_valid=True)) as several:
        spec = {"directory": several.directory, "roots": several.ca_file}
        for number in (0, 1, 2):
            root = common_name(x509.load_pem_x509_certificate(several.root(number).encode()).subject)
            issued = await issuing.issue("chain.example", spec={**spec, "chain": root})
            assert common_name(certificates(issued.bundle.chain)[-1].issuer) == root
        await issuing.issue("chain.example", spec={**spec, "chain": "No Such Root"})


async def test_refused_nonces_are_tried_again(issuing: Issuing) -> None:
    """Six of ten are refused, and nobody notices."""
    with Pebble(PebbleOptions(nonce_reject=60, always_valid=True)) as picky:
        spec = {"directory": picky.directory, "roots": picky.ca_file}
        await asyncio.gather(*(issuing.issue(f"nonce-{number}.example", spec=spec) for number in range(8)))
        assert picky.count("order-plz") > 8


async def test_an_account_that_was_forgotten_is_made_anew(issuing: Issuing) -> None:
    """An order of that account has gone with it."""
    with Pebble(PebbleOptions(always_valid=True)) as forgetful:
        spec = {"directory": forgetful.directory, "roots": forgetful.ca_file}
        await issuing.issue("before.example", spec=spec)
        issuing.at_step = "validating"
        with pytest.raises(Killed):
            await issuing.issue("after.example", spec=spec)
        forgetful.restart()
        await issuing.resumed("after.example", spec=spec)
        assert forgetful.count("order-plz") == 1


async def test_a_name_that_the_authority_will_not_have(issuing: Issuing) -> None:
    """The kind and the words are the authority's, and no order is thought to be under way."""
    with Pebble(PebbleOptions(blocklist=("blocked.example",))) as strict:
        spec = {"directory": strict.directory, "roots": strict.ca_file}
        with pytest.raises(IssueError) as caught:
            await issuing.issue("www.blocked.example", spec=spec)
    assert caught.value.kind == "rejectedIdentifier"
    assert caught.value.status == 400
    assert issuing.saved[-1].phase == "made"


async def test_an_authority_that_is_not_there(issuing: Issuing) -> None:
    """The host is named, and nothing else of the inside of a library."""
    with pytest.raises(IssueError) as caught:
        await issuing.issue("a.example", spec={"directory": "https://127.0.0.1:1/dir"})
    assert caught.value.kind == "unreachable"
    assert str(caught.value) == "127.0.0.1: Connection refused"


async def test_an_authority_that_is_not_trusted(issuing: Issuing) -> None:
    """Its certificate is held against the usual roots unless others are given."""
    with pytest.raises(IssueError, match="localhost: its certificate is not trusted"):
        await issuing.issue("a.example", spec={"roots": None})


async def test_a_time_limit_leaves_the_order_to_the_next_attempt(
    issuing: Issuing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some times; then another order is made."""
    limits: list[asyncio.Timeout] = []
    timeout = asyncio.timeout

    def noted(seconds: float) -> asyncio.Timeout:
        limits.append(timeout(seconds))
        return limits[-1]

    class Hanging:
        async def present(self, task: Task) -> None:
            # The limit is reached here, however slow the machine is.
            limits[0].reschedule(asyncio.get_running_loop().time())
            await asyncio.Event().wait()

        async def withdraw(self, task: Task) -> None: ...

    monkeypatch.setattr(asyncio, "timeout", noted)
    issuing.solvers["http-01"], works = Hanging(), issuing.solvers["http-01"]
    orders = issuing.orders
    for attempt in range(SETBACKS // GRAVE):
        limits.clear()
        with pytest.raises(IssueError, match="no certificate after 20 s, while presenting") as caught:
            await issuing.resumed("late.example")
        assert caught.value.kind == "timeout"
        assert (issuing.saved[-1].order is None) == (attempt == SETBACKS // GRAVE - 1)
    assert issuing.orders - orders == 1
    issuing.solvers["http-01"] = works
    await issuing.resumed("late.example")
    assert issuing.orders - orders == 2


@pytest.mark.parametrize("allowed", [0, 1])
async def test_nothing_is_ordered_when_the_budget_says_no(issuing: Issuing, allowed: int) -> None:
    """When that keeps another challenge from being tried, the failure of the first is what is told."""
    orders = issuing.orders

    async def may_order() -> None:
        if issuing.orders - orders >= allowed:
            raise IssueError("budget", "enough for this week")

    async def save(state: OrderState) -> None: ...

    class Nothing:
        async def present(self, task: Task) -> None: ...
        async def withdraw(self, task: Task) -> None: ...

    request = IssueRequest(names=("a.example",), issuer=issuing.spec, directory=issuing.spec.directory)
    with pytest.raises(IssueError) as caught:
        await issue(
            request,
            None,
            save=save,
            accounts=issuing.accounts,
            solvers={**issuing.solvers, "http-01": Nothing()},
            progress=lambda _step, _challenge: None,
            may_order=may_order,
        )
    assert caught.value.kind == ("unauthorized" if allowed else "budget")
    assert issuing.orders - orders == allowed


# Afterwards


@pytest.mark.parametrize("is_by_key", [False, True])
@pytest.mark.parametrize("reason", ["superseded", "key_compromise"])
async def test_revocation(issuing: Issuing, reason: str, is_by_key: bool) -> None:
    """By the account or by the certificate's own key; a second time is no error."""
    bundle = (await issuing.issue("revoked.example")).bundle
    key = bundle.key if is_by_key else None
    for _ in range(2):
        await revoke(
            issuing.spec,
            issuing.pebble.directory,
            accounts=issuing.accounts,
            leaf_pem=bundle.chain,
            reason="superseded" if reason == "superseded" else "key_compromise",
            key_pem=key,
        )
    assert issuing.pebble.status(leaf_of(bundle.chain).serial) == "Revoked"


async def revoked(issuing: Issuing, authority: ScriptedAuthority, key: bytes | None) -> None:
    """Have a certificate revoked by an authority that says what it is told to."""
    spec = msgspec.structs.replace(issuing.spec, directory=f"{authority.url}/dir", roots=None)
    leaf = leaf_with_authority_key()
    await revoke(
        spec, spec.directory, accounts=issuing.accounts, leaf_pem=leaf, reason="cessation_of_operation", key_pem=key
    )


async def test_who_may_revoke(issuing: Issuing, authority: ScriptedAuthority) -> None:
    """The certificate's key where the account may not; what is revoked already is revoked."""
    refusal = Reply(403, {"type": f"{ACME}unauthorized", "detail": "not yours"})
    authority.says["/revoke"] = [refusal, Reply()]
    await revoked(issuing, authority, make_key("p256"))
    assert [body["reason"] for _, path, body in authority.asked if path == "/revoke"] == [5, 5]
    authority.says["/revoke"] = [refusal]
    with pytest.raises(IssueError, match="not yours"):
        await revoked(issuing, authority, b"no key")
    authority.says["/revoke"] = [Reply(400, {"type": f"{ACME}alreadyRevoked"})]
    await revoked(issuing, authority, None)


async def test_a_revocation_that_fails_for_another_reason(issuing: Issuing, authority: ScriptedAuthority) -> None:
    """It is to be tried again, not to be done otherwise."""
    authority.says["/revoke"] = [Reply(500)]
    with pytest.raises(IssueError) as caught:
        await revoked(issuing, authority, make_key("p256"))
    assert caught.value.status == 500
    assert authority.count("/revoke") == 1


async def test_requests_that_take_for_ever(
    issuing: Issuing, authority: ScriptedAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is a limit to them too."""
    monkeypatch.setattr("certs.issue.REQUESTS_S", 0.01)
    authority.says["/dir"] = [Reply(raw=b"HTTP/1.1 200 OK\r\n", is_open=True)]
    with pytest.raises(IssueError, match=r"did not answer within 0\.01 s") as caught:
        await revoked(issuing, authority, None)
    assert caught.value.kind == "timeout"


async def test_renewal_info_of_what_cannot_be_asked_about(issuing: Issuing, authority: ScriptedAuthority) -> None:
    """There is none."""
    authority.says["/dir"] = [Reply(body=authority.directory(renewalInfo=f"{authority.url}/ari"))]
    spec = msgspec.structs.replace(issuing.spec, directory=f"{authority.url}/dir", roots=None)
    assert await fetch_renewal_info(spec, spec.directory, b"no certificate") is None


async def test_an_authority_that_knows_no_renewal_info(issuing: Issuing) -> None:
    """As pebble 2.4."""
    bundle = (await issuing.issue("ari.example")).bundle
    assert await fetch_renewal_info(issuing.spec, issuing.pebble.directory, bundle.chain) is None


async def test_nothing_secret_is_logged(issuing: Issuing, caplog: pytest.LogCaptureFixture) -> None:
    """Not even with everything at DEBUG."""
    caplog.set_level("DEBUG")
    issued = await issuing.issue("quiet.example")
    (account,) = await issuing.accounts._shelf.since()
    assert account.body is not None
    key = account.body.split(b"-----")[2].decode().strip()
    for record in caplog.records:
        said = record.getMessage()
        assert "PRIVATE KEY" not in said
        assert key[:30] not in said
        assert "protected" not in said
    assert "PRIVATE" not in repr(issued)
