"""A domain is proved by its token in a TXT record, and by nothing else."""

from __future__ import annotations

import pytest

from certs.ownership import judge, record_of
from certs.resolve import Answer, unknown

RECORD = "_zexio.shop.example.com"


def txt(*values: str) -> Answer:
    """The TXT records of the name."""
    return Answer(name=RECORD, type="TXT", outcome="found" if values else "missing", values=values)


def test_where_the_token_has_to_be() -> None:
    """A wildcard is proved by the name under it."""
    assert record_of("shop.example.com") == record_of("*.shop.example.com") == RECORD


@pytest.mark.parametrize("values", [("t0ken",), ("other", " t0ken "), ('"t0ken"',)])
def test_the_token_proves_it(values: tuple[str, ...]) -> None:
    """Beside others, and with the quotes of a zone file."""
    assert judge("shop.example.com", "t0ken", txt(*values)) is None


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            txt(),
            (
                f"There is no TXT record {RECORD}, which proves whose the domain is; add it, "
                'it must have the value "t0ken"'
            ),
        ),
        (txt("other\n"), f'TXT {RECORD} is "other?"; it must have the value "t0ken"'),
        (
            unknown(RECORD, "TXT", "192.0.2.1 answered SERVFAIL"),
            (
                f"TXT {RECORD}, which proves whose the domain is, could not be looked up: 192.0.2.1 answered SERVFAIL; "
                'it must have the value "t0ken"'
            ),
        ),
    ],
)
def test_all_else_does_not(answer: Answer, text: str) -> None:
    """Not even that nobody knows."""
    advice = judge("shop.example.com", "t0ken", answer)
    assert advice is not None
    assert (advice.is_blocking, advice.text) == (True, text)
