"""Orders are counted, by issuer, by registered domain and by name, and never more are made than may be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from publicsuffixlist import PublicSuffixList

from certs.budget import Budget, Limit, OrderLog, Wait, cap_of, limits_of, registered_domain, spend
from certs.settings import ISSUERS, IssuerSpec

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)
SPEC = IssuerSpec(
    name="test",
    directory="https://ca.example/dir",
    staging="https://staging.example/dir",
    orders_per_3h=6,
    certificates_per_domain_week=2,
)
steps = st.lists(st.timedeltas(timedelta(), timedelta(days=3)), max_size=60)


def limit(amount: int = 3, span: timedelta = 3 * HOUR, key: str = "orders/x") -> Limit:
    """So many in three hours."""
    return Limit(key=key, amount=amount, span=span, reason="because")


def spent(budget: Budget, limits: tuple[Limit, ...], now: datetime, times: int = 1) -> Budget:
    """The budget after so many orders that may be made."""
    for _ in range(times):
        left = spend(budget, limits, now)
        assert isinstance(left, Budget)
        budget = left
    return budget


def test_all_may_be_spent_at_once_and_comes_back_evenly() -> None:
    """As with the authorities themselves."""
    budget = spent(Budget(), (limit(),), NOW, 3)
    assert budget.left(limit(), NOW) == 0
    assert spend(budget, (limit(),), NOW) == Wait(until=NOW + HOUR, reason="because")
    budget = spent(budget, (limit(),), NOW + HOUR)
    assert isinstance(spend(budget, (limit(),), NOW + HOUR), Wait)
    assert budget.left(limit(), NOW + 10 * HOUR) == 3


def test_nothing_is_taken_from_one_limit_when_another_is_exhausted() -> None:
    """The longest wait is told."""
    narrow = limit(1, WEEK, "domain/x")
    budget = spent(Budget(), (limit(), narrow), NOW)
    refused = spend(budget, (limit(), narrow), NOW)
    assert refused == Wait(until=NOW + WEEK, reason="because")
    assert budget.left(limit(), NOW) == 2


def test_only_what_is_not_full_again_is_kept() -> None:
    """A budget does not grow with every name that ever was."""
    budget = Budget()
    for number in range(50):
        budget = spent(budget, (limit(key=f"domain/{number}"),), NOW + number * HOUR)
    assert list(budget.full_at) == ["domain/49"]


@given(steps, st.integers(1, 5))
def test_never_more_than_twice_the_amount_in_any_span(pauses: list[timedelta], amount: int) -> None:
    """A token bucket gives its amount at once and the same again while the span passes."""
    budget, now, made = Budget(), NOW, list[datetime]()
    for pause in pauses:
        now += pause
        left = spend(budget, (limit(amount),), now)
        if isinstance(left, Budget):
            budget = left
            made.append(now)
        else:
            assert now < left.until <= now + 3 * HOUR
            assert isinstance(spend(budget, (limit(amount),), left.until), Budget)
    assert all(sum(first <= other < first + 3 * HOUR for other in made) <= 2 * amount for first in made)


def test_a_clock_that_is_set_back_makes_nobody_wait_longer_than_the_span() -> None:
    """What is written in the budget lies far in the future then."""
    budget = spent(Budget(), (limit(),), NOW + 365 * timedelta(days=1), 3)
    refused = spend(budget, (limit(),), NOW)
    assert isinstance(refused, Wait)
    assert refused.until <= NOW + 3 * HOUR


def test_a_limit_that_was_lowered_holds_from_now_on() -> None:
    """And one of nothing lets nothing pass, but can be raised again."""
    budget = spent(Budget(), (limit(100),), NOW, 100)
    refused = spend(budget, (limit(1),), NOW)
    assert isinstance(refused, Wait)
    assert refused.until <= NOW + 3 * HOUR
    assert isinstance(spend(Budget(), (limit(0),), NOW), Wait)
    assert isinstance(spend(Budget(), (limit(1),), NOW), Budget)


def test_what_an_order_takes_from() -> None:
    """New names of a domain are counted by week as well."""
    orders, week = limits_of(SPEC, SPEC.directory, "example.com", is_renewal=False)
    assert (orders.key, orders.amount, orders.span) == ("orders/https://ca.example/dir", 6, 3 * HOUR)
    assert (week.key, week.amount, week.span) == ("domain/https://ca.example/dir/example.com", 2, WEEK)
    assert "example.com" in week.reason


def test_renewals_and_staging_are_not_counted_by_domain() -> None:
    """Authorities let renewals pass, and staging has limits of its own, under another key."""
    renewal = limits_of(SPEC, SPEC.directory, "example.com", is_renewal=True)
    assert [found.key for found in renewal] == ["orders/https://ca.example/dir"]
    staging = limits_of(SPEC, "https://staging.example/dir", "example.com", is_renewal=False)
    assert [found.key for found in staging] == ["orders/https://staging.example/dir"]


def test_half_of_the_limits_is_kept_from_visitors() -> None:
    """Or strangers who make names up would use up what operators need."""
    spec = msgspec.structs.replace(SPEC, orders_per_3h=4, certificates_per_domain_week=4)
    demanded = limits_of(spec, spec.directory, "example.com", is_renewal=False, is_demanded=True)
    budget = Budget()
    for _ in range(2):
        spent = spend(budget, demanded, NOW)
        assert isinstance(spent, Budget)
        budget = spent
    assert isinstance(spend(budget, demanded, NOW), Wait)
    for _ in range(2):
        spent = spend(budget, limits_of(spec, spec.directory, "example.com", is_renewal=False), NOW)
        assert isinstance(spent, Budget)
        budget = spent
    assert isinstance(spend(budget, limits_of(spec, spec.directory, "example.com", is_renewal=False), NOW), Wait)


def test_our_limits_are_below_those_of_the_authorities() -> None:
    """A bucket may give twice its amount in the worst window, but refills as slowly as theirs: below is enough."""
    for spec in ISSUERS.values():
        assert spec.orders_per_3h < 300
        assert spec.certificates_per_domain_week < 50


def test_a_name_has_so_many_orders_a_week_and_not_one_more() -> None:
    """The oldest makes room."""
    log = OrderLog()
    for day in range(5):
        more = log.spent(NOW + timedelta(days=day), 5, is_urgent=True)
        assert isinstance(more, OrderLog)
        log = more
    refused = log.spent(NOW + timedelta(days=5), 5, is_urgent=True)
    assert isinstance(refused, Wait)
    assert refused.until == NOW + WEEK
    assert "5 certificates" in refused.reason
    assert isinstance(log.spent(NOW + WEEK, 5, is_urgent=True), OrderLog)


def test_one_is_kept_for_when_it_is_urgent() -> None:
    """Windows and operators alone never use up what keeps a name alive."""
    log = OrderLog((NOW,) * 4)
    wait = log.spent(NOW, 5, is_urgent=False)
    assert isinstance(wait, Wait)
    assert wait.reason.endswith("5 are the most for one name, of which one is kept for when it has no valid one")
    assert isinstance(log.spent(NOW, 5, is_urgent=True), OrderLog)
    assert isinstance(OrderLog().spent(NOW, 1, is_urgent=False), OrderLog)


@given(steps, st.integers(1, 6), st.booleans())
def test_never_more_than_the_cap_in_any_week(pauses: list[timedelta], cap: int, is_urgent: bool) -> None:
    """Whatever asks."""
    log, now, made = OrderLog(), NOW, list[datetime]()
    for pause in pauses:
        now += pause
        more = log.spent(now, cap, is_urgent=is_urgent)
        if isinstance(more, OrderLog):
            log = more
            made.append(now)
        else:
            assert now < more.until <= now + WEEK
            assert isinstance(log.spent(more.until, cap, is_urgent=is_urgent), OrderLog)
    assert all(sum(first <= other < first + WEEK for other in made) <= cap for first in made)


def test_an_order_without_a_certificate_is_given_back() -> None:
    """A customer whose records were wrong five times does not wait for a week."""
    log = OrderLog((NOW, NOW + HOUR))
    assert log.returned(NOW + HOUR) == OrderLog((NOW,))
    assert log.returned(NOW + 2 * HOUR) == log


def test_orders_in_the_future_count_as_of_now() -> None:
    """A clock that was set back does not lock a name out for longer than a week, nor open it."""
    log = OrderLog((NOW + 365 * timedelta(days=1),) * 5)
    refused = log.spent(NOW, 5, is_urgent=True)
    assert isinstance(refused, Wait)
    assert refused.until == NOW + WEEK


@pytest.mark.parametrize(
    ("life", "cap"),
    [
        (None, 5),
        (timedelta(), 5),
        (timedelta(days=90), 5),
        (timedelta(days=7), 5),
        (timedelta(days=1), 21),
        (timedelta(seconds=120), 15120),
    ],
)
def test_short_lives_may_have_twice_what_they_need(life: timedelta | None, cap: int) -> None:
    """Else the cap itself would let them expire."""
    assert cap_of(5, life) == cap


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("shop.example.com", "example.com"),
        ("*.shop.example.co.uk", "example.co.uk"),
        ("example.com", "example.com"),
        ("co.uk", "co.uk"),
        ("someone.github.io", "someone.github.io"),
    ],
)
def test_the_registered_domain(name: str, domain: str, suffixes: PublicSuffixList) -> None:
    """By the public suffix list."""
    assert registered_domain(name, suffixes) == domain


@pytest.fixture(scope="module")
def suffixes() -> PublicSuffixList:
    """The list; it takes a while to read."""
    return PublicSuffixList()


def test_what_was_spent_outlives_the_process() -> None:
    """Both values are saved as they are."""
    budget = spent(Budget(), (limit(),), NOW, 2)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(budget), type=Budget) == budget
    log = OrderLog((NOW, NOW + HOUR))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(log), type=OrderLog) == log
