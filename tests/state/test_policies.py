"""What a route may ask for: the rules between fields, and that nothing is without bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, get_args, get_origin, get_type_hints

import msgspec
import pytest

from state import policies
from state.model import Route, Split, Target
from state.policies import (
    Circuit,
    Cors,
    Ejection,
    Hash,
    HeaderEdits,
    HealthCheck,
    Hsts,
    RateLimit,
    TargetTls,
    name_problems,
)
from state.refusal import Problem
from state.rules import Length, Range, folded

TARGETS = (Target("http://a:1"),)
UNBOUNDED = {"Route.revision"}


def fields(value: msgspec.Struct) -> list[str]:
    """The fields that are wrong."""
    found: list[Problem] = []
    folded(value, found)
    return [problem.field for problem in found]


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        (Ejection(base_s=301), ["base_s"]),
        (Ejection(after=0, max_share=1, statuses=(500, 599)), []),
        (Ejection(statuses=(200,)), ["statuses[0]"]),
        (Circuit(max_pending=1), ["max_pending"]),
        (Circuit(max_pending=1, max_in_flight=1), []),
        (Hash(source="cookie"), ["name"]),
        (Hash(name="X-A"), ["name"]),
        (Hash(source="header", name="a b"), ["name"]),
        (Hash(source="header", name="X-A"), []),
        (RateLimit(requests=0), ["requests"]),
        (RateLimit(requests=1, by="header"), ["header"]),
        (RateLimit(requests=1, by="token"), []),
        (Cors(origins=()), ["origins"]),
        (Cors(origins=("*",), credentials=True), ["credentials"]),
        (Cors(origins=("*",)), []),
        (Hsts(preload=True), ["preload"]),
        (Hsts(preload=True, include_subdomains=True), []),
        (HeaderEdits(remove_request=("Host", "X-A")), ["remove_request[0]"]),
        (HeaderEdits(add_response={"X-A": ("1", "\n")}), ["add_response['X-A'][1]"]),
        (HeaderEdits(remove_response=("X-A", "x-a")), ["remove_response"]),
        (HealthCheck(host="a:0", statuses=("2xx",)), ["host", "statuses[0]"]),
        (TargetTls(server_name="a:1", certificate="*", ca="x"), ["ca", "server_name", "certificate"]),
        (Split(targets=(), share=2), ["targets", "share", "targets"]),
        (Split(targets=TARGETS, by="cookie", name="beta", values=("a", "b")), []),
        (Split(targets=TARGETS, by="cookie", share=0.5), ["name", "share"]),
        (Split(targets=TARGETS, values=("a",)), ["values"]),
    ],
)
def test_rules_between_fields(value: msgspec.Struct, wrong: list[str]) -> None:
    """What makes no sense together is named by the field to change."""
    assert fields(value) == wrong


def test_a_name_is_there_where_it_is_needed() -> None:
    """And only there."""
    assert [problem.reason for problem in name_problems("", needed=True, by="cookie")] == ["is required beside cookie"]
    assert list(name_problems("a", needed=True, by="cookie")) == []
    assert len(list(name_problems("a", needed=False, by="address"))) == 1


def test_nothing_is_without_bounds() -> None:
    """Every text, number, list and object that a client sends has a size that is known, or a syntax that has one."""
    structs: list[type[msgspec.Struct]] = [
        kind
        for kind in vars(policies).values()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__module__ == policies.__name__
    ]
    structs += [Route, Target, Split]
    loose = [
        f"{struct.__name__}.{name}"
        for struct in structs
        for name, kind in get_type_hints(struct, include_extras=True).items()
        if any(unbounded(kind))
    ]
    assert set(loose) - UNBOUNDED == set()


def unbounded(kind: object, rules: tuple[object, ...] = ()) -> Iterator[bool]:
    """Whether anything in a type is of any size."""
    origin = get_origin(kind)
    if origin is Annotated:
        inner, *beside = get_args(kind)
        yield from unbounded(inner, (*rules, *beside))
    elif kind is int or kind is float:
        yield not any(isinstance(rule, Range) for rule in rules)
    elif kind is str:
        yield not rules
    elif origin is tuple or origin is Mapping:
        yield not any(isinstance(rule, Length) for rule in rules)
        for inner in get_args(kind):
            yield from unbounded(inner)
    else:
        for inner in get_args(kind) if origin is not None and "Literal" not in str(origin) else ():
            yield from unbounded(inner)
