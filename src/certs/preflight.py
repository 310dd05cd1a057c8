"""What the public records of a name say about its chances, asked before an order is spent on it.

What blocks is what makes every attempt fail: no records, records that lead elsewhere, CAA records that forbid all
issuers, a wildcard without DNS-01, and a proof of ownership that is asked for and is not there. What could not be found
out blocks nothing, but for that proof.

A proxy in front of us is not told from a stranger by its address. Cloudflare's networks are known here and only warned
of, because HTTP-01 gets through. The addresses of any other proxy or load balancer belong into `public_addresses`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

import msgspec

from certs import caa, ownership, pointing
from certs.caa import Asking
from certs.pointing import Home, Pointing
from certs.resolve import Answer, RecordType, Resolver, unknown, with_parents, zone_in
from certs.settings import CertsSettings, ChallengeType, IssuerSpec
from state.ports import Advice

LIMIT_S: Final = 5.0

_Question: TypeAlias = tuple[str, RecordType]
_Answers: TypeAlias = Mapping[_Question, Answer]
_LookUp: TypeAlias = Callable[[str, RecordType], Awaitable[Answer]]

# What the authorities' directories say in `caaIdentities`, for the time before one was read. By the host's suffix.
_IDENTITIES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        ".letsencrypt.org": ("letsencrypt.org",),
        ".zerossl.com": ("sectigo.com", "trust-provider.com", "usertrust.com", "comodoca.com", "comodo.com"),
        ".pki.goog": ("pki.goog",),
    }
)


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """What records have to agree with.

    `public_addresses` (addresses or networks) and `public_name` are where they have to lead; without both that is not
    judged. `challenges` are the types that can be answered here: "dns-01" only with a provider. `token` proves
    ownership, "" when no proof is asked for.
    """

    public_addresses: tuple[str, ...] = ()
    public_name: str | None = None
    issuers: tuple[Asking, ...] = ()
    challenges: frozenset[ChallengeType] = frozenset({"http-01", "tls-alpn-01"})
    token: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `is_owned` is False while a proof of ownership is asked for and was not seen."""

    advice: tuple[Advice, ...] = ()
    is_owned: bool = True

    @property
    def is_blocked(self) -> bool:
        """Whether an order would be wasted."""
        return any(advice.is_blocking for advice in self.advice)


def expectation_of(
    settings: CertsSettings, *, token: str = "", issuers: tuple[Asking, ...] | None = None
) -> Expectation:
    """What the settings ask for; `issuers` replaces what is known of the configured ones without asking them."""
    has_dns = settings.rfc2136 is not None or bool(settings.dns_command)
    return Expectation(
        public_addresses=settings.public_addresses,
        public_name=settings.public_name,
        issuers=tuple(asking_of(spec) for spec in settings.issuers) if issuers is None else issuers,
        challenges=frozenset(kind for kind in settings.challenges if kind != "dns-01" or has_dns),
        token=token,
    )


def asking_of(spec: IssuerSpec, *, identities: tuple[str, ...] = (), account: str = "") -> Asking:
    """An issuer by its names in CAA records: `identities` from its directory, else those that are known of old."""
    host = spec.directory.partition("://")[2].partition("/")[0]
    known = next((names for suffix, names in _IDENTITIES.items() if host.endswith(suffix)), ())
    return Asking(name=spec.name, identities=identities or known, account=account)


async def check(name: str, expectation: Expectation, resolver: Resolver, *, limit_s: float = LIMIT_S) -> Report:
    """Look up everything that `name`, which may be a wildcard, depends on, and say what stands in the way.

    Questions that got no answer after `limit_s` count as unanswered. When the first answers block, the name's own
    servers are asked too, past the caches, which may not have seen yet what the customer has changed.
    """
    deadline = asyncio.get_running_loop().time() + limit_s
    questions = questions_of(name, expectation)
    answers = await _ask(questions, _until(deadline, resolver.look_up))
    report = judge(name, answers, expectation)
    if not report.is_blocked:
        return report
    fresh = await _ask(questions, _until(deadline, resolver.look_up_fresh))
    return judge(name, {**answers, **{key: answer for key, answer in fresh.items() if answer.is_definite}}, expectation)


def questions_of(name: str, expectation: Expectation) -> list[_Question]:
    """What has to be asked to judge a name."""
    bare = name.removeprefix("*.")
    hosts = [name, expectation.public_name] if expectation.public_name else [name]
    questions: list[_Question] = [question for host in hosts for question in ((host, _A), (host, _AAAA))]
    questions.append((bare, "SOA"))
    if expectation.issuers:
        questions += [(parent, "CAA") for parent in with_parents(bare)]
    if expectation.token:
        questions.append((ownership.record_of(name), "TXT"))
    return list(dict.fromkeys(questions))


def judge(name: str, answers: _Answers, expectation: Expectation) -> Report:
    """What the answers to `questions_of` the name mean."""
    proof = None
    if expectation.token:
        proof = ownership.judge(name, expectation.token, answers[ownership.record_of(name), "TXT"])
    climb = [answers[parent, "CAA"] for parent in with_parents(name.removeprefix("*."))] if expectation.issuers else []
    advice = [
        *([] if proof is None else [proof]),
        *_of_method(name, expectation.challenges),
        *_of_addresses(name, answers, expectation),
        *caa.judge(name, climb, expectation.issuers, expectation.challenges),
    ]
    return Report(advice=tuple(advice), is_owned=proof is None)


_A: Final[RecordType] = "A"
_AAAA: Final[RecordType] = "AAAA"


def _of_method(name: str, challenges: Collection[ChallengeType]) -> list[Advice]:
    if not name.startswith("*.") or "dns-01" in challenges:
        return []
    text = (
        f"A certificate for {name} can only be had by DNS-01, which is not set up here; "
        f"use single names such as www.{name[2:]}, or ask the operator for certs.rfc2136_server or certs.dns_command"
    )
    return [Advice(is_blocking=True, text=text)]


def _of_addresses(name: str, answers: _Answers, expectation: Expectation) -> list[Advice]:
    addresses = expectation.public_addresses
    public_name = expectation.public_name
    advice = []
    if public_name and public_name != name:
        found = answers[public_name, _A], answers[public_name, _AAAA]
        addresses += tuple(value for answer in found for value in answer.values if value not in addresses)
        if not addresses and all(answer.is_definite for answer in found):
            text = (
                f"{public_name}, where records have to point, has no address itself; that is for the operator to mend"
            )
            advice.append(Advice(is_blocking=False, text=text))
    seen = Pointing(
        name=name,
        a=answers[name, _A],
        aaaa=answers[name, _AAAA],
        is_apex=zone_in(answers[name.removeprefix("*."), "SOA"]) == name,
        is_needed="dns-01" not in expectation.challenges and not name.startswith("*."),
        has_http="http-01" in expectation.challenges,
    )
    return [*advice, *pointing.judge(seen, Home(name=public_name, addresses=addresses))]


def _until(deadline: float, look_up: _LookUp) -> _LookUp:
    async def bounded(name: str, rdtype: RecordType) -> Answer:
        try:
            async with asyncio.timeout_at(deadline):
                return await look_up(name, rdtype)
        except TimeoutError:
            return unknown(name, rdtype, "no name server answered in time")

    return bounded


async def _ask(questions: Collection[_Question], look_up: _LookUp) -> _Answers:
    async with asyncio.TaskGroup() as group:
        tasks = {
            question: group.create_task(_one(look_up, question), name=f"look up {question[1]} {question[0]}")
            for question in questions
        }
    return {question: task.result() for question, task in tasks.items()}


async def _one(look_up: _LookUp, question: _Question) -> Answer:
    return await look_up(*question)
