"""An issuance against an authority that makes mistakes, lies, or takes its time: nothing wrong is ever kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from certs.errors import IssueError
from certs.issue import Issued
from certs.keys import cert_id
from certs.order import GRAVE, SETBACKS
from certs.ports import Task
from state.errors import Stale
from tests.certs.issuing import Issuing
from tests.certs.scripted import Reply, ScriptedAuthority, leaf_with_authority_key
from tests.support.authority import Authority

ACME = "urn:ietf:params:acme:error:"


@pytest.fixture
def ask(issuing: Issuing, authority: ScriptedAuthority) -> Callable[..., Any]:
    """Issue `a.example` there, going on from what was saved."""

    async def asked(spec: Mapping[str, Any] | None = None, **wishes: Any) -> Issued:  # noqa: ANN401 - of any field
        chosen = {"directory": f"{authority.url}/dir", "roots": None, **(spec or {})}
        return await issuing.resumed("a.example", spec=chosen, **wishes)

    return asked


async def failed(ask: Callable[..., Any], **wishes: Any) -> IssueError:  # noqa: ANN401 - of any field
    """The error that it ends with."""
    with pytest.raises(IssueError) as caught:
        await ask(**wishes)
    return caught.value


async def test_the_scripted_authority_issues(ask: Callable[..., Any], authority: ScriptedAuthority) -> None:
    """As long as nothing else is written down."""
    issued = await ask()
    assert issued.bundle.names == ("a.example",)
    paths = [path for _, path, _ in authority.asked]
    assert paths == [
        *("/dir", "/new-account", "/new-order", "/authorization", "/challenge", "/authorization"),
        *("/order", "/finalize", "/order", "/certificate"),
    ]


OTHER_KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize(
    ("chain", "words"),
    [
        (lambda by: by.chain(key=OTHER_KEY.public_key()), "for another key"),
        (lambda by: by.chain("b.example"), "for other names"),
        (lambda by: by.chain(days=-1), "has expired already"),
        (lambda by: by.chain(signed_by=OTHER_KEY), "the chain is broken"),
        (lambda by: by.chain()[:-100], "cut off"),
        (lambda by: by.chain()[: by.chain().index(b"-----END")], "no chain"),
        (
            lambda by: by.chain().partition(b"-----END CERTIFICATE-----\n")[0] + b"-----END CERTIFICATE-----\n",
            "ends with",
        ),
        (lambda _: b"<html>", "no chain of"),
        (lambda _: b"", "no chain of certificates"),
    ],
)
async def test_a_certificate_that_is_no_good(
    ask: Callable[..., Any],
    authority: ScriptedAuthority,
    issuing: Issuing,
    chain: Callable[[ScriptedAuthority], bytes],
    words: str,
) -> None:
    """Nothing is kept of it; the order is asked again some times, then another one is made, with another key."""
    authority.says["/certificate"] = [lambda _: Reply(body=chain(authority))]
    for _ in range(SETBACKS // GRAVE):
        error = await failed(ask)
        assert error.kind == "badAnswer"
        assert words in str(error)
        assert authority.count("/new-order") == 1
    assert issuing.saved[-1].phase == "made"
    authority.says["/certificate"] = [lambda _: Reply(body=authority.chain())]
    authority.says["/authorization"] = [Reply(body=authority.authorization("valid"))]
    authority.says["/order"] = [Reply(body=authority.order("ready")), Reply(body=authority.order("valid"))]
    issued = await ask()
    assert authority.count("/new-order") == 2
    assert issued.bundle.key != issuing.saved[0].key


async def test_more_names_than_were_asked_for_are_no_harm(
    ask: Callable[..., Any], authority: ScriptedAuthority
) -> None:
    """Some authorities add one."""
    authority.says["/certificate"] = [lambda _: Reply(body=authority.chain("a.example", "www.a.example"))]
    assert (await ask()).bundle.names == ("a.example", "www.a.example")


async def test_a_leaf_below_a_root_of_ours(
    ask: Callable[..., Any], authority: ScriptedAuthority, tmp_path: Path
) -> None:
    """An authority of one's own need not have anything between."""
    end = b"-----END CERTIFICATE-----\n"
    authority.says["/certificate"] = [lambda _: Reply(body=authority.chain().partition(end)[0] + end)]
    roots = tmp_path / "roots.pem"
    roots.write_text(Authority("Other").pem + authority.root)
    assert (await ask(spec={"roots": roots})).bundle.names == ("a.example",)


@pytest.mark.parametrize(
    ("path", "reply"),
    [
        ("/order", Reply(400, {"type": f"{ACME}malformed"})),
        ("/order", Reply(body=b"nonsense")),
        ("/certificate", Reply(body=b"nonsense")),
        ("/certificate", Reply(404)),
    ],
)
async def test_no_order_is_in_the_way_for_ever(
    ask: Callable[..., Any], authority: ScriptedAuthority, path: str, reply: Reply
) -> None:
    """Whatever became of it at the authority, after some attempts there is another."""
    fine, authority.says[path] = authority.says[path], [reply]
    for _ in range(SETBACKS // GRAVE):
        await failed(ask)
    authority.says[path] = fine
    authority.says["/authorization"] = [Reply(body=authority.authorization("valid"))]
    authority.says["/order"] = [Reply(body=authority.order("ready")), Reply(body=authority.order("valid"))]
    await ask()
    assert authority.count("/new-order") == 2


async def test_a_download_that_went_wrong_costs_no_order(ask: Callable[..., Any], authority: ScriptedAuthority) -> None:
    """The next attempt fetches it again."""
    authority.says["/certificate"] = [Reply(body=b""), lambda _: Reply(body=authority.chain())]
    await failed(ask)
    await ask()
    assert authority.count("/new-order") == 1
    assert authority.count("/finalize") == 1


@pytest.mark.parametrize(
    ("path", "replies", "kind"),
    [
        ("/new-order", [Reply(201, {"status": "pending"})], "badAnswer"),
        ("/new-order", [Reply(201, b"not JSON", {"Location": "/order"})], "badAnswer"),
        ("/new-order", [Reply(400, {"type": f"{ACME}rejectedIdentifier", "detail": "no"})], "rejectedIdentifier"),
        ("/new-order", [Reply(429, {"type": f"{ACME}rateLimited", "detail": "no"})], "rateLimited"),
        ("/new-order", [Reply(500)], "serverInternal"),
        ("/authorization", [Reply(body=b"[")], "badAnswer"),
        (
            "/authorization",
            [Reply(body={"status": "pending", "identifier": {"type": "dns", "value": "b.example"}})],
            "badAnswer",
        ),
        ("/challenge", [Reply(400, {"type": f"{ACME}malformed", "detail": "no"})], "malformed"),
        ("/finalize", [Reply(400, {"type": f"{ACME}badCSR", "detail": "no"})], "badCSR"),
        ("/finalize", [Reply(403, {"type": f"{ACME}caa", "detail": "no"})], "caa"),
    ],
)
async def test_refusals_and_nonsense(
    ask: Callable[..., Any], authority: ScriptedAuthority, issuing: Issuing, *, path: str, replies: list[Any], kind: str
) -> None:
    """Each ends the attempt with its kind, and nothing stays on show."""
    authority.says[path] = replies
    assert (await failed(ask)).kind == kind
    assert issuing.stage.is_empty


async def test_a_token_that_leads_out_of_its_folder(
    ask: Callable[..., Any], authority: ScriptedAuthority, issuing: Issuing
) -> None:
    """It is never shown."""
    challenge = {"type": "http-01", "url": f"{authority.url}/challenge", "token": "../../../../../../etc/passwd"}
    authority.says["/authorization"] = [Reply(body=authority.authorization("pending", challenges=[challenge]))]
    assert (await failed(ask)).kind == "badAnswer"
    assert not issuing.stage.shown


async def test_no_answer_to_a_new_order(
    ask: Callable[..., Any], authority: ScriptedAuthority, issuing: Issuing
) -> None:
    """It may have been made: it is looked for before another one is asked for."""
    authority.says["/account"] = [Reply(body={"orders": f"{authority.url}/orders"})]
    authority.says["/orders"] = [Reply(body={"orders": [f"{authority.url}/order"]})]
    authority.says["/order"] = [Reply(body=authority.order("pending")), *authority.says["/order"]]
    authority.says["/new-order"] = [Reply(raw=b"")]
    assert (await failed(ask)).kind == "unreachable"
    assert issuing.saved[-1].phase == "ordering"
    await ask()
    assert authority.count("/new-order") == 1


@pytest.mark.parametrize(
    "orders",
    [Reply(500), Reply(404), Reply(body={"orders": ["{url}/other"]}), Reply(body={"orders": []}), Reply(body=b"x")],
)
async def test_an_order_that_is_not_found_is_made(
    ask: Callable[..., Any], authority: ScriptedAuthority, orders: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where orders are not listed, or the list is broken, or those listed are for other names."""
    monkeypatch.setattr("certs.client.READ_AGAIN_S", ())
    other = authority.order("pending", identifiers=[{"type": "dns", "value": "b.example"}])
    authority.says["/other"] = [Reply(body=other)]
    if isinstance(orders.body, dict):
        listed = [url.format(url=authority.url) for url in orders.body["orders"]]
        orders = msgspec.structs.replace(orders, body={"orders": listed})
    authority.says["/account"] = [Reply(body={"orders": f"{authority.url}/orders"})]
    authority.says["/orders"] = [orders]
    authority.says["/new-order"] = [Reply(raw=b""), *authority.says["/new-order"]]
    await failed(ask)
    await ask()
    assert authority.count("/new-order") == 2


async def test_a_refusal_leaves_no_doubt(
    ask: Callable[..., Any], authority: ScriptedAuthority, issuing: Issuing
) -> None:
    """So no order is looked for the next time."""
    authority.says["/new-order"] = [Reply(403, {"type": f"{ACME}caa"}), *authority.says["/new-order"]]
    await failed(ask)
    assert issuing.saved[-1].phase == "made"
    await ask()
    assert authority.count("/account") == 0


async def test_an_order_that_became_invalid(
    ask: Callable[..., Any], authority: ScriptedAuthority, issuing: Issuing
) -> None:
    """Its reason is told, and the next attempt makes another."""
    problem = {"type": f"{ACME}caa", "detail": "CAA record for a.example prevents issuance"}
    fine = authority.says["/order"]
    authority.says["/order"] = [Reply(body=authority.order("invalid", error=problem))]
    error = await failed(ask)
    assert (error.kind, error.detail) == ("caa", "CAA record for a.example prevents issuance")
    assert issuing.saved[-1].phase == "made"
    authority.says["/order"] = fine
    await ask()
    assert authority.count("/new-order") == 2


async def test_an_order_that_is_not_ready_to_be_finalized(
    ask: Callable[..., Any], authority: ScriptedAuthority
) -> None:
    """RFC 8555 section 7.4: it is asked for again."""
    authority.says["/finalize"] = [Reply(403, {"type": f"{ACME}orderNotReady"}), *authority.says["/finalize"]]
    authority.says["/order"] = [Reply(body=authority.order("ready")), *authority.says["/order"]]
    await ask()
    assert authority.count("/finalize") == 2


async def test_an_authorization_that_failed_before_its_order(
    ask: Callable[..., Any], authority: ScriptedAuthority
) -> None:
    """The order is left, whatever it says of itself."""
    fine = authority.says["/authorization"]
    authority.says["/authorization"] = [Reply(body=authority.authorization("deactivated"))]
    error = await failed(ask)
    assert error.detail == "the authority's authorization is deactivated, without a reason"
    authority.says["/authorization"] = fine
    await ask()
    assert authority.count("/new-order") == 2


async def test_an_order_without_its_certificate(ask: Callable[..., Any], authority: ScriptedAuthority) -> None:
    """`valid` is not enough."""
    authority.says["/order"] = [
        Reply(body=authority.order("valid", certificate=None)),
        Reply(body=authority.order("valid")),
    ]
    assert "does not say where the certificate is" in str(await failed(ask))


async def test_an_order_that_lags_behind_its_authorizations(
    ask: Callable[..., Any], authority: ScriptedAuthority
) -> None:
    """It is `pending` for a while though everything is validated, and `processing` for another."""
    authority.says["/authorization"] = [
        *authority.says["/authorization"][:1],
        Reply(body=authority.authorization("valid")),
    ]
    authority.says["/order"] = [
        Reply(body=authority.order("pending")),
        Reply(body=authority.order("ready")),
        Reply(body=authority.order("processing")),
        Reply(body=authority.order("valid")),
    ]
    await ask()
    assert authority.count("/challenge") == 1
    assert authority.count("/finalize") == 1


async def test_a_wait_that_was_asked_for(
    ask: Callable[..., Any], authority: ScriptedAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In seconds, or until a date; one that is longer than there is time ends the attempt, and the order is kept."""
    slept: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    monkeypatch.setattr("certs.pace.asyncio.sleep", noted)
    now = datetime.now(UTC).replace(microsecond=0)
    dates = {"Retry-After": format_datetime(now + timedelta(seconds=5)), "Date": format_datetime(now, usegmt=True)}
    processing = authority.order("processing")
    authority.says["/order"] = [
        Reply(body=authority.order("ready")),
        Reply(body=processing, fields={"Retry-After": "3"}),
        Reply(body=processing, fields=dates),
        Reply(body=processing, fields={"Retry-After": "3600"}),
        Reply(body=authority.order("valid")),
    ]
    error = await failed(ask)
    assert [seconds for seconds in slept if seconds >= 1] == [3.0, 5.0]
    assert (error.kind, error.retry_after_s) == ("timeout", 3600.0)
    await ask()
    assert authority.count("/new-order") == 1


async def test_a_profile(ask: Callable[..., Any], authority: ScriptedAuthority) -> None:
    """One that the authority does not have is told without asking for an order; where it has a list."""
    meta = {"profiles": {"classic": "90 days", "short": "6 days", "odd\n\x1b": "whatever they call it"}}
    authority.says["/dir"] = [Reply(body=authority.directory(meta=meta))]
    error = await failed(ask, spec={"profile": "long"})
    told = "the authority has no profile 'long', only classic, short, odd"
    assert (error.kind, error.detail) == ("invalidProfile", told)
    assert authority.count("/new-order") == 0
    await ask(spec={"profile": "short"})
    assert next(body for _, path, body in authority.asked if path == "/new-order")["profile"] == "short"


@pytest.mark.parametrize(
    "refusal", [Reply(409, {"type": f"{ACME}alreadyReplaced"}), Reply(409), Reply(400, {"type": f"{ACME}malformed"})]
)
async def test_what_is_replaced(ask: Callable[..., Any], authority: ScriptedAuthority, refusal: Reply) -> None:
    """It is told where the authority wants to know; where it was replaced already, the order is made without."""
    authority.says["/dir"] = [Reply(body=authority.directory(renewalInfo=f"{authority.url}/ari"))]
    authority.says["/new-order"] = [refusal, *authority.says["/new-order"]]
    old = leaf_with_authority_key()
    await ask(replaces=old)
    first, second = (body for _, path, body in authority.asked if path == "/new-order")
    assert first["replaces"] == cert_id(old)
    assert "replaces" not in second


async def test_a_leaf_that_cannot_be_named_is_not_replaced(
    ask: Callable[..., Any], authority: ScriptedAuthority
) -> None:
    """It is only renewed."""
    authority.says["/dir"] = [Reply(body=authority.directory(renewalInfo=f"{authority.url}/ari"))]
    await ask(replaces=b"no certificate")
    assert "replaces" not in next(body for _, path, body in authority.asked if path == "/new-order")


async def test_other_refusals_are_not_tried_again_without_what_is_replaced(
    ask: Callable[..., Any], authority: ScriptedAuthority
) -> None:
    """A limit is a limit."""
    authority.says["/dir"] = [Reply(body=authority.directory(renewalInfo=f"{authority.url}/ari"))]
    authority.says["/new-order"] = [Reply(429, {"type": f"{ACME}rateLimited"}, {"Retry-After": "60"})]
    error = await failed(ask, replaces=leaf_with_authority_key())
    assert (error.kind, error.retry_after_s) == ("rateLimited", 60.0)
    assert authority.count("/new-order") == 1


async def test_an_account_that_was_deactivated(ask: Callable[..., Any], authority: ScriptedAuthority) -> None:
    """It has no right to anything; another one is made."""
    refusal = Reply(403, {"type": f"{ACME}unauthorized", "detail": "deactivated"})
    authority.says["/new-order"] = [refusal, *authority.says["/new-order"]]
    authority.says["/account"] = [refusal]
    authority.says["/new-account"] = [*authority.says["/new-account"], refusal, *authority.says["/new-account"]]
    await ask()
    assert authority.count("/new-account") == 3


async def test_an_account_that_may_not_have_a_name(ask: Callable[..., Any], authority: ScriptedAuthority) -> None:
    """The account is fine, and stays."""
    authority.says["/new-order"] = [Reply(403, {"type": f"{ACME}unauthorized", "detail": "not your domain"})]
    error = await failed(ask)
    assert (error.kind, error.detail) == ("unauthorized", "not your domain")
    assert authority.count("/new-account") == 1


async def test_an_account_that_is_forgotten_twice(ask: Callable[..., Any], authority: ScriptedAuthority) -> None:
    """Once is enough for one attempt."""
    authority.says["/new-order"] = [Reply(400, {"type": f"{ACME}accountDoesNotExist"})]
    assert (await failed(ask)).kind == "accountDoesNotExist"
    assert authority.count("/new-account") == 2


async def test_an_order_whose_answer_comes_after_the_end_is_kept(
    issuing: Issuing, authority: ScriptedAuthority, ask: Callable[..., Any]
) -> None:
    """Who cancels while an order is made waits a moment for its URL."""
    reached, saved = asyncio.Event(), len(issuing.saved)
    order = authority.says["/new-order"][0]

    def slowly(_: Mapping[str, object]) -> Reply:
        reached.set()
        assert isinstance(order, Reply)
        return order

    authority.says["/new-order"] = [slowly]
    work = asyncio.get_running_loop().create_task(ask())
    await reached.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert len(issuing.saved) > saved
    assert issuing.saved[-1].order == f"{authority.url}/order"
    await ask()
    assert authority.count("/new-order") == 1


async def test_who_has_lost_the_lease_takes_nothing_away(
    issuing: Issuing, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node that has it now shows the same answers for the same order."""
    save = issuing._save

    async def stale_at_last(state: Any) -> None:  # noqa: ANN401 - passed on
        if issuing.stage.tokens:
            raise Stale("the lease was lost")
        await save(state)

    class Failing:
        """Shows, and then ends the attempt."""

        async def present(self, task: Task) -> None:
            await issuing.stage.show_token(task.token, "x")
            raise OSError("the end")

        async def withdraw(self, task: Task) -> None:
            await issuing.stage.show_token(task.token, None)

    monkeypatch.setattr(issuing, "_save", stale_at_last)
    issuing.solvers["http-01"] = Failing()
    with pytest.raises(OSError, match="the end"):
        await ask()
    assert issuing.stage.tokens
