"""Steering a route while it runs: hold it, stop it, drain a target, send some visitors elsewhere."""

from __future__ import annotations

from typing import TypeAlias, assert_never

import msgspec

from state.model import Route, Split, Target, Traffic
from state.refusal import refused
from state.route_rules import fold_value
from state.target_urls import fold_target_url


class RouteChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the route of a host and a path prefix that says nothing about what it is."""

    host: str
    path_prefix: str = "/"


class PauseRoute(RouteChange, frozen=True, kw_only=True, tag="pause_route"):
    """Hold new requests, each for up to `hold_s` seconds, until the route is resumed."""

    hold_s: float = Traffic().hold_s


class StopRoute(RouteChange, frozen=True, kw_only=True, tag="stop_route"):
    """Answer new requests with 503, `message`, and when to come back (0: it does not say)."""

    message: str = ""
    retry_after_s: int = 0


class ResumeRoute(RouteChange, frozen=True, kw_only=True, tag="resume_route"):
    """Serve again, those who wait included."""


class DrainTarget(RouteChange, frozen=True, kw_only=True, tag="drain_target"):
    """Give a target no new requests; `target` is its URL, in the route or in its split."""

    target: str


class UndrainTarget(RouteChange, frozen=True, kw_only=True, tag="undrain_target"):
    """Give a target new requests again."""

    target: str


class SplitRoute(RouteChange, frozen=True, kw_only=True, tag="split_route"):
    """Send some requests to a second set of targets."""

    split: Split


class UnsplitRoute(RouteChange, frozen=True, kw_only=True, tag="unsplit_route"):
    """Send all requests to the route's own targets."""


TrafficChange: TypeAlias = (
    PauseRoute | StopRoute | ResumeRoute | DrainTarget | UndrainTarget | SplitRoute | UnsplitRoute
)


def steered(route: Route, change: TrafficChange) -> Route:
    """The route after the change; raises Refused."""
    match change:
        case PauseRoute():
            return _with_mode(route, Traffic(mode="pause", hold_s=change.hold_s))
        case StopRoute():
            return _with_mode(route, Traffic(mode="stop", message=change.message, retry_after_s=change.retry_after_s))
        case ResumeRoute():
            return _with_mode(route, Traffic())
        case DrainTarget():
            return _with_draining(route, change.target, draining=True)
        case UndrainTarget():
            return _with_draining(route, change.target, draining=False)
        case SplitRoute():
            if route.redirect is not None:
                raise refused("invalid", "targets", "have no meaning beside redirect, which answers every request")
            split = fold_value(change.split)
            return _with_split(route, msgspec.structs.replace(split, targets=_draining_as(route, split.targets)))
        case UnsplitRoute():
            return _with_split(route, None)
        case _:
            assert_never(change)


def kept(wanted: Route, current: Route | None) -> Route:
    """The route that a client wants, with the traffic of the one that it replaces: that is not the client's to say."""
    traffic = current.traffic if current else Traffic()
    return msgspec.structs.replace(wanted, targets=_draining_as(current, wanted.targets), traffic=traffic)


def find_target(route: Route, url: str) -> Target:
    """The target of the route, or of its split, with this URL in any spelling; raises Refused."""
    try:
        folded = fold_target_url(url)
    except ValueError as reason:
        raise refused("invalid", "target", str(reason)) from None
    found = [target for target in _all_targets(route) if target.url == folded]
    if not found:
        raise refused("missing", "target", f"names no target of {route.key}")
    return found[0]


def _with_mode(route: Route, traffic: Traffic) -> Route:
    return _with_traffic(route, msgspec.structs.replace(fold_value(traffic), split=route.traffic.split))


def _with_split(route: Route, split: Split | None) -> Route:
    return _with_traffic(route, msgspec.structs.replace(route.traffic, split=split))


def _with_traffic(route: Route, traffic: Traffic) -> Route:
    return msgspec.structs.replace(route, traffic=traffic)


def _with_draining(route: Route, url: str, *, draining: bool) -> Route:
    target = find_target(route, url)
    after = msgspec.structs.replace(route, targets=_set(route.targets, target.url, draining=draining))
    split = route.traffic.split
    if split is None:
        return after
    return _with_split(
        after, msgspec.structs.replace(split, targets=_set(split.targets, target.url, draining=draining))
    )


def _set(targets: tuple[Target, ...], url: str, *, draining: bool) -> tuple[Target, ...]:
    return tuple(
        msgspec.structs.replace(target, draining=draining) if target.url == url else target for target in targets
    )


def _draining_as(current: Route | None, wanted: tuple[Target, ...]) -> tuple[Target, ...]:
    """Targets of which those are draining that were, in the route or in its split: it is the program that drains."""
    draining = {target.url for target in _all_targets(current) if target.draining} if current else set()
    return tuple(msgspec.structs.replace(target, draining=target.url in draining) for target in wanted)


def _all_targets(route: Route) -> tuple[Target, ...]:
    split = route.traffic.split
    return (*route.targets, *split.targets) if split else route.targets
