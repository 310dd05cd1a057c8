"""Who is looked at when, and who goes first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from certs.agenda import Agenda, Entry, Rank

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_nobody_is_taken_before_the_time() -> None:
    """The clock stands a second before."""
    agenda = filled(entry("a", at_s=1))
    assert agenda.take(NOON) is None
    assert agenda.next_at(NOON) == NOON + timedelta(seconds=1)


def test_who_is_due_is_taken_once() -> None:
    """And is on the agenda no more."""
    agenda = filled(entry("a"))
    assert agenda.next_at(NOON) == NOON
    assert names(agenda) == ["a"]
    assert agenda.next_at(NOON) is None
    assert len(agenda) == 0


def test_a_new_entry_takes_the_place_of_the_old() -> None:
    """Whether it is later or sooner."""
    agenda = filled(entry("a"), entry("a", at_s=5), entry("b", at_s=9), entry("b"))
    assert names(agenda) == ["b"]
    assert agenda.when("a") == NOON + timedelta(seconds=5)
    assert agenda.next_at(NOON) == NOON + timedelta(seconds=5)


def test_the_same_entry_again_keeps_its_place() -> None:
    """Somebody who says the same again does not go to the end of the line."""
    agenda = filled(entry("a"), entry("b"), entry("a"))
    assert names(agenda) == ["a", "b"]


def test_who_was_dropped_is_not_taken() -> None:
    """Not even when it was due already."""
    agenda = filled(entry("a"), entry("b"))
    assert agenda.next_at(NOON) == NOON
    agenda.drop("a")
    agenda.drop("unknown")
    assert "a" not in agenda
    assert agenda.when("a") is None
    assert names(agenda) == ["b"]


def test_who_was_due_and_is_put_off_is_not_taken() -> None:
    """The entry in the line of those that are due is void."""
    agenda = filled(entry("a"))
    assert agenda.next_at(NOON) == NOON
    agenda.put(entry("a", at_s=5))
    assert agenda.take(NOON) is None


def test_who_is_waited_for_goes_first_and_then_what_expires() -> None:
    """Somebody watches the one, and the other is served to visitors."""
    agenda = filled(
        entry("new"), entry("renewal", Rank.RENEWAL), entry("expiring", Rank.EXPIRING), entry("asked", Rank.WAITED_FOR)
    )
    assert names(agenda)[:2] == ["asked", "expiring"]


def test_new_names_and_renewals_take_turns() -> None:
    """A thousand of the one kind do not keep the other from its turn."""
    agenda = filled(*(entry(f"n{number}") for number in range(3)), entry("r0", Rank.RENEWAL), entry("r1", Rank.RENEWAL))
    assert names(agenda) == ["n0", "r0", "n1", "r1", "n2"]


def test_the_renewal_that_expires_first_goes_first() -> None:
    """Whenever it was planned."""
    agenda = filled(entry("late", Rank.RENEWAL, before_s=9), entry("soon", Rank.RENEWAL, before_s=2))
    assert names(agenda) == ["soon", "late"]


def test_ten_thousand_names_are_taken_in_order() -> None:
    """The cost of one is not that of all."""
    agenda = filled(*(entry(f"n{number}", at_s=number) for number in range(10_000)))
    assert names(agenda, NOON + timedelta(days=1)) == [f"n{number}" for number in range(10_000)]


def entry(name: str, rank: Rank = Rank.NEW, *, at_s: float = 0, before_s: float = 0) -> Entry:
    """An entry so many seconds after noon."""
    return Entry(name=name, at=NOON + timedelta(seconds=at_s), rank=rank, before=NOON + timedelta(seconds=before_s))


def filled(*entries: Entry) -> Agenda:
    """An agenda with these, put one after the other."""
    agenda = Agenda()
    for one in entries:
        agenda.put(one)
    return agenda


def names(agenda: Agenda, now: datetime = NOON) -> list[str]:
    """Everybody who is due, in order."""
    found = []
    while taken := agenda.take(now):
        found.append(taken.name)
    return found
