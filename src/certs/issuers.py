"""Which issuer is asked next for a name, and whether its staging twin first: decided from what happened so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

import msgspec

from certs.budget import Wait
from certs.errors import IssueError
from certs.schedule import is_due, next_try, pause_s
from certs.settings import IssuerSpec

Fault: TypeAlias = Literal["name", "refused", "rate", "issuer"]
Mode: TypeAlias = Literal["production", "staging", "proven"]

# The problem types of RFC 8555 section 6.7 that are about the name's records or servers, which may be right any time.
_NAME_KINDS: Final = frozenset({"unauthorized", "connection", "dns", "incorrectResponse", "tls", "solver"})
# Those that would hit every name, beside answers of 500 and more, and none at all. Any other is between this issuer and
# this name, and must not keep other names from the issuer.
_ISSUER_KINDS: Final = frozenset(
    {
        *("unreachable", "timeout", "badAnswer", "serverInternal", "badNonce", "badSignatureAlgorithm"),
        *("externalAccountRequired", "userActionRequired", "invalidContact", "unsupportedContact"),
        *("accountDoesNotExist", "agreementRequired"),
    }
)
_NO_REPLACING_KINDS: Final = frozenset({"alreadyReplaced", "malformed", "conflict"})

# Authorities count failed validations too: Let's Encrypt allows five per name and hour.
_PRODUCTION_GAP: Final = timedelta(minutes=20)
_PRODUCTION_GAP_SHARE: Final = 1 / 20
# So many failures about the name in a row, and the next issuer, which looks from other places, has its turn.
_NAME_FAILURES: Final = 3
_NAME_REST: Final = timedelta(hours=1)
# An issuer that fails so many names in a row has its circuit opened. One name's trouble opens nothing.
_ISSUER_NAMES: Final = 3
_CIRCUIT_LEAST: Final = timedelta(minutes=1)
_CIRCUIT_MOST: Final = timedelta(hours=1)
# Asked to wait no longer than this, a name waits for its issuer; else the next one in order is asked.
_SHORT_WAIT: Final = timedelta(minutes=10)
_WAIT_UNSAID: Final = timedelta(hours=1)
_WAIT_MOST_S: Final = 7 * 86400.0


class Circuit(msgspec.Struct, frozen=True, kw_only=True):
    """How an issuer does, for all names together. It goes by the URL of the directory.

    `names` failed since the issuer last did its work. It is not asked before `open_until`, for the time of the `rounds`
    in a row.
    """

    names: tuple[str, ...] = ()
    rounds: int = 0
    open_until: datetime | None = None
    reason: str = ""


class IssuerHistory(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How an issuer did for one name since the last certificate.

    `mode` is whom of the twins to ask next: "staging" after a failure that is about the name, "proven" once that went
    well; `contradictions` counts how often production then failed all the same. It is not asked before `not_before`,
    whoever else there is, nor before `rests_until` while another may be.
    """

    failures: int = 0
    mode: Mode = "production"
    contradictions: int = 0
    production_not_before: datetime | None = None
    not_before: datetime | None = None
    rests_until: datetime | None = None
    reason: str = ""


class NameHistory(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What happened to one name since its last certificate. It has no end: a wanted name is tried for ever.

    `issuers` goes by the issuer's name. `may_replace` is False once an authority did not take the order because of the
    certificate that it named in `replaces` (RFC 9773 section 5).
    """

    failures: int = 0
    next_try: datetime | None = None
    last_error: str = ""
    last_kind: str = ""
    failed_at: datetime | None = None
    may_replace: bool = True
    issuers: Mapping[str, IssuerHistory] = msgspec.field(default_factory=dict)

    def of(self, issuer: str) -> IssuerHistory:
        """How one issuer did."""
        return self.issuers.get(issuer, IssuerHistory())

    def with_issuer(self, issuer: str, history: IssuerHistory) -> NameHistory:
        """The same with another history of one issuer."""
        return msgspec.structs.replace(self, issuers={**self.issuers, issuer: history})

    def at_once(self) -> NameHistory:
        """As when an operator asks for a try now: only what an authority itself has asked for is still waited for."""
        issuers = {
            name: msgspec.structs.replace(entry, rests_until=None, production_not_before=None)
            for name, entry in self.issuers.items()
        }
        return msgspec.structs.replace(self, next_try=None, issuers=issuers)


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to ask now. What staging issues is thrown away; it says that production may be asked."""

    issuer: IssuerSpec
    is_staging: bool
    may_replace: bool = True

    @property
    def directory(self) -> str:
        """The URL of the directory to ask."""
        twin = self.issuer.staging
        return twin if self.is_staging and twin is not None else self.issuer.directory


def choose(
    specs: Sequence[IssuerSpec], history: NameHistory, circuits: Mapping[str, Circuit], now: datetime
) -> Choice | Wait:
    """The next attempt for a name, or until when there is none; that is never for ever.

    The first issuer in order that is not to be waited for is asked. Raises ValueError without issuers.
    """
    if not specs:
        raise ValueError("no issuers are configured")
    if not is_due(history.next_try, now) and history.next_try is not None:
        return Wait(until=history.next_try, reason=history.last_error or "the next try is planned")
    offers = [_offer(spec, history, circuits, now) for spec in specs]
    chosen = [offer for offer in offers if isinstance(offer, Choice)]
    if chosen:
        return min(chosen, key=lambda choice: not is_due(history.of(choice.issuer.name).rests_until, now))
    return min((offer for offer in offers if isinstance(offer, Wait)), key=lambda wait: wait.until)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt for `name` ended: with whom it was made, what went wrong (None: a certificate came), and when.

    `jitter` is a random number in [0, 1), `specs` are all issuers in order, and `life` is that of the certificate that
    is to be renewed, if any.
    """

    name: str
    choice: Choice
    error: IssueError | None
    at: datetime
    jitter: float
    specs: Sequence[IssuerSpec] = ()
    life: timedelta | None = None


def after(
    history: NameHistory, circuits: Mapping[str, Circuit], outcome: Outcome
) -> tuple[NameHistory, Mapping[str, Circuit]]:
    """What is known after an attempt, of the name and of all issuers; both are to be saved.

    After a certificate of staging production is asked at once; after one of production everything begins anew. After a
    failure there is the time of the next try, which is now when it was the issuer's fault and another may do better.
    """
    if outcome.error is None:
        return _succeeded(history, outcome.choice), _without(circuits, outcome.choice.directory)
    failure = _Failure(outcome, outcome.error)
    circuits = _circuits_after(circuits, failure)
    name = outcome.choice.issuer.name
    failures = history.failures + 1
    history = msgspec.structs.replace(
        history.with_issuer(name, _entry_after(history.of(name), failure)),
        failures=failures,
        last_error=outcome.error.detail,
        last_kind=outcome.error.kind,
        failed_at=outcome.at,
        may_replace=history.may_replace and not failure.is_about_replacing,
        next_try=None,
    )
    if not _is_another_at_once(history, circuits, failure):
        history = msgspec.structs.replace(history, next_try=_next_try(history, circuits, failure))
    return history, circuits


def fault_of(error: IssueError) -> Fault:
    """Whose fault a failure is: of the name, of an issuer that refuses the name, of our pace, or of the issuer."""
    if error.kind == "rateLimited" or error.status == 429:
        return "rate"
    if error.kind in _ISSUER_KINDS or (error.status is not None and error.status >= 500):
        return "issuer"
    return "name" if error.kind in _NAME_KINDS else "refused"


class _Failure(msgspec.Struct, frozen=True):
    """An outcome that is one."""

    outcome: Outcome
    error: IssueError

    @property
    def fault(self) -> Fault:
        return fault_of(self.error)

    @property
    def asked(self) -> timedelta | None:
        """How long the authority asked to wait, up to a week."""
        asked = self.error.retry_after_s
        return None if asked is None else timedelta(seconds=min(max(asked, 0.0), _WAIT_MOST_S))

    @property
    def is_short_wait(self) -> bool:
        """Whether to wait is better than to change the issuer, which has the order and only needs a while."""
        has_time = self.fault == "rate" or self.error.kind == "timeout"
        return has_time and self.asked is not None and self.asked <= _SHORT_WAIT

    @property
    def is_down(self) -> bool:
        """Whether the server said when it is back: that is for everybody, as a rate limit or a slow order is not."""
        return self.fault == "issuer" and (self.error.status or 0) >= 500 and self.asked is not None

    @property
    def is_about_replacing(self) -> bool:
        return self.error.status == 409 or self.error.kind in _NO_REPLACING_KINDS

    @property
    def reason(self) -> str:
        return f"{self.outcome.choice.issuer.name}: {self.error.detail}"


def _succeeded(history: NameHistory, choice: Choice) -> NameHistory:
    if not choice.is_staging:
        return NameHistory()
    entry = msgspec.structs.replace(history.of(choice.issuer.name), mode="proven")
    return msgspec.structs.replace(history.with_issuer(choice.issuer.name, entry), next_try=None)


def _offer(spec: IssuerSpec, history: NameHistory, circuits: Mapping[str, Circuit], now: datetime) -> Choice | Wait:
    entry = history.of(spec.name)
    # Staging out of order must not keep a name from its certificate: then production is asked, at its own pace.
    is_up = spec.staging is not None and is_due(circuits.get(spec.staging, Circuit()).open_until, now)
    if entry.mode == "staging" and is_up:
        return Choice(issuer=spec, is_staging=True, may_replace=history.may_replace)
    circuit = circuits.get(spec.directory, Circuit())
    # What staging has just found to be right is asked for at once, but not again and again.
    is_free = entry.mode == "proven" and not entry.contradictions
    times = (
        (entry.not_before, entry.reason),
        (None if is_free else entry.production_not_before, entry.reason),
        (circuit.open_until, circuit.reason),
    )
    waits = [Wait(until=at, reason=why) for at, why in times if at is not None and not is_due(at, now)]
    if waits:
        return max(waits, key=lambda wait: wait.until)
    return Choice(issuer=spec, is_staging=False, may_replace=history.may_replace)


def _next_try(history: NameHistory, circuits: Mapping[str, Circuit], failure: _Failure) -> datetime:
    """When there may be somebody to ask, and not before the pause is over."""
    outcome = failure.outcome
    planned = next_try(history.failures, outcome.at, None, outcome.jitter, life=outcome.life)
    not_before = history.of(outcome.choice.issuer.name).not_before
    if failure.is_short_wait and not_before is not None:
        planned = max(planned, not_before)
    found = choose(outcome.specs, history, circuits, planned) if outcome.specs else None
    return found.until if isinstance(found, Wait) else planned


def _is_another_at_once(history: NameHistory, circuits: Mapping[str, Circuit], failure: _Failure) -> bool:
    outcome = failure.outcome
    if failure.fault == "name" or failure.is_short_wait or not outcome.specs:
        return False
    chosen = choose(outcome.specs, history, circuits, outcome.at)
    if isinstance(chosen, Wait) or chosen.issuer.name == outcome.choice.issuer.name:
        return False
    return is_due(history.of(chosen.issuer.name).rests_until, outcome.at)


def _entry_after(entry: IssuerHistory, failure: _Failure) -> IssuerHistory:
    now, life = failure.outcome.at, failure.outcome.life
    entry = msgspec.structs.replace(entry, reason=failure.reason)
    if failure.outcome.choice.is_staging:
        if failure.fault != "name":
            # Only a failure about the name says anything of production; with any other, staging is no help.
            return msgspec.structs.replace(entry, mode="production")
    else:
        entry = _production_after(entry, failure)
    failures = entry.failures + 1
    rests_until = entry.rests_until
    if failure.fault != "name":
        rests_until = now + timedelta(seconds=pause_s(failures, life))
    elif failures % _NAME_FAILURES == 0:
        rests_until = now + _NAME_REST
    return msgspec.structs.replace(entry, failures=failures, rests_until=rests_until)


def _production_after(entry: IssuerHistory, failure: _Failure) -> IssuerHistory:
    outcome = failure.outcome
    if failure.fault != "name":
        # It stays with production: staging knows nothing of the limits there, nor whether it is up again.
        wait = failure.asked
        if wait is None and failure.fault == "rate":
            wait = _WAIT_UNSAID
        not_before = entry.not_before if wait is None else outcome.at + _spread(wait, outcome.jitter)
        return msgspec.structs.replace(entry, mode="production", not_before=not_before)
    gap = _PRODUCTION_GAP if outcome.life is None else min(_PRODUCTION_GAP, outcome.life * _PRODUCTION_GAP_SHARE)
    again = outcome.at + gap if entry.failures else entry.production_not_before
    mode: Mode = "staging" if outcome.choice.issuer.staging is not None else "production"
    contradictions = entry.contradictions + (entry.mode == "proven")
    return msgspec.structs.replace(entry, mode=mode, contradictions=contradictions, production_not_before=again)


def _circuits_after(circuits: Mapping[str, Circuit], failure: _Failure) -> Mapping[str, Circuit]:
    outcome = failure.outcome
    directory = outcome.choice.directory
    if failure.fault in {"name", "refused"}:
        # It answered, and did its work.
        return _without(circuits, directory)
    before = circuits.get(directory, Circuit())
    if before.open_until is not None and outcome.at < before.open_until:
        # It began before the circuit was opened, and says nothing new.
        return circuits
    names = (*(name for name in before.names if name != outcome.name), outcome.name)[-_ISSUER_NAMES:]
    if not failure.is_down and len(names) < _ISSUER_NAMES:
        return {**circuits, directory: msgspec.structs.replace(before, names=names, reason=failure.reason)}
    pause = min(_CIRCUIT_LEAST * 2 ** min(before.rounds, 10), _CIRCUIT_MOST)
    if failure.asked is not None:
        pause = failure.asked if failure.is_down else max(pause, failure.asked)
    open_until = outcome.at + _spread(pause, outcome.jitter)
    opened = Circuit(names=names, rounds=before.rounds + 1, open_until=open_until, reason=failure.reason)
    return {**circuits, directory: opened}


def _spread(wait: timedelta, jitter: float) -> timedelta:
    """A little longer, so that not all names are back in the same moment."""
    return wait + min(wait, _SHORT_WAIT) * (jitter / 4)


def _without(circuits: Mapping[str, Circuit], directory: str) -> Mapping[str, Circuit]:
    return {key: circuit for key, circuit in circuits.items() if key != directory}
