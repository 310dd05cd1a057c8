"""Steering a route: what each change makes of it, and what a PUT leaves alone."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from state.change import Change, apply
from state.model import Desired, Route, RouteKey, Split, Target, Traffic
from state.policies import Redirect
from state.refusal import RefusalKind, Refused
from state.traffic import (
    DrainTarget,
    PauseRoute,
    ResumeRoute,
    RouteChange,
    SplitRoute,
    StopRoute,
    UndrainTarget,
    UnsplitRoute,
    find_target,
)
from tests.state.samples import NOON, put, written

HOST = "shop.example.com"
ONE, TWO, THREE = "http://a:1", "http://b:1", "http://c:1"
SPLIT = Split(targets=(Target(THREE),), share=0.1)
START = put(targets=(Target(ONE), Target(TWO, 3)))


def after(*changes: Change) -> Route:
    """The route after these changes to one with two targets."""
    desired = Desired()
    for change in (START, *changes):
        desired = apply(desired, change, at=NOON)
    return written(desired)


def split(**fields: Any) -> SplitRoute:  # noqa: ANN401 - any field of a split
    """The change that splits the route."""
    return SplitRoute(host=HOST, split=msgspec.structs.replace(SPLIT, **fields))


def draining(route: Route) -> list[str]:
    """Which targets are draining."""
    others = route.traffic.split.targets if route.traffic.split else ()
    return [target.url for target in (*route.targets, *others) if target.draining]


def test_a_route_is_paused_stopped_and_resumed() -> None:
    """Each mode forgets what the one before said."""
    paused, stopped = PauseRoute(host=HOST, hold_s=5), StopRoute(host=HOST, message="Soon.", retry_after_s=9)
    assert after(paused).traffic == Traffic(mode="pause", hold_s=5)
    assert after(paused, stopped).traffic == Traffic(mode="stop", message="Soon.", retry_after_s=9)
    assert after(paused, stopped, ResumeRoute(host=HOST)).traffic == Traffic()


def test_a_redirect_is_not_split() -> None:
    """No request goes to any target."""
    redirected = apply(Desired(), put(targets=(), redirect=Redirect(to="/")), at=NOON)
    with pytest.raises(Refused, match="beside redirect") as refusal:
        apply(redirected, split(), at=NOON)
    assert refusal.value.field == "targets"


def test_what_is_so_already_is_no_change() -> None:
    """Repeating it keeps the revision."""
    assert after(ResumeRoute(host=HOST)).revision == 1
    assert after(PauseRoute(host=HOST), PauseRoute(host="Shop.Example.COM")).revision == 2


def test_a_target_is_drained_and_taken_back() -> None:
    """By its URL in any spelling."""
    drained = DrainTarget(host=HOST, target="http://A:1")
    assert draining(after(drained)) == [ONE]
    assert draining(after(drained, UndrainTarget(host=HOST, target=ONE))) == []


def test_a_split_has_targets_of_its_own() -> None:
    """They can be drained, and go with the split; the mode is another matter."""
    drained = after(PauseRoute(host=HOST), split(), DrainTarget(host=HOST, target=THREE))
    assert (draining(drained), drained.traffic.mode) == ([THREE], "pause")
    again = after(split(), DrainTarget(host=HOST, target=THREE), split(share=0.5), ResumeRoute(host=HOST))
    assert (draining(again), again.traffic.split and again.traffic.split.share) == ([THREE], 0.5)
    assert after(split(), UnsplitRoute(host=HOST)).traffic == Traffic()


def test_a_target_drains_on_both_sides_of_a_split() -> None:
    """It is one program, wherever it is listed."""
    drained = DrainTarget(host=HOST, target=ONE)
    assert draining(after(drained, split(targets=(Target(ONE),)))) == [ONE, ONE]
    assert draining(after(split(targets=(Target(ONE),)), drained)) == [ONE, ONE]
    both = after(split(), DrainTarget(host=HOST, target=THREE), put(targets=(Target(THREE),)))
    assert draining(both) == [THREE, THREE]


def test_a_split_is_folded() -> None:
    """Like a route."""
    found = after(split(targets=(Target("http://C"),))).traffic.split
    assert found is not None
    assert found.targets[0].url == "http://c:80"


def test_a_put_leaves_traffic_alone() -> None:
    """Which targets drain, too, as long as they are targets."""
    changes = (DrainTarget(host=HOST, target=ONE), StopRoute(host=HOST), split())
    wanted = put(
        retries=0, targets=(Target("http://A:1", 2), Target(TWO, draining=True)), traffic=Traffic(mode="pause")
    )
    route = after(*changes, wanted)
    assert (route.retries, route.traffic.mode, draining(route)) == (0, "stop", [ONE])
    assert route.traffic.split == SPLIT
    assert draining(after(*changes, put(targets=(Target(TWO),)), START)) == []


def test_a_new_route_is_served() -> None:
    """Whatever its client says."""
    wanted = put(targets=(Target(ONE, draining=True),), traffic=Traffic(mode="stop"))
    assert apply(Desired(), wanted, at=NOON).routes[RouteKey(HOST)].traffic == Traffic()
    assert draining(apply(Desired(), wanted, at=NOON).routes[RouteKey(HOST)]) == []


@pytest.mark.parametrize(
    ("change", "kind", "field"),
    [
        (PauseRoute(host="other.example"), "missing", "host"),
        (PauseRoute(host=HOST, path_prefix="/api"), "missing", "host"),
        (PauseRoute(host="a..b"), "invalid", "host"),
        (PauseRoute(host=HOST, hold_s=0), "invalid", "hold_s"),
        (StopRoute(host=HOST, message="x" * 5000), "invalid", "message"),
        (StopRoute(host=HOST, retry_after_s=-1), "invalid", "retry_after_s"),
        (DrainTarget(host=HOST, target="nonsense"), "invalid", "target"),
        (DrainTarget(host=HOST, target=THREE), "missing", "target"),
        (UndrainTarget(host=HOST, target=THREE), "missing", "target"),
        (split(targets=()), "invalid", "targets"),
        (split(by="cookie", share=0.0), "invalid", "name"),
    ],
)
def test_a_refusal_names_its_kind_and_field(change: Change, kind: RefusalKind, field: str) -> None:
    """As for any change."""
    with pytest.raises(Refused) as caught:
        after(change)
    assert (caught.value.kind, caught.value.field) == (kind, field)


def test_a_target_is_found_in_the_split_too() -> None:
    """It may be the one to watch."""
    assert find_target(after(split()), THREE) == Target(THREE)


def test_changes_of_a_route_name_it() -> None:
    """By host and prefix, as the removal does."""
    assert RouteChange(host="a").path_prefix == "/"
