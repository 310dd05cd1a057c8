"""Rules that stand beside a field's type, and the walk that holds a value against them, with all problems by path."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints, runtime_checkable

import msgspec

from state.refusal import Problem

S = TypeVar("S", bound=msgspec.Struct)


class Range(msgspec.Struct, frozen=True):
    """A number from `low` to `high`, both included, or only above `low`."""

    low: float
    high: float
    above: bool = False

    def apply(self, value: float) -> float:
        """The number itself; raises ValueError with the reason when it is outside."""
        # Written so that NaN, which is on neither side of any number, is refused.
        if not self.low <= value <= self.high or (self.above and value == self.low):
            low = f"more than {_number(self.low)} and at most" if self.above else f"{_number(self.low)} to"
            raise ValueError(f"must be {low} {_number(self.high)}")
        return value


class Length(msgspec.Struct, frozen=True):
    """Text of `low` to `high` characters, or a list or an object of so many items."""

    low: int
    high: int

    def apply(self, value: Any) -> Any:  # noqa: ANN401
        """The value itself; raises ValueError with the reason when it is too short or too long."""
        if not self.low <= len(value) <= self.high:
            noun = "characters" if isinstance(value, str) else "items"
            raise ValueError(f"must have {self.low} to {self.high} {noun}")
        return value


class Fold(msgspec.Struct, frozen=True):
    """What brings a value into its one spelling, and raises ValueError with the reason when it has none."""

    fold: Callable[[Any], Any]

    def apply(self, value: Any) -> Any:  # noqa: ANN401
        """The one spelling; raises ValueError with the reason."""
        return self.fold(value)


Rule = Range | Length | Fold


@runtime_checkable
class Judging(Protocol):
    """A value with rules between its fields."""

    def problems(self) -> Iterator[Problem]:
        """What is wrong between the fields, by paths that begin at the value."""
        ...


def folded(value: S, problems: list[Problem], path: str = "") -> S:
    """`value` with every field in its one spelling; what is wrong with it is added to `problems`.

    A field that holds its default is not looked at: defaults are right.
    """
    changes: dict[str, Any] = {}
    for name, kind, default in _fields(type(value)):
        found = getattr(value, name)
        if found is default or found == default:
            continue
        fixed = _fold(found, kind, f"{path}.{name}" if path else name, problems)
        if fixed != found:
            changes[name] = fixed
    after = msgspec.structs.replace(value, **changes) if changes else value
    problems += (Problem(f"{path}.{found.field}" if path else found.field, found.reason) for found in _judged(after))
    return after


def _judged(value: object) -> Iterable[Problem]:
    return value.problems() if isinstance(value, Judging) else ()


@functools.cache
def _fields(struct: type[msgspec.Struct]) -> tuple[tuple[str, Any, Any], ...]:
    kinds = get_type_hints(struct, include_extras=True)
    return tuple(
        (field.name, kinds[field.name], field.default_factory() if callable(field.default_factory) else field.default)
        for field in msgspec.structs.fields(struct)
    )


def _fold(value: Any, kind: Any, path: str, problems: list[Problem]) -> Any:  # noqa: ANN401
    origin = get_origin(kind)
    if origin is Annotated:
        return _ruled(value, kind, path, problems)
    if origin in {Union, UnionType}:
        kinds = [each for each in get_args(kind) if each is not type(None)]
        return value if value is None else _fold(value, kinds[0], path, problems)
    if isinstance(value, msgspec.Struct):
        return folded(value, problems, path)
    if origin is tuple:
        item = get_args(kind)[0]
        return tuple(_fold(each, item, f"{path}[{place}]", problems) for place, each in enumerate(value))
    if isinstance(value, Mapping):
        key_kind, value_kind = get_args(kind)
        return {
            _fold(key, key_kind, f"{path}[{key!r}]", problems): _fold(each, value_kind, f"{path}[{key!r}]", problems)
            for key, each in value.items()
        }
    return value


def _ruled(value: Any, kind: Any, path: str, problems: list[Problem]) -> Any:  # noqa: ANN401
    inner, *beside = get_args(kind)
    known = len(problems)
    value = _fold(value, inner, path, problems)
    for rule in beside:
        # A rule about a whole is not held against parts that are wrong already.
        if isinstance(rule, Rule) and len(problems) == known:
            try:
                value = rule.apply(value)
            except ValueError as reason:
                problems.append(Problem(path, str(reason)))
    return value


def _number(number: float) -> str:
    return f"{number:.0f}" if number == int(number) else str(number)
