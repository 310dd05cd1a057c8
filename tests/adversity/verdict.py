"""A case, what it may lead to, and the comparison of that with what happened on both sides of the proxy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final, Literal

import msgspec
import pytest

from tests.support.client import Answer, Ended, Visitor
from tests.support.origin import Origin, SeenRequest

HOST: Final = b"shop.example.com"
NEXT: Final = b"GET /next HTTP/1.1\r\nHost: %b\r\n\r\n" % HOST
_BARRIER: Final = b"GET /barrier HTTP/1.1\r\nHost: %b\r\n\r\n" % HOST
_MOST_INTERIM: Final = 32


class Expect(msgspec.Struct, frozen=True, kw_only=True):
    """One acceptable outcome; a field left alone is not looked at, unless its default says otherwise.

    About the answers: `status` of every one (0: the connection ended without), `interim` statuses before, how the body
    `ended`, `text` of the body, `echoed` targets that the answers of the origin describe, in order, and octets that are
    nowhere in the answer (`untold`, lower case). About the visitor's connection: `visitor`. About the origin: how many
    requests it saw begin (`reached`) and `completed`, the `target`, `body` and exact field lines (`has`) of the first,
    field names that it `lacks`, octets that it has not seen at all (`unseen`), and whether its connection served the
    visitor's next request (`upstream`).
    """

    status: tuple[int, ...] = (200,)
    interim: tuple[int, ...] | None = None
    ended: tuple[Ended, ...] = ()
    text: bytes | None = None
    echoed: tuple[str, ...] = ()
    untold: tuple[bytes, ...] = ()
    visitor: Literal["open", "closed", "either"] = "open"
    reached: tuple[int, ...] = (1,)
    completed: tuple[int, ...] | None = None
    target: bytes | None = None
    body: bytes | None = None
    has: tuple[tuple[bytes, bytes], ...] = ()
    lacks: tuple[bytes, ...] = ()
    unseen: tuple[bytes, ...] = ()
    upstream: Literal["reused", "dropped", "either"] = "either"


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """Exact bytes from a visitor, and the outcomes that our policy allows.

    `also` are outcomes that the RFCs allow besides; other proxies may choose them. `scored` is false where they may do
    as they please. `asks` are the methods of the requests in `raw`, `then` follows once a 1xx has come, `half_close`
    ends the sending side.
    """

    number: int
    name: str
    raw: bytes
    accepts: tuple[Expect, ...]
    also: tuple[Expect, ...] = ()
    scored: bool = True
    asks: tuple[str, ...] = ("GET",)
    then: bytes = b""
    half_close: bool = False

    def __str__(self) -> str:
        return f"case_{self.number:03}_{self.name}" if self.number else f"variant_{self.name}"

    @property
    def is_refused(self) -> bool:
        """Whether every outcome is that nothing reaches the origin and the connection ends."""
        return all(expect.visitor == "closed" and expect.reached == (0,) for expect in self.accepts)


class Door(msgspec.Struct, frozen=True):
    """A proxy to knock at: its port, the origin behind it, and whether it is our own."""

    port: int
    origin: Origin
    is_ours: bool = True


class Outcome(msgspec.Struct, kw_only=True):
    """What happened: `requests` without the visitor's next one, which is `follow_up` when it was answered rightly."""

    answers: list[Answer | None]
    requests: list[SeenRequest]
    received: bytes
    follow_up: SeenRequest | None = None
    follow_up_answer: Answer | None = None


def request(line: bytes, *fields: bytes, body: bytes = b"", host: bytes | None = HOST) -> bytes:
    """A request with this request line; `host` None leaves the Host field out."""
    named = () if host is None else (b"Host: " + host,)
    return b"\r\n".join((line, *named, *fields, b"", b"")) + body


async def play(case: Case, door: Door, fragment: int = 0) -> Outcome:
    """Send the case, find out whether its connection still works, and collect what the origin saw."""
    async with await Visitor.connect(door.port) as visitor:
        answers = await _put(case, visitor, fragment)
        told = answers[-1]
        follow_up = None
        if told and told.status >= 200 and not case.half_close:
            await visitor.send(NEXT)
            follow_up = await visitor.answer()
        elif told is None or case.half_close:
            await visitor.end()
    await barrier(door.port)
    nexts = [seen for seen in door.origin.requests if seen.target == b"/next"]
    return Outcome(
        answers=answers,
        requests=[seen for seen in door.origin.requests if seen.target not in (b"/next", b"/barrier")],
        received=door.origin.received,
        follow_up=nexts[0] if nexts else None,
        follow_up_answer=follow_up,
    )


async def _put(case: Case, visitor: Visitor, fragment: int) -> list[Answer | None]:
    interim: tuple[int, ...] = ()
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(visitor.send(case.raw, fragment), name="send the case")
        if case.then:
            interim = (await visitor.interim(),)
            await visitor.send(case.then, fragment)
        if case.half_close:
            await sending
            visitor.half_close()
        answers = [await visitor.answer(method) for method in case.asks]
        if answers[-1] is None or answers[-1].announces_close:
            sending.cancel()
    if interim and answers[0]:
        answers[0].interim = interim + answers[0].interim
    return answers


async def barrier(port: int) -> None:
    """A request of somebody else: the proxy still works, and what it was about to send to the origin has been sent."""
    async with await Visitor.connect(port) as visitor:
        await visitor.send(_BARRIER)
        answer = await visitor.answer()
    if answer is None or answer.status != 200 or answer.json["target"] != "/barrier":
        raise AssertionError(f"the proxy does not work any more: {answer}")


def complaints(outcome: Outcome, expect: Expect) -> list[str]:
    """Every way in which the outcome is not the expected one."""
    checks: tuple[Callable[[Outcome, Expect], Iterator[str]], ...] = (
        _about_answers,
        _about_visitor,
        _about_requests,
        _about_upstream,
    )
    return [complaint for check in checks for complaint in check(outcome, expect)]


async def check(case: Case, door: Door, fragment: int = 0) -> None:
    """Play the case and fail with what is wrong about the outcome, compared with the nearest that is accepted."""
    if not (door.is_ours or case.scored):
        pytest.skip("any outcome is right")
    outcome = await play(case, door, fragment)
    accepts = case.accepts if door.is_ours else case.accepts + case.also
    wrong = min((complaints(outcome, expect) for expect in accepts), key=len)
    assert not wrong, "; ".join(wrong)


def _about_answers(outcome: Outcome, expect: Expect) -> Iterator[str]:
    for answer in outcome.answers:
        status = answer.status if answer else 0
        if status not in expect.status:
            yield f"answered {status}, not {expect.status}"
        if answer:
            yield from _about_answer(answer, expect)
    echoes = tuple(answer.json["target"] for answer in outcome.answers if answer and expect.echoed)
    if echoes != expect.echoed:
        yield f"the answers belong to {echoes}, not {expect.echoed}"


def _about_answer(answer: Answer, expect: Expect) -> Iterator[str]:
    if expect.ended and answer.ended not in expect.ended:
        yield f"the body ended by {answer.ended}, not {expect.ended}"
    if expect.text is not None and answer.body != expect.text:
        yield f"the body is {answer.body!r}"
    if expect.interim is not None and answer.interim != expect.interim:
        yield f"the interim answers are {answer.interim}"
    if len(answer.interim) > _MOST_INTERIM:
        yield f"{len(answer.interim)} interim answers"
    told = (answer.interim_heads + answer.head + answer.body + repr(answer.trailers).encode()).lower()
    for octets in expect.untold:
        if octets in told:
            yield f"the visitor was told {octets!r}"


def _about_visitor(outcome: Outcome, expect: Expect) -> Iterator[str]:
    answer = outcome.follow_up_answer
    is_open = answer is not None
    if expect.visitor == "open" and not is_open:
        yield "the visitor's connection is closed"
    if expect.visitor == "closed" and is_open:
        yield "the visitor's connection is open"
    if expect.visitor == "closed" and outcome.follow_up:
        yield "the origin saw the request behind the refused one"
    if answer is not None and (
        answer.status != 200 or (answer.json["method"], answer.json["target"]) != ("GET", "/next")
    ):
        yield f"the next request got {answer.head!r} {answer.body[:100]!r}"


def _about_requests(outcome: Outcome, expect: Expect) -> Iterator[str]:
    requests = outcome.requests
    if len(requests) not in expect.reached:
        yield f"the origin saw {[bytes(seen.head) for seen in requests]}"
    completed = sum(seen.complete for seen in requests)
    if expect.completed is not None and completed not in expect.completed:
        yield f"the origin saw {completed} complete requests"
    for octets in expect.unseen:
        if octets.lower() in outcome.received.lower():
            yield f"the origin saw {octets!r}"
    for seen in requests[:1]:
        yield from _about_request(seen, expect)


def _about_request(seen: SeenRequest, expect: Expect) -> Iterator[str]:
    if expect.target is not None and seen.target != expect.target:
        yield f"the origin was asked for {seen.target!r}"
    if expect.body is not None and seen.body != expect.body:
        yield f"the origin got the body {seen.body[:100]!r}"
    for name, value in expect.has:
        if seen.values(name) != [value]:
            yield f"the origin saw {name.decode()} as {seen.values(name)}"
    names = {name.lower() for name, _ in (*seen.headers, *seen.trailers)}
    for name in expect.lacks:
        if name.lower() in names:
            yield f"the origin saw the field {name.decode()}"


def _about_upstream(outcome: Outcome, expect: Expect) -> Iterator[str]:
    if expect.upstream == "either" or not outcome.requests or not outcome.follow_up:
        return
    reused = outcome.follow_up.connection is outcome.requests[-1].connection
    if reused != (expect.upstream == "reused"):
        yield "the origin's connection was " + ("used again" if reused else "not used again")
