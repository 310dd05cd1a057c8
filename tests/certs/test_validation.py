"""What is shown is shown in the right order, and taken away whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.jwk import JWKEC

from certs.answers import Order
from certs.client import Client, Session
from certs.errors import IssueError
from certs.pace import Pace
from certs.ports import Task
from certs.settings import ChallengeType, IssuerSpec
from certs.validation import Validation, authorizations_of, looked_at
from tests.certs.scripted import Reply, ScriptedAuthority


def task(name: str, token: str = "token", kind: ChallengeType = "http-01") -> Task:
    """Something to show."""
    return Task(name=name, type=kind, token=token, key_authorization=f"{token}.thumb")


class Diary:
    """A solver that writes down what it does; names that begin with `bad` fail."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def present(self, task: Task) -> None:
        """Begin, let others run, end."""
        self.lines.append(f"+{task.name}/{task.token}")
        await asyncio.sleep(0)
        if task.name.startswith("bad"):
            raise IssueError("solver", "the provider refuses")
        self.lines.append(f"={task.name}/{task.token}")

    async def withdraw(self, task: Task) -> None:
        """The same the other way."""
        self.lines.append(f"-{task.name}/{task.token}")
        if task.name.startswith("bad"):
            raise OSError("no connection")


async def test_names_at_once_and_the_tasks_of_one_name_in_turn() -> None:
    """A provider need not cope with two changes of one name at a time."""
    diary = Diary()
    await Validation({"http-01": diary}, ()).present([task("a", "1"), task("a", "2"), task("b", "3")])
    assert diary.lines.index("=a/1") < diary.lines.index("+a/2")
    assert diary.lines.index("+b/3") < diary.lines.index("=a/1")


async def test_everything_is_withdrawn_even_what_failed() -> None:
    """Also what an earlier process showed; types that are set up no more cannot be; a second time there is nothing."""
    diary = Diary()
    validation = Validation({"http-01": diary}, [task("old"), task("gone", kind="dns-01")])
    with pytest.raises(IssueError, match="the provider refuses"):
        await validation.present([task("bad"), task("good")])
    diary.lines.clear()
    await validation.withdraw()
    assert sorted(diary.lines) == ["-bad/token", "-good/token", "-old/token"]
    diary.lines.clear()
    await validation.withdraw()
    assert not diary.lines


async def test_a_withdrawal_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate is there, and wanted."""
    monkeypatch.setattr("certs.validation.WITHDRAW_S", 0.01)

    class Hanging(Diary):
        async def withdraw(self, task: Task) -> None:
            await asyncio.Event().wait()

    validation = Validation({"http-01": Hanging()}, [task("a")])
    await validation.withdraw()
    assert validation.on_show == ()


async def test_a_withdrawal_that_fails_is_a_line_of_the_log() -> None:
    """A program of the operator's that fails is no error of ours, and says itself what is wrong."""

    class Failing(Diary):
        async def withdraw(self, task: Task) -> None:
            raise IssueError("solver", "the hook ended with 1")

    with structlog.testing.capture_logs() as lines:
        await Validation({"http-01": Failing()}, [task("a")]).withdraw()
    assert [(line["name"], line["reason"], "exc_info" in line) for line in lines] == [
        ("a", "the hook ended with 1", False)
    ]


def test_what_can_be_answered_here() -> None:
    """In the order that is wanted."""
    validation = Validation({"dns-01": Diary(), "http-01": Diary()}, ())
    assert validation.solvable(["tls-alpn-01", "http-01", "dns-01"]) == ["http-01", "dns-01"]


@pytest.fixture
async def session(authority: ScriptedAuthority) -> AsyncIterator[Session]:
    """A session of a new account there."""
    spec = IssuerSpec(name="scripted", directory=f"{authority.url}/dir")
    async with Client.open(spec, spec.directory) as client:
        yield Session(client, await client.register(spec, JWKEC(key=ec.generate_private_key(ec.SECP256R1()))))


async def test_the_authority_looks_once(session: Session, authority: ScriptedAuthority) -> None:
    """After a crash it may be looking already; it is asked until it has decided."""
    pending, valid = authority.authorization("pending"), authority.authorization("valid")
    for status, answered in (("pending", 1), ("processing", 1)):
        challenge = {**authority.authorization("pending")["challenges"][0], "status": status}  # type: ignore[index]
        begun = authority.authorization("pending", challenges=[challenge])
        authority.says["/authorization"] = [
            Reply(body=begun),
            Reply(body=pending),
            Reply(body=pending),
            Reply(body=valid),
        ]
        order = Order("pending", (), (f"{authority.url}/authorization",), "")
        waiting = await authorizations_of(session, order, ("*.a.example",))
        outcome = await looked_at(session, waiting, "http-01", Pace(10.0))
        assert [each.status for each in outcome] == ["valid"]
        assert authority.count("/challenge") == answered


async def test_no_proof_is_given_for_names_that_were_not_ordered(
    session: Session, authority: ScriptedAuthority
) -> None:
    """Whoever asks."""
    order = Order("pending", (), (f"{authority.url}/authorization",), "")
    with pytest.raises(IssueError, match="not ordered"):
        await authorizations_of(session, order, ("b.example",))
