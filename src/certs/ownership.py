"""The proof that a domain is the customer's: a TXT record that only its owner can make, with a token that we gave."""

from __future__ import annotations

from certs.resolve import Answer
from state.ports import Advice


def record_of(name: str) -> str:
    """Where the token has to be for a domain; a wildcard is proved by the name under which it stands."""
    return f"_zexio.{name.removeprefix('*.')}"


def judge(name: str, token: str, answer: Answer) -> Advice | None:
    """What is missing of the proof, given the answer for TXT of `record_of(name)`; None when it is there.

    This is the one place where not knowing stands in the way: a proof that could not be looked up is none, or whoever
    can keep our resolvers busy could claim any name.
    """
    # People copy the quotes of zone files into forms that add their own.
    if token in {value.strip().strip('"') for value in answer.values}:
        return None
    record = record_of(name)
    wish = f'it must have the value "{token}"'
    if not answer.is_definite:
        text = f"TXT {record}, which proves whose the domain is, could not be looked up: {answer.reason}; {wish}"
    elif answer.values:
        text = f"TXT {record} is {', '.join(_quoted(value) for value in answer.values[:4])}; {wish}"
    else:
        text = f"There is no TXT record {record}, which proves whose the domain is; add it, {wish}"
    return Advice(is_blocking=True, text=text)


def _quoted(value: str) -> str:
    # Anything can be in a TXT record, and the text is read by people.
    shown = "".join(character if character.isprintable() else "?" for character in value)
    return f'"{shown[:80]}"'
