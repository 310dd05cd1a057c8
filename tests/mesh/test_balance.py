"""The ways of choosing: turns spread, the idlest, lots by weight, and slots that stay with their target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.balance import ConsistentHash, LeastRequests, RandomTwo, Turns, Way, way
from mesh.policies import Hash
from mesh.routes import Balance

BALANCES: Sequence[Balance] = ("round_robin", "least_requests", "random_two", "consistent_hash")
weights = st.lists(st.integers(1, 9), min_size=1, max_size=6)


class _Busy:
    """A number of requests in flight."""

    def __init__(self, in_flight: int = 0) -> None:
        self.in_flight = in_flight


class _Asks:
    """A request; draws come in turn, and are 0 when there are no more."""

    def __init__(self, address: bytes = b"", draws: Iterable[float] = (), value: bytes = b"") -> None:
        self.address = address
        self.is_secure = False
        self._draws = iter(draws)
        self._value = value
        self.asked: list[tuple[str, bytes]] = []

    def draw(self) -> float:
        return next(self._draws, 0.0)

    def field(self, name: bytes) -> bytes:
        self.asked.append(("field", name))
        return self._value

    def cookie(self, name: bytes) -> bytes:
        self.asked.append(("cookie", name))
        return self._value


NOTHING = _Asks()


def _names(count: int) -> list[str]:
    return [f"http://10.0.0.{index}:80" for index in range(count)]


def _hashing(weight: Sequence[int], names: Sequence[str] | None = None, source: Hash | None = None) -> ConsistentHash:
    return ConsistentHash(weight, _names(len(weight)) if names is None else names, source or Hash())


def _turns(chosen: Way, count: int, many: int) -> list[int]:
    targets = [_Busy()] * many
    return [chosen.first(targets, NOTHING) for _ in range(count)]


@given(weights, st.integers(1, 3))
def test_turns_follow_the_weights_exactly(weight: list[int], periods: int) -> None:
    """Over every period of as many requests as all weights together, each target gets its weight."""
    turns = Turns(weight)
    for _ in range(periods):
        assert Counter(_turns(turns, sum(weight), len(weight))) == dict(enumerate(weight))


def test_turns_of_a_heavy_target_are_spread() -> None:
    """The order that nginx documents for the weights 5, 1 and 1."""
    assert _turns(Turns([5, 1, 1]), 7, 3) == [0, 0, 1, 0, 2, 0, 0]


def test_turns_that_are_too_many_to_write_down_are_the_same() -> None:
    """Weights without a common divisor make long periods."""
    weight = [9973, 4987, 1]
    counted = Counter(_turns(Turns(weight), sum(weight), 3))
    assert counted == dict(enumerate(weight))


def test_turns_begin_anywhere() -> None:
    """Workers that begin together do not all begin with the same target."""
    targets = [_Busy()] * 4
    firsts = [Turns([1, 1, 1, 1]).first(targets, _Asks(draws=[draw])) for draw in (0.0, 0.3, 0.6, 0.9)]
    assert firsts == [0, 1, 2, 3]


def test_turns_go_on_among_some() -> None:
    """Weights hold among those that are usable, fractions too."""
    turns = Turns([1, 1, 1])
    counted = Counter(turns.among([0, 2], [0.5, 1.0, 1.0], [_Busy()] * 3, NOTHING) for _ in range(30))
    assert counted == {0: 10, 2: 20}


def test_the_least_busy_target_is_chosen() -> None:
    """What counts is the number of requests in flight for the weight."""
    targets = [_Busy(3), _Busy(1), _Busy(4)]
    least = LeastRequests([1, 1, 8])
    assert least.first(targets, NOTHING) == 2
    assert least.among([0, 1], [1, 1, 8], targets, NOTHING) == 1


def test_load_is_measured_by_weight() -> None:
    """A target of four times the weight carries four times as much before it is the busier one."""
    targets = [_Busy(), _Busy()]
    least = LeastRequests([1, 4])
    for _ in range(10):
        targets[least.first(targets, NOTHING)].in_flight += 1
    assert [target.in_flight for target in targets] == [2, 8]


def test_targets_that_are_equally_idle_take_turns_by_weight() -> None:
    """Otherwise the first one would have all the work of a quiet hour."""
    least = LeastRequests([1, 3])
    assert Counter(_turns(least, 40, 2)) == {0: 10, 1: 30}
    among = Counter(least.among([0, 1], [1, 3], [_Busy(), _Busy()], NOTHING) for _ in range(40))
    assert among == {0: 10, 1: 30}


@pytest.mark.parametrize("weight", [[1, 1], [1, 3], [1, 2, 3, 4], [5, 1, 1, 1, 1]])
def test_lots_are_drawn_by_weight(weight: list[int]) -> None:
    """When nobody is busy, each target is chosen as often as its weight says."""
    random = Random(7)
    asks = _Asks(draws=iter(random.random, None))
    lots = RandomTwo(weight)
    count = 20_000
    targets = [_Busy()] * len(weight)
    everyone = range(len(weight))
    first = Counter(lots.first(targets, asks) for _ in range(count))
    among = Counter(lots.among(everyone, weight, targets, asks) for _ in range(count))
    for counted in (first, among):
        for index, each in enumerate(weight):
            assert abs(counted[index] / count - each / sum(weight)) < 0.015


@pytest.mark.parametrize("weight", [[1, 1, 1], [1, 2, 3]])
def test_the_second_lot_is_drawn_by_weight_from_the_others(weight: list[int]) -> None:
    """With one target that is never the less busy one, the others share what it would have had."""
    random = Random(8)
    asks = _Asks(draws=iter(random.random, None))
    count = 20_000
    targets = [_Busy(10**6), _Busy(), _Busy()]
    counted = Counter(RandomTwo(weight).first(targets, asks) for _ in range(count))
    total = sum(weight)
    assert counted[0] == 0
    for index in (1, 2):
        expected = weight[index] / total + weight[0] / total * weight[index] / (total - weight[0])
        assert abs(counted[index] / count - expected) < 0.015


@given(weights, st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_of_two_drawn_targets_the_less_busy_one_is_chosen(weight: list[int], one: float, other: float) -> None:
    """Only one target can never win: the busiest of all, when there are others."""
    targets = [_Busy(1000), *(_Busy() for _ in weight)]
    chosen = RandomTwo([1, *weight]).first(targets, _Asks(draws=[one, other]))
    assert 0 < chosen < len(targets)


@given(weights, st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_lots_with_fractions_stay_among_the_usable(weight: list[int], one: float, other: float) -> None:
    """Rounding at the ends of the range leads nowhere else."""
    shares = [each * 0.1 for each in weight]
    usable = range(0, len(weight), 2)
    targets = [_Busy()] * len(weight)
    assert RandomTwo(weight).among(usable, shares, targets, _Asks(draws=[one, other])) in usable


keys = st.lists(st.binary(min_size=1, max_size=16), min_size=1, max_size=30, unique=True)


@given(keys, weights, st.data())
def test_only_the_keys_of_a_target_that_left_move(found: list[bytes], weight: list[int], data: st.DataObject) -> None:
    """Everybody else stays where they were; the same holds the other way round for one that comes."""
    weight = [*weight, 1]
    names = _names(len(weight))
    gone = data.draw(st.integers(0, len(weight) - 1))
    before = _hashing(weight, names)
    after = _hashing(weight[:gone] + weight[gone + 1 :], names[:gone] + names[gone + 1 :])
    rest = [index for index in range(len(weight)) if index != gone]
    for key in found:
        asks = _Asks(key)
        owner = names[before.first([], asks)]
        successor = (names[:gone] + names[gone + 1 :])[after.first([], asks)]
        assert owner in (names[gone], successor)
        # One that is only not usable at the moment is passed over in the same way.
        assert names[before.among(rest, weight, [], asks)] == successor


def test_more_weight_only_draws_keys_to_it() -> None:
    """No key moves between two targets because of a third."""
    before, after = _hashing([2, 2, 2]), _hashing([2, 3, 2])
    for number in range(500):
        asks = _Asks(b"%d" % number)
        was, now = before.first([], asks), after.first([], asks)
        assert now in (was, 1)


@pytest.mark.parametrize("many", [2, 7, 40])
def test_keys_are_spread_evenly(many: int) -> None:
    """No target has far more or far fewer keys than its share."""
    hashing = _hashing([1] * many)
    counted = Counter(hashing.first([], _Asks(b"10.1.%d.%d" % divmod(number, 250))) for number in range(200 * many))
    assert 120 < min(counted.values()) <= max(counted.values()) < 290
    assert len(counted) == many


def test_hashing_follows_the_weights_roughly() -> None:
    """A target of three times the weight has about three times the keys."""
    hashing = _hashing([1, 3])
    counted = Counter(hashing.first([], _Asks(b"%d" % number)) for number in range(4000))
    assert 0.72 < counted[1] / 4000 < 0.78


def test_the_same_key_goes_to_the_same_target_in_every_worker() -> None:
    """These targets are written down: a change of them would move everybody."""
    addresses = (b"192.0.2.4", b"192.0.2.5", b"192.0.2.6", b"192.0.2.9")
    assert [_hashing([1, 1, 1]).first([], _Asks(address)) for address in addresses] == [1, 0, 2, 0]


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        (Hash(source="header", name="X-Shard"), ("field", b"x-shard")),
        (Hash(source="cookie", name="Cart"), ("cookie", b"Cart")),
    ],
)
def test_a_header_or_a_cookie_decides(source: Hash, asked: tuple[str, bytes]) -> None:
    """Where it is missing, the address does."""
    hashing = _hashing([1] * 8, source=source)
    plain = _hashing([1] * 8)
    for number in range(20):
        key, address = b"%d" % number, b"10.0.0.%d" % number
        asks = _Asks(address, value=key)
        assert hashing.first([], asks) == plain.first([], _Asks(key))
        assert asks.asked == [asked]
        assert hashing.first([], _Asks(address)) == plain.first([], _Asks(address))


@pytest.mark.parametrize("balance", BALANCES)
def test_one_of_one_is_that_one(balance: Balance) -> None:
    """Every way of choosing copes with a single target."""
    chosen = way(balance, [3], ["http://a"], Hash())
    asks = _Asks(b"a", draws=[0.9, 0.9])
    assert chosen.first([_Busy(5)], asks) == 0
    assert chosen.among([0], [0.3], [_Busy(5)], asks) == 0
