"""Which names have a certificate, and what has changed."""

from __future__ import annotations

import pytest

from mesh.routes import Certificate
from node.coverage import Coverage, Turn, certificate_of
from state.holdings import TOUCHED_LIMIT, Bundle, Holdings
from state.hosts import wildcard_of
from state.kinds import Kind
from state.model import Desired, Domain
from tests.state.samples import NOON


def bundle(fingerprint: str, *names: str) -> Bundle:
    """A bundle for these names."""
    return Bundle(fingerprint=fingerprint, names=names, chain=b"c", key=b"k")


def held(**bundles: Bundle) -> Holdings:
    """These bundles, each under the first of its names."""
    return Holdings().with_bundles({each.names[0]: each for each in bundles.values()})


def desired(*names: str) -> Desired:
    """These domains."""
    state = Desired()
    for name in names:
        state = state.with_value(Kind.DOMAIN, Domain(name=name, created_at=NOON))
    return state


FILE = Certificate(fingerprint="f", names=("file.example", "*.file.example"), chain=b"c", key=b"k")


@pytest.mark.parametrize(
    ("name", "is_covered"),
    [
        ("file.example", True),
        ("www.file.example", True),
        ("a.www.file.example", False),
        ("*.file.example", True),
        ("held.example", True),
        ("also.example", True),
        ("a.wild.example", True),
        ("wild.example", False),
        ("*.held.example", False),
    ],
)
def test_names_are_covered_by_files_and_by_holdings(name: str, is_covered: bool) -> None:
    """A wildcard stands for one label (RFC 9525 section 6.3)."""
    holdings = held(a=bundle("1", "held.example", "also.example"), b=bundle("2", "*.wild.example"))
    assert Coverage((FILE,), holdings).covers(name) is is_covered


def test_a_certificate_is_given_once() -> None:
    """Though it is in a file, and held under two names."""
    one = bundle("1", "a.example", "b.example")
    holdings = Holdings().with_bundles({"a.example": one, "b.example": one, "c.example": bundle("f", "file.example")})
    assert [each.fingerprint for each in Coverage((FILE,), holdings).certificates()] == ["f", "1"]


def test_a_turn_has_what_came_and_what_went() -> None:
    """A renewal is both, and leaves the domain as it was."""
    before = held(a=bundle("1", "a.example"), b=bundle("2", "b.example"))
    now = before.with_bundles({"a.example": bundle("3", "a.example"), "b.example": None, "c.example": None})
    turn = Turn(Coverage((), now), Coverage((), before))
    assert turn.put() == (certificate_of(bundle("3", "a.example")),)
    assert turn.removed() == ("1", "2")
    assert list(turn.domains(desired("a.example", "b.example", "c.example"))) == ["b.example"]


def test_what_is_held_elsewhere_does_not_go() -> None:
    """One of two wanted names of a certificate is unwanted, or its file takes over."""
    one = bundle("1", "a.example", "b.example")
    before = Holdings().with_bundles({"a.example": one, "b.example": one})
    turn = Turn(Coverage((), before.with_bundle("a.example", None)), Coverage((), before))
    assert (turn.put(), turn.removed()) == ((), ())
    assert list(turn.domains(desired("a.example", "b.example"))) == []
    file, nothing = certificate_of(one), before.with_bundles({"a.example": None, "b.example": None})
    turn = Turn(Coverage((file,), nothing), Coverage((), before))
    assert (turn.put(), turn.removed()) == ((), ())


def test_a_wildcard_turns_the_domains_that_it_covers() -> None:
    """Those one label below it which have none of their own."""
    before = held(a=bundle("1", "own.a.example"))
    now = before.with_bundle("*.a.example", bundle("2", "*.a.example"))
    state = desired("x.a.example", "own.a.example", "y.x.a.example", "a.example", "*.a.example")
    come = Turn(Coverage((), now), Coverage((), before))
    assert set(come.domains(state)) == {"x.a.example", "*.a.example"}
    gone = Turn(Coverage((), now.with_bundle("*.a.example", None)), Coverage((), now))
    assert set(gone.domains(state)) == {"x.a.example", "*.a.example"}


def test_files_turn_domains_too() -> None:
    """A reload may bring a certificate, or take one."""
    turn = Turn(Coverage((FILE,), Holdings()), Coverage((), Holdings()))
    assert turn.put() == (FILE,)
    assert set(turn.domains(desired("file.example", "www.file.example", "b.example"))) == {
        "file.example",
        "www.file.example",
    }


def test_too_far_behind_all_bundles_are_compared() -> None:
    """Holdings remember what was touched for a while only."""
    before = held(a=bundle("1", "a.example"), b=bundle("2", "b.example"))
    now = before.with_bundle("a.example", None)
    for number in range(TOUCHED_LIMIT + 1):
        now = now.with_bundle("c.example", bundle(f"c{number}", "c.example"))
    assert now.touched_since(before.revision) is None
    turn = Turn(Coverage((), now), Coverage((), before))
    assert [each.fingerprint for each in turn.put()] == [f"c{TOUCHED_LIMIT}"]
    assert turn.removed() == ("1",)


def test_the_wildcard_of_a_name() -> None:
    """It takes the place of the first label; a wildcard's is itself."""
    assert [wildcard_of(name) for name in ("a.b.example", "*.b.example")] == ["*.b.example"] * 2
