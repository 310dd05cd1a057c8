"""Certificates of files among those that the node obtains: shown beside them, and told of before they end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from certs.alarms import Event, due, remembered
from certs.keys import Unusable, leaf_of
from mesh.routes import Certificate
from state.cell import Cell
from state.observed import CertificateFact, Observed

LOOK_S: Final = 600.0
# Of a certificate for years, a third is too early to speak of its end.
_MEASURED_LIFE: Final = timedelta(days=90)


class FileFacts:
    """Holds the certificates of files, reports them and speaks up when one comes to its end."""

    def __init__(self, observed: Cell[Observed], tell: Callable[[Event], None]) -> None:
        """Nothing is known before `show`; `tell` takes what the operator has to know."""
        self._observed = observed
        self._tell = tell
        self._facts: dict[str, CertificateFact] = {}
        self._told: dict[str, frozenset[str]] = {}

    def show(self, certificates: Iterable[Certificate]) -> None:
        """Report exactly these from now on, each under its first name."""
        found = sorted(filter(None, map(_fact_of, certificates)), key=lambda fact: fact.not_after or _never())
        self._facts = {fact.name: fact for fact in found}
        self.look(datetime.now(UTC))

    async def run(self, look_s: float = LOOK_S) -> None:
        """Look at them now and then, for ever."""
        while True:
            await asyncio.sleep(look_s)
            self.look(datetime.now(UTC))

    def look(self, now: datetime) -> None:
        """Report what is true of them now, and tell what there is to tell.

        A name that the node obtains a certificate for itself keeps the fact about that one.
        """
        known = self._observed.value.certificates
        if gone := [name for name, fact in known.items() if fact.source == "file" and name not in self._facts]:
            self._observed.set(self._observed.value.without_certificates(gone))
        facts = [_at(fact, now) for fact in self._facts.values()]
        news = [fact for fact in facts if known.get(fact.name) != fact and _is_free(known.get(fact.name))]
        if news:
            self._observed.set(self._observed.value.with_certificates(news))
        for fact in facts:
            self._speak(fact, now)

    def _speak(self, fact: CertificateFact, now: datetime) -> None:
        told = self._told.get(fact.name, frozenset())
        events = due(_measured(fact), told, now)
        self._told[fact.name] = remembered(told, events, fact)
        for event in events:
            self._tell(event)


def _fact_of(certificate: Certificate) -> CertificateFact | None:
    try:
        leaf = leaf_of(certificate.chain)
    except Unusable:
        # It has a common name and nothing else: served, and of no use to a browser of today.
        return None
    return CertificateFact(
        name=leaf.names[0],
        status="active",
        source="file",
        issuer=leaf.issuer or None,
        names=leaf.names,
        serial=leaf.serial,
        fingerprint=leaf.fingerprint,
        key_type=leaf.key_type,
        not_before=leaf.not_before,
        not_after=leaf.not_after,
    )


def _at(fact: CertificateFact, now: datetime) -> CertificateFact:
    if fact.not_after is None or fact.not_after > now:
        return fact
    return msgspec.structs.replace(fact, status="failing", last_error="The certificate of the file has expired.")


def _measured(fact: CertificateFact) -> CertificateFact:
    """The fact as `certs.alarms` is to judge it: by the last months of a life of years."""
    if fact.not_before is None or fact.not_after is None:
        return fact
    return msgspec.structs.replace(fact, not_before=max(fact.not_before, fact.not_after - _MEASURED_LIFE))


def _is_free(fact: CertificateFact | None) -> bool:
    return fact is None or fact.source == "file"


def _never() -> datetime:
    return datetime.min.replace(tzinfo=UTC)
