"""Which target a request gets: one that works, has room and is wanted, and one that fails only when nothing is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.policies import Circuit, Ejection, Hash, RetryBudget, Split, Sticky, Target, Traffic
from mesh.pool import Poolable
from mesh.routes import Balance, Route
from mesh.targets import EJECT_AFTER, LiveRoute, Place, Saturated, TargetState

Live = LiveRoute[Poolable]
State = TargetState[Poolable]

EJECTION = Ejection()
BALANCES: Sequence[Balance] = ("round_robin", "least_requests", "random_two", "consistent_hash")
weights = st.lists(st.integers(1, 9), min_size=1, max_size=6)
draws = st.floats(0, 1, exclude_max=True)


class _Asks:
    """A request; draws come in turn, and are 0 when there are no more."""

    is_secure = False

    def __init__(
        self,
        address: bytes = b"192.0.2.1",
        draws: Iterable[float] = (),
        fields: Mapping[bytes, bytes] | None = None,
        cookies: Mapping[bytes, bytes] | None = None,
    ) -> None:
        self.address = address
        self._draws: Iterator[float] = iter(draws)
        self._fields = fields or {}
        self._cookies = cookies or {}

    def draw(self) -> float:
        return next(self._draws, 0.0)

    def field(self, name: bytes) -> bytes:
        return self._fields.get(name, b"")

    def cookie(self, name: bytes) -> bytes:
        return self._cookies.get(name, b"")


class _Waiter:
    """Notes when it is resumed."""

    def __init__(self, resumed: list[_Waiter] | None = None) -> None:
        self._resumed = resumed

    def resume(self) -> bool:
        if self._resumed is not None:
            self._resumed.append(self)
        return True


ANYBODY = _Asks()


def _route(*weight: int, **changes: object) -> Route:
    """A route to `http://t0:80`, `http://t1:80` and so on, with these weights."""
    targets = tuple(Target(f"http://t{index}:80", weight=each) for index, each in enumerate(weight))
    return msgspec.structs.replace(Route(host="a", targets=targets), **changes)


def _alive(route: Route) -> Live:
    split = route.traffic.split
    others = [State(target.address, 1) for target in split.targets] if split is not None else []
    return LiveRoute(route, [State(target.address, 1) for target in route.targets], split_targets=others)


def _live(*weight: int, **changes: object) -> Live:
    return _alive(_route(*weight, **changes))


def _index(live: Live, chosen: State | None) -> int:
    assert chosen is not None
    return live.targets.index(chosen)


def _turns(live: Live, count: int, now: float = 0.0, asks: _Asks = ANYBODY) -> list[int]:
    return [_index(live, live.choose(now, asks)) for _ in range(count)]


def _refuses(live: Live) -> bool:
    """Whether nobody gets a target."""
    return live.only is None and live.choose(0.0, ANYBODY) is None


def _fail(state: State, now: float = 0.0, ejection: Ejection = EJECTION) -> None:
    for _ in range(ejection.after):
        state.failed(now, ejection)


# What an address says.


@pytest.mark.parametrize(
    ("address", "where"),
    [
        ("http://10.0.0.1:8080", ("http", "10.0.0.1", 8080, "", b"10.0.0.1:8080")),
        ("http://shop.internal", ("http", "shop.internal", 80, "", b"shop.internal")),
        ("https://shop.internal", ("https", "shop.internal", 443, "", b"shop.internal")),
        ("h2c://shop.internal", ("h2c", "shop.internal", 80, "", b"shop.internal")),
        ("h2://shop.internal", ("h2", "shop.internal", 443, "", b"shop.internal")),
        ("h2c://[::1]:50051", ("h2c", "::1", 50051, "", b"[::1]:50051")),
        ("http://[::1]:81", ("http", "::1", 81, "", b"[::1]:81")),
        ("unix:/run/shop.sock", ("unix", "", 0, "/run/shop.sock", b"localhost")),
    ],
)
def test_an_address_says_where_a_target_is(address: str, where: tuple[str, str, int, str, bytes]) -> None:
    """Scheme, host, port, path of the socket, and the Host that the target may be told."""
    state = State(address, 1)
    assert state.place == where
    assert (state.address, state.host_value) == (address, where[-1])


@pytest.mark.parametrize(
    ("scheme", "has_tls", "has_http2"),
    [("http", False, False), ("https", True, False), ("h2c", False, True), ("h2", True, True)],
)
def test_a_scheme_says_what_is_spoken(scheme: str, has_tls: bool, has_http2: bool) -> None:
    """TLS or not, HTTP/2 or not."""
    place = Place.read(f"{scheme}://a")
    assert (place.has_tls, place.has_http2) == (has_tls, has_http2)


# Failures, and what becomes of them.


def test_failures_in_a_row_take_a_target_out_for_a_while() -> None:
    """The last failure that is one too many sets the time."""
    state = State("http://a", 1)
    assert not any(state.failed(float(number)) for number in range(1, EJECT_AFTER))
    assert state.ejected_until == 0.0
    assert state.failed(50.0)
    assert (state.failures, state.ejected_until) == (EJECT_AFTER, 50.0 + EJECTION.base_s)


def test_failures_of_a_target_that_is_out_change_nothing() -> None:
    """Requests that were with it already do not make its time longer."""
    state = State("http://a", 1)
    _fail(state, 50.0)
    assert not state.failed(51.0)
    assert state.ejected_until == 50.0 + EJECTION.base_s


def test_one_answer_makes_up_for_the_failures_before_it() -> None:
    """Failures count in a row."""
    state = State("http://a", 1)
    _fail(state)
    state.succeeded()
    assert (state.failures, state.ejected_until) == (0, 0.0)


def test_a_target_that_fails_again_is_out_for_twice_as_long() -> None:
    """One failure is enough behind the first time, and there is a longest time."""
    ejection = Ejection(after=3, base_s=10.0, max_s=60.0)
    state = State("http://a", 1)
    _fail(state, 100.0, ejection)
    times = []
    for _ in range(5):
        times.append(state.ejected_until)
        state.failed(state.ejected_until, ejection)
    gaps = [later - earlier for earlier, later in zip([100.0, *times], times, strict=False)]
    assert gaps == [10.0, 20.0, 40.0, 60.0, 60.0]


def test_the_back_off_decays_while_a_target_stays_in() -> None:
    """One step for each time as long as the first ejection."""
    ejection = Ejection(after=1, base_s=10.0, max_s=300.0)
    state = State("http://a", 1)
    for _ in range(4):
        state.failed(state.ejected_until, ejection)
    assert state.ejections == 4
    back_at = state.ejected_until
    state.succeeded()
    state.failed(back_at + 25.0, ejection)
    assert (state.ejections, state.ejected_until) == (3, back_at + 25.0 + 40.0)
    state.succeeded()
    state.failed(back_at + 1000.0, ejection)
    assert (state.ejections, state.ejected_until) == (1, back_at + 1000.0 + 10.0)


def test_an_answer_before_the_end_of_an_ejection_takes_nothing_off_the_back_off() -> None:
    """A target that was tried for want of others, answered, and failed again, has had no good time."""
    ejection = Ejection(after=1)
    state = State("http://a", 1)
    state.failed(100.0, ejection)
    state.succeeded()
    state.failed(101.0, ejection)
    assert state.ejections == 2


def test_a_target_is_never_taken_out_where_that_is_not_wanted() -> None:
    """However often it fails."""
    state = State("http://a", 1)
    assert not any(state.failed(0.0, Ejection(after=0)) for _ in range(100))
    assert state.ejected_until == 0.0


def test_an_answer_may_count_as_a_failure() -> None:
    """Statuses that the route names are failures, all others make up for failures."""
    ejection = Ejection(after=2, statuses=(502, 503))
    state = State("http://a", 1)
    assert not state.answered(200, 10.0, ejection)
    assert not state.answered(503, 10.0, ejection)
    assert state.failures == 1
    assert not state.answered(500, 10.0, ejection)
    assert state.failures == 0
    assert [state.answered(502, 10.0, ejection) for _ in range(2)] == [False, True]
    assert state.ejected_until == 20.0


@given(weights, st.data())
def test_an_ejected_target_gets_no_turn_before_its_time(weight: list[int], data: st.DataObject) -> None:
    """While others are left, requests go to them, and from the given time on to all."""
    live = _live(*weight, 1)
    out = data.draw(st.integers(0, len(weight)))
    _fail(live.targets[out])
    assert out not in _turns(live, 30, now=EJECTION.base_s - 0.1)
    assert out in _turns(live, 100, now=EJECTION.base_s)


@pytest.mark.parametrize("balance", BALANCES)
def test_an_ejected_target_is_better_than_none(balance: Balance) -> None:
    """When everything fails, trying is the only way to find out that it works again."""
    live = _live(1, 1, balance=balance, ejection=Ejection(max_share=1.0))
    for state in live.targets:
        _fail(state)
    assert live.choose(0.0, ANYBODY) in live.targets


def test_a_single_target_is_never_refused() -> None:
    """It is the only one also while it is ejected."""
    live = _live(1)
    _fail(live.targets[0])
    assert live.only is live.choose(0.0, ANYBODY) is live.targets[0]


@pytest.mark.parametrize("balance", BALANCES)
def test_not_too_many_targets_are_out_at_once(balance: Balance) -> None:
    """The ones that were ejected longest ago are used again."""
    live = _live(1, 1, 1, 1, balance=balance, ejection=Ejection(max_share=0.5))
    for now, state in enumerate(live.targets[:3]):
        _fail(state, float(now))
    asked = [_Asks(b"%d" % number, draws=(number % 7 / 7, number % 11 / 11)) for number in range(77)]
    assert {_index(live, live.choose(5.0, asks)) for asks in asked} == {0, 3}


# Who may be chosen at all.


def test_a_single_target_is_named_as_such() -> None:
    """Routes with one target, or one that is left, skip the choice."""
    assert _live(1).only is not None
    assert _live(1, 1).only is None
    assert _live(0, 1).only is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"sticky": Sticky()},
        {"circuit": Circuit(max_in_flight=1)},
        {"traffic": Traffic(split=Split(targets=()))},
    ],
)
def test_a_single_target_is_chosen_where_there_is_something_to_look_at(changes: dict[str, object]) -> None:
    """A cookie to set, a limit, another set of targets."""
    live = _live(1, **changes)
    assert live.only is None
    assert live.choose(0.0, ANYBODY) is live.targets[0]


def test_a_target_that_is_down_is_not_chosen() -> None:
    """A health check is believed, also when nothing is left, until it says otherwise."""
    live = _live(1, 1)
    live.use_health(["http://t0:80"])
    assert live.only is live.targets[1]
    assert set(_turns(live, 4)) == {1}
    live.use_health(["http://t0:80", "http://t1:80"])
    assert _refuses(live)
    live.use_health([])
    assert set(_turns(live, 4)) == {0, 1}


def test_a_single_target_that_is_down_is_not_the_only_one_any_more() -> None:
    """The short way round the choice is closed then."""
    live = _live(1)
    live.use_health(["http://t0:80"])
    assert _refuses(live)
    live.use_health([])
    assert live.only is live.targets[0]


@pytest.mark.parametrize("balance", BALANCES)
def test_a_draining_target_gets_no_new_requests(balance: Balance) -> None:
    """Not even when it is the last one."""
    route = _route(1, 1, balance=balance)
    first = msgspec.structs.replace(route.targets[0], is_draining=True)
    live = _alive(msgspec.structs.replace(route, targets=(first, route.targets[1])))
    assert live.only is live.targets[1]
    assert set(_turns(live, 10)) == {1}
    assert _alive(msgspec.structs.replace(route, targets=(first,))).choose(0.0, ANYBODY) is None


@pytest.mark.parametrize("balance", BALANCES)
def test_what_was_tried_is_not_tried_again(balance: Balance) -> None:
    """A retry goes elsewhere, and there is an end."""
    live = _live(1, 1, 1, balance=balance)
    tried: tuple[State, ...] = ()
    for _ in live.targets:
        chosen = live.choose(0.0, ANYBODY, tried)
        assert chosen is not None
        assert chosen not in tried
        tried = (*tried, chosen)
    assert live.choose(0.0, ANYBODY, tried) is None


@pytest.mark.parametrize("balance", BALANCES)
@given(draw=draws, key=st.binary(max_size=8))
def test_a_weight_of_zero_is_no_target(balance: Balance, draw: float, key: bytes) -> None:
    """Such a target is kept for later, and gets nothing."""
    live = _live(0, 2, balance=balance)
    assert _index(live, live.choose(0.0, _Asks(key, [draw]))) == 1
    assert _live(0, 0, balance=balance).choose(0.0, _Asks(key, [draw])) is None


@pytest.mark.parametrize("balance", BALANCES)
@given(weights, draws, st.data())
def test_a_choice_is_always_a_usable_target(
    balance: Balance, weight: list[int], draw: float, data: st.DataObject
) -> None:
    """Whatever is the matter with the others."""
    out, down = (data.draw(st.sets(st.integers(0, len(weight)))) for _ in range(2))
    most = data.draw(st.integers(0, 2))
    live = _live(*weight, 1, balance=balance, circuit=Circuit(max_in_flight=most), slow_start_s=5.0)
    live.use_health([f"http://t{index}:80" for index in down])
    left = [index for index in range(len(live.targets)) if index not in down]
    for index, state in enumerate(live.targets):
        state.in_flight = index % 3
        if index in out:
            _fail(state, 100.0)
    try:
        chosen = live.choose(101.0, _Asks(draws=[draw, draw]))
    except Saturated:
        assert most
        assert all(live.targets[index].in_flight >= most for index in left if index not in out)
    else:
        assert (chosen is None) == (not left)
        if chosen is not None:
            assert _index(live, chosen) in left
            assert not most or chosen.in_flight < most


def test_turns_follow_the_weights() -> None:
    """Round robin is what a route does that says nothing."""
    assert _turns(_live(5, 1, 1), 7) == [0, 0, 1, 0, 2, 0, 0]


def test_hashing_goes_by_what_the_route_says() -> None:
    """A header, here; the visitor's address does not matter then."""
    live = _live(1, 1, 1, 1, balance="consistent_hash", hash=Hash(source="header", name="X-Shard"))
    for shard in range(20):
        fields = {b"x-shard": b"%d" % shard}
        chosen = {_index(live, live.choose(0.0, _Asks(b"%d" % visitor, fields=fields))) for visitor in range(5)}
        assert len(chosen) == 1


# Slow start.


def _share(live: Live, index: int, now: float, count: int = 400) -> float:
    return _turns(live, count, now).count(index) / count


def _warm(live: Live, now: float) -> None:
    """Let every target have had its slow start."""
    _turns(live, 4 * len(live.targets), now)
    for state in live.targets:
        state.requests = 100


def test_a_target_that_comes_back_has_its_share_little_by_little() -> None:
    """From a tenth of its weight to all of it."""
    live = _live(1, 1, slow_start_s=10.0)
    _warm(live, 100.0)
    live.use_health(["http://t0:80"])
    live.use_health([])
    assert _share(live, 0, 200.0) == pytest.approx(0.1 / 1.1, abs=0.02)
    assert _share(live, 0, 205.0) == pytest.approx(0.55 / 1.55, abs=0.02)
    assert _share(live, 0, 210.0) == pytest.approx(0.5, abs=0.02)


def test_a_target_that_was_ejected_has_its_share_little_by_little() -> None:
    """Before its first answer and behind it."""
    live = _live(1, 1, slow_start_s=10.0)
    _warm(live, 100.0)
    _fail(live.targets[0], 200.0)
    assert _share(live, 0, 209.0) == 0.0
    assert _share(live, 0, 211.0) == pytest.approx(0.19 / 1.19, abs=0.02)
    live.targets[0].succeeded()
    assert _share(live, 0, 212.0) == pytest.approx(0.1 / 1.1, abs=0.02)
    assert _share(live, 0, 222.0) == pytest.approx(0.5, abs=0.02)


def test_a_new_target_has_its_share_little_by_little() -> None:
    """One that has work from another route, or from the same one before it changed, is not new."""
    route = _route(1, 1, slow_start_s=10.0)
    old = [State(target.address, 1) for target in route.targets]
    old[1].requests = 100
    live = LiveRoute(route, old)
    assert _share(live, 0, 100.0) == pytest.approx(0.1 / 1.1, abs=0.02)
    again = LiveRoute(msgspec.structs.replace(route, retries=2), old)
    assert _share(again, 0, 105.0) == pytest.approx(0.55 / 1.55, abs=0.02)


def test_targets_that_begin_together_share_evenly() -> None:
    """A worker that starts knows none of them."""
    live = _live(1, 3, slow_start_s=10.0)
    assert _share(live, 0, 100.0) == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("balance", ["random_two", "consistent_hash"])
def test_every_way_of_choosing_starts_slowly(balance: Balance) -> None:
    """Lots and hashes go by the weight of the moment too."""
    live = _live(1, 1, slow_start_s=10.0, balance=balance)
    live.targets[1].requests = 100
    asked = [_Asks(b"%d" % number, draws=(number % 100 / 100, number % 100 / 100)) for number in range(1000)]
    chosen = Counter(_index(live, live.choose(100.0, asks)) for asks in asked)
    assert 0.05 < chosen[0] / 1000 < 0.13


# The circuit.


def test_a_target_has_no_more_requests_than_it_may() -> None:
    """Others are used while they have room; then nobody is."""
    live = _live(1, 1, circuit=Circuit(max_in_flight=2))
    for _ in range(4):
        chosen = live.choose(0.0, ANYBODY)
        assert chosen is not None
        chosen.in_flight += 1
    assert [state.in_flight for state in live.targets] == [2, 2]
    with pytest.raises(Saturated):
        live.choose(0.0, ANYBODY)


def _saturated(live: Live) -> Saturated:
    with pytest.raises(Saturated) as raised:
        live.choose(0.0, ANYBODY)
    return raised.value


def _full(*weight: int, max_pending: int = 2) -> Live:
    live = _live(*weight, circuit=Circuit(max_in_flight=1, max_pending=max_pending))
    for state in live.targets:
        state.in_flight = 1
    return live


def test_who_waits_longest_is_resumed_first() -> None:
    """By any of the targets; one that was forgotten is passed over."""
    live = _full(1, 1)
    queue = _saturated(live).queue
    first, second, third = (_Waiter() for _ in range(3))
    assert all(queue.wait(waiter) for waiter in (first, second, third))
    assert live.waiting == 3
    live.forget(second)
    one, other = live.targets
    assert [one.next_waiter(), other.next_waiter(), one.next_waiter()] == [first, third, None]
    assert (live.waiting, bool(one.awaited)) == (0, False)


def test_not_too_many_wait() -> None:
    """So many for each target; none where nobody may."""
    queue = _saturated(_full(1, 1, max_pending=2)).queue
    assert [queue.wait(_Waiter()) for _ in range(5)] == [True, True, True, True, False]
    assert not _saturated(_full(1, max_pending=0)).queue.wait(_Waiter())


def test_waiting_may_begin_again() -> None:
    """After the queue was empty, its targets know of it again."""
    live = _full(1, 1)
    queue = _saturated(live).queue
    for state in live.targets:
        waiter = _Waiter()
        queue.wait(waiter)
        assert state.next_waiter() is waiter


def test_routes_to_the_same_target_take_turns() -> None:
    """A place that one route leaves may be what another one waits for."""
    one = _full(1, max_pending=4)
    other = LiveRoute(msgspec.structs.replace(one.route, path_prefix="/api"), one.targets)
    waiters = [_Waiter() for _ in range(4)]
    for live, waiter in zip((one, one, other, other), waiters, strict=True):
        assert _saturated(live).queue.wait(waiter)
    resumed = [one.targets[0].next_waiter() for _ in range(4)]
    assert resumed == [waiters[0], waiters[2], waiters[1], waiters[3]]
    assert one.targets[0].next_waiter() is None


def test_everybody_chooses_again_when_the_health_of_a_target_changes() -> None:
    """A target that comes back has room for those who wait for others."""
    live = _live(1, 1, circuit=Circuit(max_in_flight=1, max_pending=2))
    live.use_health(["http://t1:80"])
    live.targets[0].in_flight = 1
    queue = _saturated(live).queue
    resumed: list[_Waiter] = []
    waiters = [_Waiter(resumed) for _ in range(3)]
    for waiter in waiters:
        queue.wait(waiter)
    live.use_health([])
    assert resumed == waiters
    assert live.waiting == 0


def test_who_was_forgotten_is_not_resumed() -> None:
    """Not even by the last request, or in the middle of waking everybody."""
    live = _full(1, 1)
    queue = _saturated(live).queue
    alone = _Waiter()
    queue.wait(alone)
    live.forget(alone)
    assert live.targets[0].next_waiter() is None
    second = _Waiter()

    class First(_Waiter):
        def resume(self) -> bool:
            live.forget(second)
            return True

    assert queue.wait(First())
    assert queue.wait(second)
    live.use_health([live.targets[0].address])
    assert live.waiting == 0


# Sticky visitors.


def _told(live: Live, chosen: State | None, asks: _Asks = ANYBODY) -> dict[bytes, bytes]:
    """The cookies of a visitor behind the answer of a target."""
    assert chosen is not None
    name, _, value = live.sticky_line(chosen, asks).partition(b": ")[2].partition(b";")[0].partition(b"=")
    return {name: value}


@pytest.mark.parametrize("balance", BALANCES)
def test_a_sticky_visitor_comes_back_to_the_same_target(balance: Balance) -> None:
    """Whatever the others do, and without being told again."""
    live = _live(1, 1, 1, sticky=Sticky(), balance=balance)
    for state in live.targets:
        asks = _Asks(cookies=_told(live, state))
        assert [live.choose(0.0, asks) for _ in range(5)] == [state] * 5
        assert live.sticky_line(state, asks) == b""


def test_a_sticky_visitor_gets_another_target_when_theirs_does_not_work() -> None:
    """Down, ejected, draining, tried in vain or full: the cookie names the other one then."""
    live = _live(1, 1, sticky=Sticky(), circuit=Circuit(max_in_flight=3))
    mine, other = live.targets
    asks = _Asks(cookies=_told(live, mine))
    assert live.choose(0.0, asks, (mine,)) is other
    assert live.sticky_line(other, asks).startswith(b"Set-Cookie: zexio_target=")
    live.use_health([mine.address])
    assert live.choose(0.0, asks) is other
    live.use_health([])
    mine.in_flight = 3
    assert live.choose(0.0, asks) is other
    mine.in_flight = 0
    _fail(mine)
    assert live.choose(0.0, asks) is other
    drained = msgspec.structs.replace(live.route.targets[0], is_draining=True)
    changed = msgspec.structs.replace(live.route, targets=(drained, live.route.targets[1]))
    assert LiveRoute(changed, live.targets).choose(50.0, asks) is other


def test_routes_that_are_not_sticky_set_no_cookie() -> None:
    """Nobody is told anything."""
    live = _live(1, 1)
    assert live.sticky_line(live.targets[0], ANYBODY) == b""


# Two sets of targets.


def _divided(split: Split, **changes: object) -> Live:
    return _live(1, 1, traffic=Traffic(split=split), **changes)


SECOND = (Target("http://s0:80"), Target("http://s1:80"))


def test_a_share_of_the_requests_goes_to_the_second_set() -> None:
    """By draw, and by the same balancing within the set."""
    live = _divided(Split(targets=SECOND, share=0.2))
    chosen = Counter(_index(live, live.choose(0.0, _Asks(draws=[number / 100, 0.0]))) for number in range(100))
    assert chosen == {0: 40, 1: 40, 2: 10, 3: 10}


@pytest.mark.parametrize(
    ("by", "values", "value", "is_second"),
    [
        ("header", ("beta",), b"beta", True),
        ("header", ("beta",), b"stable", False),
        ("header", (), b"anything", True),
        ("header", (), b"", False),
        ("cookie", ("beta", "gamma"), b"gamma", True),
        ("cookie", ("beta",), b"", False),
    ],
)
def test_a_header_or_a_cookie_decides_between_the_sets(
    by: str, values: tuple[str, ...], value: bytes, is_second: bool
) -> None:
    """Any value will do where none is named."""
    wish = msgspec.structs.replace(Split(targets=SECOND, name="X-Release", values=values), by=by)
    asks = _Asks(fields={b"x-release": value}) if by == "header" else _Asks(cookies={b"X-Release": value})
    live = _divided(wish)
    assert {index >= 2 for index in _turns(live, 4, asks=asks)} == {is_second}


def test_sticky_visitors_stay_with_their_set() -> None:
    """Also when the target in it has to be another one; a share of all or nothing moves them in the end."""
    sticky = Sticky()
    live = _divided(Split(targets=SECOND, share=0.5), sticky=sticky)
    for state in live.targets:
        asks = _Asks(draws=[0.1, 0.9] * 10, cookies=_told(live, state))
        assert {live.choose(0.0, asks) for _ in range(6)} == {state}
    known = {share: _Asks(draws=[0.5] * 10, cookies=_told(live, live.targets[at])) for share, at in ((0.5, 2), (1, 0))}
    live.use_health([SECOND[0].address])
    assert _turns(live, 3, asks=known[0.5]) == [3, 3, 3]
    everybody = _divided(Split(targets=SECOND, share=1.0), sticky=sticky)
    assert set(_turns(everybody, 4, asks=known[1])) == {2, 3}
    nobody = _divided(Split(targets=SECOND, share=0.0), sticky=sticky)
    assert set(_turns(nobody, 4, asks=known[0.5])) == {0, 1}


def test_chance_sends_nobody_to_a_set_where_nothing_works() -> None:
    """The route's own targets serve in its place; the other way, the share would be broken."""
    live = _divided(Split(targets=SECOND, share=1.0))
    live.use_health([target.address for target in SECOND])
    assert {index < 2 for index in _turns(live, 4)} == {True}
    stable = _divided(Split(targets=SECOND, share=0.0))
    stable.use_health([target.address for target in stable.route.targets])
    assert stable.choose(0.0, ANYBODY) is None


def test_who_asks_for_a_set_gets_that_set_or_nothing() -> None:
    """A tester must not take the old release for the new one."""
    live = _divided(Split(targets=SECOND, by="header", name="beta"))
    live.use_health([target.address for target in SECOND])
    assert live.choose(0.0, _Asks(fields={b"beta": b"1"})) is None
    assert live.choose(0.0, ANYBODY) is not None


def test_the_sets_have_queues_of_their_own() -> None:
    """A place in one is no place in the other."""
    live = _divided(Split(targets=SECOND, share=0.5), circuit=Circuit(max_in_flight=1, max_pending=1))
    for state in live.targets:
        state.in_flight = 1
    waiters = []
    for draw in (0.1, 0.9):
        with pytest.raises(Saturated) as raised:
            live.choose(0.0, _Asks(draws=[draw]))
        waiters.append(_Waiter())
        raised.value.queue.wait(waiters[-1])
    assert live.waiting == 2
    assert live.targets[0].next_waiter() is waiters[1]
    assert live.targets[2].next_waiter() is waiters[0]


# What is told of a route.


def test_second_tries_have_a_budget() -> None:
    """It counts the requests of all targets, and looks at them while targets are chosen."""
    live = _live(1, 1, retry_budget=RetryBudget(share=0.5, min_per_s=0.0))
    live.choose(100.0, ANYBODY)
    live.targets[1].requests = 4
    assert [live.budget.allows(101.0) for _ in range(3)] == [True, True, False]


def test_what_every_target_does_can_be_told() -> None:
    """Those of the second set behind the others."""
    live = _divided(Split(targets=(Target("http://s0:80", weight=3, is_draining=True),), share=0.5))
    live.targets[0].in_flight = 2
    live.targets[0].requests = 7
    _fail(live.targets[1], 100.0)
    live.use_health(["http://t0:80"])
    first, second, third = live.load()
    assert (first.address, first.in_flight, first.requests, first.is_down, first.is_split) == (
        "http://t0:80",
        2,
        7,
        True,
        False,
    )
    assert (second.failures, second.ejected_until, second.is_down) == (EJECT_AFTER, 110.0, False)
    assert (third.address, third.weight, third.is_draining, third.is_split) == ("http://s0:80", 3, True, True)


def test_a_target_without_requests_is_idle() -> None:
    """Then it has been drained."""
    state = State("http://a", 1)
    assert state.is_idle
    state.in_flight = 1
    assert not state.is_idle
