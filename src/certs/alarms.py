"""What the operator is told of a certificate, and when: each thing once, and before visitors find it out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

import msgspec

from state.observed import CertificateFact

EventKind: TypeAlias = Literal["obtained", "renewed", "failing", "recovered", "expiring", "expired", "revoked"]

# So much of the life is left when it is said again that it ends.
_SHARES: Final[Sequence[int]] = (3, 6, 12)
# Renewal may take so much of the life before anything is said: it may have to wait for its turn.
_GRACE_SHARE: Final = 1 / 24
# A single failure is a customer whose records are not there yet, or an authority that was restarted.
_FAILURES: Final = 3

_UNITS: Final = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to tell, in plain words and in fields. `key` says what it is, to remember that it was told."""

    key: str
    kind: EventKind
    name: str
    at: datetime
    text: str
    issuer: str | None = None
    fingerprint: str | None = None
    not_after: datetime | None = None
    attempts: int = 0
    next_try: datetime | None = None
    error: str | None = None


Told: TypeAlias = frozenset[str]


def due(fact: CertificateFact, told: Told, now: datetime) -> tuple[Event, ...]:
    """What is to be told of a certificate now.

    Args:
        fact: How it does.
        told: The keys of what was told before, from `remembered`.
        now: The present time.
    """
    if fact.source == "internal":
        # Those come every few hours, for visitors who come now.
        return ()
    return tuple(event for event in (*_arrivals(fact, told, now), *_troubles(fact, now)) if event.key not in told)


def remembered(told: Told, events: Iterable[Event], fact: CertificateFact) -> Told:
    """What to keep after `events` were told: nothing of older certificates, and of a trouble only until it is over."""
    keys = {*told, *(event.key for event in events)}
    if not fact.attempts:
        keys.discard("failing")
    return frozenset(key for key in keys if key == "failing" or key.endswith(f"/{fact.fingerprint}"))


def revoked(fact: CertificateFact, reason: str, now: datetime) -> Event:
    """That a certificate was revoked, for `reason`."""
    text = f"The certificate for {fact.name} was revoked: {reason.replace('_', ' ')}."
    return _event(fact, "revoked", f"revoked/{fact.fingerprint}", now, text)


def next_look(fact: CertificateFact, now: datetime) -> datetime | None:
    """When something may become due by the mere passing of time; None: never."""
    if fact.not_before is None or fact.not_after is None:
        return None
    life = fact.not_after - fact.not_before
    times = [fact.not_after - life / share for share in _SHARES]
    times.append(fact.not_after)
    if fact.renew_at is not None:
        times.append(fact.renew_at + life * _GRACE_SHARE)
    return min((time for time in times if time > now), default=None)


def _arrivals(fact: CertificateFact, told: Told, now: datetime) -> Iterator[Event]:
    if fact.fingerprint is not None and fact.source == "acme":
        key = f"obtained/{fact.fingerprint}"
        is_first = not any(other.startswith("obtained/") for other in told)
        until = "" if fact.not_after is None else f", valid until {fact.not_after:%Y-%m-%d %H:%M} UTC"
        kind: EventKind = "obtained" if is_first else "renewed"
        yield _event(fact, kind, key, now, f"The certificate for {fact.name} was {kind}{until}.")
    if "failing" in told and not fact.attempts and fact.fingerprint is not None:
        text = f"The certificate for {fact.name} could be obtained again."
        yield _event(fact, "recovered", f"recovered/{fact.fingerprint}", now, text)


def _troubles(fact: CertificateFact, now: datetime) -> Iterator[Event]:
    if fact.attempts >= _FAILURES:
        text = f"There is no certificate for {fact.name} after {fact.attempts} tries: {fact.last_error}"
        if fact.fingerprint is not None:
            text = f"The certificate for {fact.name} could not be renewed in {fact.attempts} tries: {fact.last_error}"
        yield _event(fact, "failing", "failing", now, text)
    if fact.not_before is None or fact.not_after is None:
        return
    life, left = fact.not_after - fact.not_before, fact.not_after - now
    if left <= timedelta():
        text = f"The certificate for {fact.name} has expired at {fact.not_after:%Y-%m-%d %H:%M} UTC."
        yield _event(fact, "expired", f"expired/{fact.fingerprint}", now, text)
        return
    # Of several that have passed, as after a long pause, only the last is worth telling.
    passed = [share for share in _SHARES if left <= life / share]
    if passed and _is_late(fact, life, now):
        text = f"The certificate for {fact.name} expires in {_spoken(left)} and has not been renewed."
        if fact.last_error:
            text += f" The last error: {fact.last_error}"
        yield _event(fact, "expiring", f"expiring-{passed[-1]}/{fact.fingerprint}", now, text)


def _is_late(fact: CertificateFact, life: timedelta, now: datetime) -> bool:
    # An authority may have chosen a later time than ours, and that is no reason for a warning.
    return fact.renew_at is None or fact.attempts > 0 or now >= fact.renew_at + life * _GRACE_SHARE


def _event(fact: CertificateFact, kind: EventKind, key: str, now: datetime, text: str) -> Event:
    return Event(
        key=key,
        kind=kind,
        name=fact.name,
        at=now,
        text=text,
        issuer=fact.issuer,
        fingerprint=fact.fingerprint,
        not_after=fact.not_after,
        attempts=fact.attempts,
        next_try=fact.next_try,
        error=fact.last_error,
    )


def _spoken(left: timedelta) -> str:
    """`3 days`, `47 hours`, `90 minutes` or `20 seconds`, rounded down."""
    seconds = int(left.total_seconds())
    size, word = next((size, word) for size, word in _UNITS if seconds >= 2 * size or size == 1)
    count = seconds // size
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
