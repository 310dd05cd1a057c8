"""Holdings: bundles by wanted name, what they cover, what changed of late, and no key in any text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from state.holdings import TOUCHED_LIMIT, Bundle, Holdings


def bundle(*names: str, serial: int = 1) -> Bundle:
    """A bundle for these names."""
    return Bundle(fingerprint=f"{serial:064x}", names=names, chain=b"chain", key=b"s3cret")


def test_a_bundle_shows_no_key() -> None:
    """Not by `repr`, in a log, or in the repr of what holds it."""
    holdings = Holdings().with_bundle("a.example", bundle("a.example"))
    assert repr(bundle("a.example")) == "Bundle(0000000000000000, a.example)"
    assert "s3cret" not in repr(holdings)


def test_each_change_is_the_next_revision() -> None:
    """And leaves the value before it alone."""
    first = Holdings()
    second = first.with_bundle("a.example", bundle("a.example"))
    third = second.with_token("t", "t.thumbprint")
    fourth = third.with_validation("a.example", bundle("a.example"))
    assert [holdings.revision for holdings in (first, second, third, fourth)] == [0, 1, 2, 3]
    assert (len(first.bundles), len(second.tokens), len(third.validations)) == (0, 0, 0)
    assert fourth.tokens["t"] == "t.thumbprint"
    assert "a.example" in fourth.bundles
    assert "a.example" in fourth.validations


def test_what_is_not_needed_any_more_is_dropped() -> None:
    """Whether or not it was there."""
    holdings = Holdings().with_bundle("a.example", bundle("a.example")).with_token("t", "answer")
    holdings = holdings.with_validation("a.example", bundle("a.example"))
    for _ in range(2):
        holdings = holdings.with_bundle("a.example", None).with_token("t", None).with_validation("a.example", None)
    assert (len(holdings.bundles), len(holdings.tokens), len(holdings.validations)) == (0, 0, 0)


def test_a_certificate_covers_each_of_its_names() -> None:
    """By the names in it, which need not be the one that is wanted."""
    holdings = Holdings().with_bundle("a.example", bundle("a.example", "www.a.example"))
    assert holdings.covers("www.a.example")
    assert not holdings.covers("api.a.example")


def test_a_wildcard_covers_one_label() -> None:
    """Neither the name itself nor two labels (RFC 9525 section 6.3)."""
    holdings = Holdings().with_bundle("*.a.example", bundle("*.a.example"))
    assert [holdings.covers(name) for name in ("x.a.example", "*.a.example")] == [True, True]
    assert [holdings.covers(name) for name in ("a.example", "y.x.a.example", "b.example")] == [False] * 3


def test_a_name_is_covered_for_as_long_as_some_bundle_is_for_it() -> None:
    """Two wanted names may have certificates for the same name."""
    both = Holdings().with_bundles({name: bundle("a.example", name) for name in ("b.example", "c.example")})
    one = both.with_bundle("b.example", bundle("b.example", serial=2))
    assert one.covers("a.example")
    assert not one.with_bundle("c.example", None).covers("a.example")


def test_many_bundles_are_one_revision() -> None:
    """A start brings them all at once."""
    holdings = Holdings().with_bundles({f"h{number}.example": bundle(f"h{number}.example") for number in range(100)})
    assert (holdings.revision, len(holdings.bundles)) == (1, 100)
    holdings = holdings.with_bundles({"h7.example": None, "new.example": bundle("new.example")})
    assert holdings.touched_since(1) == frozenset({"h7.example", "new.example"})


def test_touched_since_names_the_bundles_that_changed() -> None:
    """Each once; tokens are no bundles."""
    holdings = Holdings()
    for name in ("a.example", "b.example", "a.example"):
        holdings = holdings.with_bundle(name, bundle(name))
    holdings = holdings.with_token("t", "answer")
    assert holdings.touched_since(0) == frozenset({"a.example", "b.example"})
    assert holdings.touched_since(2) == frozenset({"a.example"})
    assert holdings.touched_since(4) == frozenset()


def test_touched_since_does_not_guess() -> None:
    """Beyond what is remembered the answer is: look at everything."""
    many = {f"h{number}.example": bundle("x.example") for number in range(TOUCHED_LIMIT + 1)}
    holdings = Holdings().with_bundle("a.example", bundle("a.example"))
    assert holdings.with_bundles(many).touched_since(1) is None
    assert holdings.with_bundles(many).touched_since(2) == frozenset()
    for number in range(TOUCHED_LIMIT):
        holdings = holdings.with_bundle(f"h{number}.example", None)
    assert holdings.touched_since(0) is None
    assert len(holdings.touched_since(1) or ()) == TOUCHED_LIMIT


def test_proofs_go_by_name_and_are_touched() -> None:
    """Of each name the newest."""
    holdings = Holdings().with_proofs({"a.example": "first", "b.example": "other"}).with_proofs({"a.example": "second"})
    assert dict(holdings.proved.items()) == {"a.example": "second", "b.example": "other"}
    assert holdings.touched_since(0) == frozenset({"a.example", "b.example"})
    assert holdings.touched_since(1) == frozenset({"a.example"})


NAMES = st.sampled_from(["a.example", "b.example", "*.example"])
STEPS = st.lists(st.dictionaries(NAMES, st.none() | st.lists(NAMES, max_size=3, unique=True), max_size=3), max_size=20)


@given(STEPS)
def test_any_sequence_leads_to_what_a_start_would_make(steps: list[dict[str, list[str] | None]]) -> None:
    """Whatever came and went: the same bundles, and the same names covered."""
    holdings = Holdings()
    for step in steps:
        before = holdings
        made = {name: None if names is None else bundle(*names) for name, names in step.items()}
        holdings = holdings.with_bundles(made)
        assert holdings.touched_since(before.revision) == frozenset(step)
    restored = Holdings().with_bundles(dict(holdings.bundles.items()))
    assert (restored.bundles, restored.covered) == (holdings.bundles, holdings.covered)
