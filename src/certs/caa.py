"""Whether the CAA records of a name let an authority issue for it (RFC 8659, with the parameters of RFC 8657)."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from certs.resolve import Answer
from certs.settings import ChallengeType
from state.ports import Advice

_CRITICAL: Final = 128
_SHOWN: Final = 200
_KNOWN: Final = frozenset({"issue", "issuewild", "iodef", "contactemail", "contactphone", "issuemail", "issuevmc"})
_ISSUERS_DOMAIN: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
_PARAMETER: Final = re.compile(r"([A-Za-z0-9-]+)[ \t]*=[ \t]*([\x21-\x3a\x3c-\x7e]*)")


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """An authority that is to be asked: the names it goes by in CAA records, and our account there, "" if none yet.

    Without identities it is not known by which name records would allow it, so nothing is judged for it.
    """

    name: str
    identities: tuple[str, ...] = ()
    account: str = ""


class Property(msgspec.Struct, frozen=True):
    """One CAA record: for `issue` and `issuewild` the authority's name, "" for none, and the parameters."""

    flags: int
    tag: str
    value: str

    @property
    def issuer(self) -> str:
        """The authority that is allowed; "" allows nobody, and so does what cannot be read (RFC 8659 section 4.2)."""
        issuer, *parameters = (part.strip(" \t") for part in self.value.split(";"))
        is_readable = all(_PARAMETER.fullmatch(part) for part in parameters if part)
        issuer = issuer.lower().removesuffix(".")
        return issuer if is_readable and _ISSUERS_DOMAIN.fullmatch(issuer) else ""

    def parameter(self, tag: str) -> str | None:
        """The value of a parameter, if it is there."""
        for part in self.value.split(";")[1:]:
            match = _PARAMETER.fullmatch(part.strip(" \t"))
            if match is not None and match[1].lower() == tag:
                return match[2]
        return None

    def __str__(self) -> str:
        """As in a zone file, fit for a terminal: anything can be in a value, and people read it."""
        shown = "".join(character if character.isprintable() else "?" for character in self.value)
        return f'{self.flags} {self.tag} "{shown[:_SHOWN]}"'


def judge(
    name: str, climb: Sequence[Answer], issuers: Sequence[Asking], challenges: Collection[ChallengeType]
) -> list[Advice]:
    """What stands in the way of certificates for `name`, which may be a wildcard.

    `climb` are the answers for CAA of the name without `*.` and of each name above it, nearest first. It blocks when it
    forbids every issuer.
    """
    relevant = _relevant(climb)
    if relevant is None or not issuers:
        return []
    if not relevant.is_definite:
        text = (
            f"The CAA records of {relevant.name} could not be looked up: {relevant.reason}. An authority that cannot "
            "look them up either will refuse; ask whoever runs the DNS of the domain."
        )
        return [Advice(is_blocking=False, text=text)]
    properties = [_property(value) for value in relevant.values]
    hindrances = [(issuer, _hindrance(name, properties, issuer, challenges)) for issuer in issuers]
    forbidden = [(issuer, hindrance) for issuer, hindrance in hindrances if hindrance]
    if not forbidden:
        return []
    is_blocking = len(forbidden) == len(issuers)
    hindrance = forbidden[0][1]
    others = "" if is_blocking else f"; without it {', '.join(issuer.name for issuer, _ in forbidden)} cannot be asked"
    return [Advice(is_blocking=is_blocking, text=f"CAA {relevant.owner} {hindrance}{others}")]


def _relevant(climb: Sequence[Answer]) -> Answer | None:
    # RFC 8659 section 3: the set nearest to the name counts alone. One that is unknown could be it.
    return next((answer for answer in climb if answer.values or not answer.is_definite), None)


def _property(value: str) -> Property:
    flags, _, rest = value.partition(" ")
    tag, _, content = rest.partition(" ")
    return Property(int(flags), tag.lower(), content)


def _hindrance(
    name: str, properties: Sequence[Property], issuer: Asking, challenges: Collection[ChallengeType]
) -> str | None:
    """Why the records forbid an issuer, as the rest of a sentence that begins with `CAA name`; None if they do not."""
    if not issuer.identities:
        return None
    critical = next((found for found in properties if found.flags & _CRITICAL and found.tag not in _KNOWN), None)
    if critical is not None:
        return f"has `{critical}`, which no authority may pass over and few know; remove it"
    tag = _tag_for(name, properties)
    found = [one for one in properties if one.tag == tag]
    if not found:
        return None
    own = [one for one in found if one.issuer in issuer.identities]
    wish = f'`0 {tag} "{issuer.identities[0]}"`'
    if not own:
        return f"says {_list(found)}, which keeps {issuer.identities[0]} from issuing for {name}; add {wish}"
    if not any(_fits_account(one, issuer) for one in own):
        return (
            f"says {_list(own)}, which is for another account; change `accounturi` to {issuer.account}, or add {wish}"
        )
    if not any(_fits_method(one, challenges) for one in own if _fits_account(one, issuer)):
        ours = ",".join(sorted(challenges))
        return f"says {_list(own)}, but validation is by {ours} here; change `validationmethods` to {ours}"
    return None


def _tag_for(name: str, properties: Sequence[Property]) -> str:
    # RFC 8659 section 4.3: with issuewild, issue says nothing about wildcards; without wildcards, issuewild nothing.
    is_wild = name.startswith("*.") and any(found.tag == "issuewild" for found in properties)
    return "issuewild" if is_wild else "issue"


def _fits_account(found: Property, issuer: Asking) -> bool:
    account = found.parameter("accounturi")
    return account is None or not issuer.account or account == issuer.account


def _fits_method(found: Property, challenges: Collection[ChallengeType]) -> bool:
    methods = found.parameter("validationmethods")
    return methods is None or not challenges or bool(set(challenges) & set(methods.lower().split(",")))


def _list(properties: Sequence[Property]) -> str:
    return ", ".join(f"`{found}`" for found in properties[:4])
