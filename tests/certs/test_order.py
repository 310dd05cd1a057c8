"""What comes next in an issuance, and what is kept of it."""

from __future__ import annotations

import msgspec
import pytest

from certs import order
from certs.answers import Authorization, Challenge, Identifier, Order, Problem
from certs.errors import IssueError
from certs.order import IssueRequest, OrderState
from certs.ports import Task
from certs.settings import ChallengeType, IssuerSpec

ACME = "urn:ietf:params:acme:error:"
TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"

SPEC = IssuerSpec(name="ca", directory="https://ca.example/dir", staging="https://staging.example/dir", profile="short")
REQUEST = IssueRequest(names=("a.example", "*.a.example"), issuer=SPEC, directory=SPEC.directory)
STATE = OrderState(
    issuer="ca",
    directory=SPEC.directory,
    is_staging=False,
    names=REQUEST.names,
    key_type="p256",
    key=b"secret key",
    csr=b"csr",
    profile="short",
)
ORDER = Order("pending", (Identifier("dns", "a.example"),), ("u",), "finalize", url="order")
TASK = Task(name="a.example", type="http-01", token=TOKEN, key_authorization="x")


def authorization(
    *types: str, status: str = "pending", wildcard: bool = False, problem: Problem | None = None
) -> Authorization:
    """One that offers challenges of these types."""
    challenges = tuple(Challenge(kind, f"u/{kind}", token=TOKEN, error=problem) for kind in types)
    return Authorization(Identifier("dns", "A.example"), status, challenges, wildcard)


def test_a_state_is_saved_as_it_is() -> None:
    """With its tasks; its key is in what is saved and nowhere else."""
    state = STATE.ordering().ordered(ORDER).presenting("http-01", (TASK,))
    assert OrderState.decode(state.encode()) == state
    assert "secret" not in repr(state)
    with pytest.raises(ValueError, match=r"."):
        OrderState.decode(b"\x80")


@pytest.mark.parametrize(
    "change",
    [
        {"names": ("a.example",)},
        {"directory": SPEC.staging},
        {"key_type": "rsa2048"},
        {"issuer": msgspec.structs.replace(SPEC, profile="classic")},
    ],
)
def test_a_state_serves_the_wish_that_it_was_made_for(change: dict[str, object]) -> None:
    """Not another key type, profile, authority or set of names."""
    assert STATE.serves(REQUEST)
    assert not STATE.serves(msgspec.structs.replace(REQUEST, **change))


def test_a_request_knows_whether_visitors_will_trust_what_comes_of_it() -> None:
    """By the directory that is asked."""
    assert not REQUEST.is_staging
    assert msgspec.structs.replace(REQUEST, directory=SPEC.staging or "").is_staging


def test_the_phases() -> None:
    """No order, perhaps an order, an order."""
    ordering = STATE.ordering()
    ordered = ordering.ordered(ORDER)
    assert (STATE.phase, ordering.phase, ordered.phase) == ("made", "ordering", "ordered")
    assert ordered.order == "order"
    presenting = ordered.presenting("http-01", (TASK,))
    failed = presenting.failed("http-01")
    assert (failed.tried, failed.challenge, failed.tasks, failed.order) == (("http-01",), None, (), "order")
    assert failed.without_order() == msgspec.structs.replace(STATE, tried=("http-01",))
    assert failed.with_all_challenges() == ordered
    assert presenting.afresh() == STATE


@pytest.mark.parametrize(
    ("error", "times"),
    [
        (IssueError("timeout", "x"), 3),
        (IssueError("badAnswer", "x"), 3),
        (IssueError("badCSR", "x", status=400), 3),
        (IssueError("unreachable", "x"), 12),
        (IssueError("serverInternal", "x", status=502), 12),
    ],
)
def test_an_order_is_given_up_after_some_setbacks(error: IssueError, times: int) -> None:
    """And is kept until then; what may be over soon counts less."""
    state = STATE.ordering().ordered(ORDER)
    for _ in range(times - 1):
        state = state.with_setback(error)
        assert state.order == "order"
    assert state.with_setback(error) == STATE


@pytest.mark.parametrize(
    "error",
    [
        IssueError("rateLimited", "x", status=429),
        IssueError("timeout", "x", retry_after_s=60.0),
        IssueError("serverInternal", "x", status=503, retry_after_s=60.0),
        IssueError("accountDoesNotExist", "x", status=400),
    ],
)
def test_what_is_no_setback_of_an_order(error: IssueError) -> None:
    """It is to wait."""
    state = STATE.ordering().ordered(ORDER)
    assert state.with_setback(error) == state
    assert STATE.with_setback(IssueError("badAnswer", "x")) == STATE


@pytest.mark.parametrize(
    ("status", "step"), [("pending", "authorize"), ("ready", "finalize"), ("processing", "wait"), ("valid", "download")]
)
def test_what_an_order_waits_for(status: str, step: str) -> None:
    """By its status, RFC 8555 section 7.1.6."""
    assert order.step_of(msgspec.structs.replace(ORDER, status=status)) == step


@pytest.mark.parametrize(
    ("status", "problem", "kind"),
    [("invalid", Problem(f"{ACME}caa", "no"), "caa"), ("invalid", None, "badAnswer"), ("strange", None, "badAnswer")],
)
def test_orders_that_came_to_nothing(status: str, problem: Problem | None, kind: str) -> None:
    """For the authority's reason, if it has one."""
    with pytest.raises(IssueError) as caught:
        order.step_of(msgspec.structs.replace(ORDER, status=status, error=problem))
    assert caught.value.kind == kind


def test_whose_order_it_is() -> None:
    """It is for exactly these names."""
    two = msgspec.structs.replace(ORDER, identifiers=(Identifier("dns", "B.example"), Identifier("dns", "a.example")))
    assert order.is_for(two, ("a.example", "b.example"))
    assert not order.is_for(two, ("a.example",))
    assert not order.is_for(two, ("a.example", "b.example", "c.example"))


@pytest.mark.parametrize(
    ("offered", "tried", "chosen"),
    [
        ([("http-01", "dns-01")], (), "http-01"),
        ([("dns-01", "http-01")], ("http-01",), "dns-01"),
        ([("http-01", "dns-01"), ("dns-01",)], (), "dns-01"),
        ([("dns-account-01", "tls-alpn-01")], ("http-01",), "tls-alpn-01"),
    ],
)
def test_the_first_challenge_wanted_that_all_offer(
    offered: list[tuple[str, ...]], tried: tuple[ChallengeType, ...], chosen: str
) -> None:
    """And that was not tried yet."""
    authorizations = [authorization(*types) for types in offered]
    assert order.choose_challenge(authorizations, ("http-01", "tls-alpn-01", "dns-01"), tried) == chosen


@pytest.mark.parametrize(
    ("authorizations", "words"),
    [
        ([authorization("dns-01", wildcard=True)], r"for \*\.A\.example the authority takes dns-01, which"),
        ([authorization("dns-01"), authorization("tls-alpn-01")], "takes nothing, which"),
        ([authorization()], "takes nothing, which"),
    ],
)
def test_when_there_is_no_such_challenge(authorizations: list[Authorization], words: str) -> None:
    """What would be needed is told."""
    with pytest.raises(IssueError, match=words) as caught:
        order.choose_challenge(authorizations, ("http-01",), ())
    assert caught.value.kind == "solver"


def test_types_are_told_in_a_line_that_ends() -> None:
    """An authority may call a challenge anything."""
    with pytest.raises(IssueError) as caught:
        order.choose_challenge([authorization("odd\n\x1b[2J" + "x" * 10_000)], ("http-01",), ())
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) < 700


def test_a_task() -> None:
    """What is shown is the token and the thumbprint of the account (RFC 8555 section 8.1)."""
    task = order.task_of(authorization("http-01", "dns-01", wildcard=True), "dns-01", "thumb", "https://ca.example/me")
    assert task == Task(
        name="a.example",
        is_wildcard=True,
        type="dns-01",
        token=TOKEN,
        key_authorization=f"{TOKEN}.thumb",
        account="https://ca.example/me",
    )
    with pytest.raises(IssueError, match="http-01 challenge has gone"):
        order.task_of(authorization("dns-01"), "http-01", "thumb", "")


def test_why_a_validation_failed() -> None:
    """The first one that did, with its name; where none did, nothing."""
    problem = Problem(f"{ACME}connection", "refused")
    failed = authorization("http-01", status="invalid", wildcard=True, problem=problem)
    assert order.failed_validation([authorization(status="valid"), authorization()]) is None
    error = order.failed_validation([authorization(status="valid"), failed])
    assert error is not None
    assert (error.kind, error.detail, error.identifier) == ("connection", "refused", "*.A.example")
    silent = order.failed_validation([authorization("http-01", status="expired")])
    assert silent is not None
    assert silent.detail == "the authority's authorization is expired, without a reason"


def test_which_failures_another_challenge_may_do_better_after() -> None:
    """Not after a refusal of the name itself."""
    assert order.may_rotate(IssueError("connection", "x"))
    assert order.may_rotate(IssueError("solver", "x"))
    assert not order.may_rotate(IssueError("caa", "x"))
    assert not order.may_rotate(IssueError("rateLimited", "x"))


def test_several_failures_in_one() -> None:
    """Of the kind of the first, with the words of all; one alone stays as it is."""
    first, second = IssueError("connection", "refused", identifier="a"), IssueError("dns", "no such name")
    assert order.in_sum({"http-01": first}) is first
    both = order.in_sum({"http-01": first, "dns-01": second})
    assert (both.kind, both.identifier) == ("connection", "a")
    assert both.detail == "http-01: refused; dns-01: no such name"


def test_those_that_wait() -> None:
    """For something to be shown."""
    assert [each.status for each in order.pending([authorization(), authorization(status="valid")])] == ["pending"]


def test_the_challenge_of_a_type() -> None:
    """It is found among others."""
    assert order.challenge_of(authorization("x", "dns-01"), "dns-01").url == "u/dns-01"
