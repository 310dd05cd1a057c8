"""CAA records allow and forbid as RFC 8659 and RFC 8657 say, and the advice names the record."""

from __future__ import annotations

from typing import Final

import pytest

from certs.caa import Asking, Property, judge
from certs.resolve import Answer, unknown
from certs.settings import ChallengeType

OURS = Asking(name="letsencrypt", identities=("letsencrypt.org",), account="https://acme.example/acct/1")
OTHER = Asking(name="zerossl", identities=("sectigo.com", "comodo.com"))
HTTP: Final[frozenset[ChallengeType]] = frozenset({"http-01"})


def caa(name: str, *values: str) -> Answer:
    """The CAA records of a name, none at all included."""
    return Answer(name=name, type="CAA", outcome="found" if values else "empty", values=values)


def texts(name: str, *values: str) -> list[str]:
    """What is said of records at example.com, for one issuer."""
    return [advice.text for advice in judge(name, [caa("example.com", *values)], [OURS], HTTP)]


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("0 iodef mailto:a@example.com",),
        ("0 issuewild ;",),
        ("0 issue letsencrypt.org",),
        ("0 ISSUE LetsEncrypt.org.",),
        ("0 issue digicert.com", "0 issue letsencrypt.org"),
        ("0 issue letsencrypt.org; accounturi=https://acme.example/acct/1",),
        ("0 issue letsencrypt.org ; validationmethods = dns-01,http-01",),
        ("0 issue letsencrypt.org; x-unknown=1",),
        ("128 issue letsencrypt.org",),
    ],
)
def test_allowed(values: tuple[str, ...]) -> None:
    """Nothing to say."""
    assert texts("shop.example.com", *values) == []


@pytest.mark.parametrize(
    "value",
    [
        "0 issue digicert.com",
        "0 issue ;",
        "0 issue ",
        "0 issue letsencrypt.org; =",
        "0 issue letsencrypt.org accounturi=x",
        "0 issue %%%%",
    ],
)
def test_forbidden(value: str) -> None:
    """To others, to all, and by what cannot be read (RFC 8659 section 4.2)."""
    (advice,) = judge("a.example.com", [caa("example.com", value)], [OURS], HTTP)
    assert advice.is_blocking


def test_the_advice_names_the_record() -> None:
    """What it says, and what it must say."""
    assert texts("shop.example.com", "0 issue digicert.com") == [
        (
            'CAA example.com says `0 issue "digicert.com"`, which keeps letsencrypt.org from issuing for '
            'shop.example.com; add `0 issue "letsencrypt.org"`'
        )
    ]


def test_wildcards_have_a_tag_of_their_own() -> None:
    """It goes before `issue`, which counts where it is missing (RFC 8659 section 4.3)."""
    assert texts("*.example.com", "0 issue ;", "0 issuewild letsencrypt.org") == []
    assert texts("*.example.com", "0 issue letsencrypt.org") == []
    assert len(texts("*.example.com", "0 issue digicert.com")) == 1
    (text,) = texts("*.example.com", "0 issue letsencrypt.org", "0 issuewild ;")
    assert text.endswith('add `0 issuewild "letsencrypt.org"`')


def test_an_account_of_others() -> None:
    """Is not ours, but before there is one nothing can be said."""
    record = "0 issue letsencrypt.org; accounturi=https://acme.example/acct/2"
    (text,) = texts("example.com", record)
    assert "change `accounturi` to https://acme.example/acct/1" in text
    without = Asking(name="letsencrypt", identities=("letsencrypt.org",))
    assert judge("example.com", [caa("example.com", record)], [without], HTTP) == []


def test_a_method_that_we_do_not_use() -> None:
    """The record may want another one."""
    (text,) = texts("example.com", "0 issue letsencrypt.org; validationmethods=dns-01")
    assert text.endswith("change `validationmethods` to http-01")


def test_a_critical_property_that_is_not_known() -> None:
    """Forbids all (RFC 8659 section 4.1)."""
    assert texts("example.com", "0 issue letsencrypt.org", "128 tbs x") == [
        'CAA example.com has `128 tbs "x"`, which no authority may pass over and few know; remove it'
    ]


def test_the_nearest_set_counts_alone() -> None:
    """Those above it say nothing any more (RFC 8659 section 3)."""
    climb = [caa("a.b.example"), caa("b.example", "0 issue letsencrypt.org"), caa("example", "0 issue ;")]
    assert judge("a.b.example", climb, [OURS], HTTP) == []
    assert judge("a.b.example", [climb[0], climb[2]], [OURS], HTTP)[0].text.startswith("CAA example says")


def test_behind_an_alias_the_record_is_elsewhere() -> None:
    """The name that has it is named."""
    answer = Answer(
        name="a.example.com", type="CAA", outcome="found", values=("0 issue ;",), aliases=("host.example.net",)
    )
    assert judge("a.example.com", [answer], [OURS], HTTP)[0].text.startswith("CAA host.example.net says")


def test_what_is_not_known_blocks_nothing() -> None:
    """But is said, since authorities have to refuse then; a nearer set makes it unimportant."""
    failed = unknown("b.example", "CAA", "192.0.2.1 answered SERVFAIL")
    (advice,) = judge("a.b.example", [caa("a.b.example"), failed, caa("example", "0 issue ;")], [OURS], HTTP)
    assert (advice.is_blocking, "CAA records of b.example" in advice.text) == (False, True)
    assert judge("a.b.example", [caa("a.b.example", "0 issue letsencrypt.org"), failed], [OURS], HTTP) == []


def test_one_issuer_of_several_is_enough() -> None:
    """The others are named."""
    (advice,) = judge("example.com", [caa("example.com", "0 issue comodo.com")], [OURS, OTHER], HTTP)
    assert not advice.is_blocking
    assert advice.text.endswith("without it letsencrypt cannot be asked")
    (advice,) = judge("example.com", [caa("example.com", "0 issue ;")], [OURS, OTHER], HTTP)
    assert advice.is_blocking


def test_an_issuer_of_unknown_names_is_not_judged() -> None:
    """Nor is anything without issuers."""
    climb = [caa("example.com", "0 issue ;")]
    assert judge("example.com", climb, [Asking(name="own")], HTTP) == []
    assert judge("example.com", climb, [], HTTP) == []


def test_a_property_as_in_a_zone_file() -> None:
    """With its quotes."""
    assert str(Property(0, "issue", "ca.example; a=b")) == '0 issue "ca.example; a=b"'
    assert Property(0, "issue", "ca.example; a=b").parameter("a") == "b"


def test_a_value_cannot_write_to_the_terminal() -> None:
    """Whoever runs the DNS of a domain chooses it, and an operator reads it."""
    (text,) = texts("shop.example.com", "0 issue \x1b]0;owned\x07\nevil.example" + "x" * 1000)
    assert '`0 issue "?]0;owned??evil.example' in text
    assert text.isprintable()
    assert len(text) < 500
