"""Which target a request gets: by turns, by load or by hash, and one that fails only when nothing else is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.pool import Poolable
from mesh.routes import Balance, Route, Target
from mesh.targets import EJECT_AFTER, EJECT_S, Edits, LiveRoute, TargetState

Live = LiveRoute[Poolable]
State = TargetState[Poolable]

BALANCES: Sequence[Balance] = ("round_robin", "least_requests", "random_two", "consistent_hash")
weights = st.lists(st.integers(1, 9), min_size=1, max_size=6)
draws = st.floats(0, 1, exclude_max=True)


def _live(*weight: int, balance: Balance = "round_robin") -> Live:
    """A route to `http://t0:80`, `http://t1:80` and so on, with these weights."""
    targets = tuple(Target(f"http://t{index}:80", weight=each) for index, each in enumerate(weight))
    route = Route(host="a", targets=targets, balance=balance)
    return LiveRoute(route, [TargetState(target.address, 1) for target in targets])


def _index(live: Live, chosen: State | None) -> int:
    assert chosen is not None
    return live.targets.index(chosen)


def _turns(live: Live, count: int, now: float = 0.0) -> list[int]:
    return [_index(live, live.choose(now, b"", 0.0)) for _ in range(count)]


def _fail(state: State, now: float = 0.0) -> None:
    for _ in range(EJECT_AFTER):
        state.failed(now)


@pytest.mark.parametrize(
    ("address", "where"),
    [
        ("http://10.0.0.1:8080", ("http", "10.0.0.1", 8080, "", b"10.0.0.1:8080")),
        ("http://shop.internal", ("http", "shop.internal", 80, "", b"shop.internal")),
        ("https://shop.internal", ("https", "shop.internal", 443, "", b"shop.internal")),
        ("http://[::1]:81", ("http", "::1", 81, "", b"[::1]:81")),
        ("unix:/run/shop.sock", ("unix", "", 0, "/run/shop.sock", b"localhost")),
    ],
)
def test_an_address_says_where_a_target_is(address: str, where: tuple[str, str, int, str, bytes]) -> None:
    """Scheme, host, port, path of the socket, and the Host that the target may be told."""
    state: State = TargetState(address, 1)
    assert state.place == where
    assert (state.address, state.host_value) == (address, where[-1])


def test_failures_in_a_row_take_a_target_out_for_a_while() -> None:
    """The last failure that is one too many sets the time."""
    state: State = TargetState("http://a", 1)
    for number in range(1, EJECT_AFTER):
        state.failed(float(number))
    assert state.ejected_until == 0.0
    state.failed(50.0)
    assert (state.failures, state.ejected_until) == (EJECT_AFTER, 50.0 + EJECT_S)


def test_one_answer_makes_up_for_the_failures_before_it() -> None:
    """Failures count in a row."""
    state: State = TargetState("http://a", 1)
    _fail(state)
    state.succeeded()
    assert (state.failures, state.ejected_until) == (0, 0.0)


def test_a_single_target_is_named_as_such() -> None:
    """Routes with one target skip the choice."""
    assert _live(1).only is not None
    assert _live(1, 1).only is None


def test_a_target_that_is_down_is_not_chosen() -> None:
    """A health check is believed, also when nothing is left, until it says otherwise."""
    live = _live(1, 1)
    live.use_health(["http://t0:80"])
    assert set(_turns(live, 4)) == {1}
    live.use_health(["http://t0:80", "http://t1:80"])
    assert live.choose(0.0, b"", 0.0) is None
    live.use_health([])
    assert set(_turns(live, 4)) == {0, 1}


def test_a_single_target_that_is_down_is_not_the_only_one_any_more() -> None:
    """The short way round the choice is closed then."""
    live = _live(1)
    live.use_health(["http://t0:80"])
    assert (live.only, live.choose(0.0, b"", 0.0)) == (None, None)
    live.use_health([])
    assert live.only is live.targets[0]


@pytest.mark.parametrize(
    ("changes", "is_open"),
    [
        ({}, True),
        ({"https": "on"}, True),
        ({"access": "tenant"}, False),
        ({"max_body_bytes": 10}, False),
        ({"max_body_bytes": 0}, False),
        ({"https": "redirect"}, False),
    ],
)
def test_whether_a_route_is_open_to_any_request(changes: dict[str, object], is_open: bool) -> None:
    """Then nothing has to be checked."""
    route = msgspec.structs.replace(Route(host="a", targets=()), **changes)
    live: Live = LiveRoute(route, [])
    assert live.is_open == is_open


@pytest.mark.parametrize(
    ("prefix", "strip", "stripped"), [("/", True, 0), ("/api", True, 4), ("/api/", True, 4), ("/api", False, 0)]
)
def test_how_much_of_a_path_is_stripped(prefix: str, strip: bool, stripped: int) -> None:
    """The prefix without its last slash, where the route says so."""
    route = Route(host="a", targets=(), path_prefix=prefix, strip_prefix=strip)
    live: Live = LiveRoute(route, [])
    assert live.stripped == stripped


@given(weights, st.integers(1, 3))
def test_turns_follow_the_weights_exactly(weight: list[int], periods: int) -> None:
    """Over every period of as many requests as all weights together, each target gets its weight."""
    live = _live(*weight)
    for _ in range(periods):
        assert Counter(_turns(live, sum(weight))) == dict(enumerate(weight))


def test_turns_of_a_heavy_target_are_spread() -> None:
    """The order that nginx documents for the weights 5, 1 and 1."""
    assert _turns(_live(5, 1, 1), 7) == [0, 0, 1, 0, 2, 0, 0]


@given(weights, st.data())
def test_an_ejected_target_gets_no_turn_before_its_time(weight: list[int], data: st.DataObject) -> None:
    """While others are left, requests go to them, and from the given time on to all."""
    live = _live(*weight, 1)
    out = data.draw(st.integers(0, len(weight)))
    _fail(live.targets[out])
    assert out not in _turns(live, 30, now=EJECT_S - 0.1)
    assert out in _turns(live, 100, now=EJECT_S)


@pytest.mark.parametrize("balance", BALANCES)
def test_an_ejected_target_is_better_than_none(balance: Balance) -> None:
    """When everything fails, trying is the only way to find out that it works again."""
    live = _live(1, 1, balance=balance)
    for state in live.targets:
        _fail(state)
    assert live.choose(0.0, b"key", 0.5) in live.targets


@pytest.mark.parametrize("balance", BALANCES)
def test_what_was_tried_is_not_tried_again(balance: Balance) -> None:
    """A retry goes elsewhere, and there is an end."""
    live = _live(1, 1, 1, balance=balance)
    tried: tuple[State, ...] = ()
    for _ in live.targets:
        chosen = live.choose(0.0, b"key", 0.9, tried)
        assert chosen is not None
        assert chosen not in tried
        tried = (*tried, chosen)
    assert live.choose(0.0, b"key", 0.9, tried) is None


@pytest.mark.parametrize("balance", BALANCES)
@given(draw=draws, key=st.binary(max_size=8))
def test_a_weight_of_zero_is_no_target(balance: Balance, draw: float, key: bytes) -> None:
    """Such a target is kept for later, and gets nothing."""
    live = _live(0, 2, balance=balance)
    assert _index(live, live.choose(0.0, key, draw)) == 1
    assert _live(0, 0, balance=balance).choose(0.0, key, draw) is None


def test_the_least_busy_target_is_chosen() -> None:
    """What counts is the number of requests in flight."""
    live = _live(1, 1, 1, balance="least_requests")
    for state, in_flight in zip(live.targets, (3, 1, 2), strict=True):
        state.in_flight = in_flight
    assert _turns(live, 1) == [1]


def test_load_is_measured_by_weight() -> None:
    """A target of four times the weight carries four times as much before it is the busier one."""
    live = _live(1, 4, balance="least_requests")
    chosen = []
    for _ in range(10):
        index = _turns(live, 1)[0]
        live.targets[index].in_flight += 1
        chosen.append(index)
    assert Counter(chosen) == {1: 8, 0: 2}


@given(weights, draws)
def test_of_two_drawn_targets_the_less_busy_one_is_chosen(weight: list[int], draw: float) -> None:
    """Only one target can never win: the busiest of all, when there are others."""
    live = _live(*weight, 1, balance="random_two")
    busiest = live.targets[0]
    busiest.in_flight = 1000
    assert live.choose(0.0, b"", draw) is not busiest


def test_every_target_is_drawn() -> None:
    """Over the whole range of draws nobody is left out."""
    live = _live(1, 1, 1, 1, 1, balance="random_two")
    chosen = {_index(live, live.choose(0.0, b"", number / 100)) for number in range(100)}
    assert chosen == {0, 1, 2, 3, 4}


@given(st.lists(st.binary(max_size=16), min_size=1, max_size=30, unique=True), weights, st.data())
def test_only_the_keys_of_a_target_that_left_move(keys: list[bytes], weight: list[int], data: st.DataObject) -> None:
    """Consistent hashing: everybody else stays where they were."""
    live = _live(*weight, 1, balance="consistent_hash")
    gone = live.targets[data.draw(st.integers(0, len(weight)))]
    for key in keys:
        before, after = live.choose(0.0, key, 0.0), live.choose(0.0, key, 0.0, (gone,))
        assert after is not gone
        assert before is gone or after is before


def test_hashing_follows_the_weights_roughly() -> None:
    """A target of three times the weight has about three times the keys."""
    live = _live(1, 3, balance="consistent_hash")
    counted = Counter(_index(live, live.choose(0.0, b"%d" % number, 0.0)) for number in range(2000))
    assert 0.7 < counted[1] / 2000 < 0.8


def test_edits_replace_fields_of_any_case() -> None:
    """The line of the visitor goes, that of the route comes; other lines stay as they are."""
    edits = Edits((("X-Team", "blue"), ("X-Gone", "")))
    lines = b"Host: a\r\nx-team: red\r\nX-TEAM: green\r\nX-Teams: b:c\r\nx-gone: 1\r\n"
    assert edits.apply(lines) == b"Host: a\r\nX-Teams: b:c\r\nX-Team: blue\r\n"


def test_edits_keep_octets_as_they_are() -> None:
    """Values are octets of ISO-8859-1."""
    assert Edits((("X-City", "Zürich"),)).apply(b"X-A: \xe9\xff\r\n") == b"X-A: \xe9\xff\r\nX-City: Z\xfcrich\r\n"


def test_routes_without_edits_have_none() -> None:
    """Nothing is applied when nothing is said."""
    live = _live(1)
    assert live.request_edits is live.response_edits is None
    target = Target("http://a")
    edited = Route(host="a", targets=(target,), request_headers=(("A", "1"),), response_headers=(("B", "2"),))
    states: list[State] = [TargetState("http://a", 1)]
    both = LiveRoute(edited, states)
    assert both.request_edits is not None
    assert both.request_edits.lines == b"A: 1\r\n"
    assert both.response_edits is not None
    assert both.response_edits.lines == b"B: 2\r\n"
