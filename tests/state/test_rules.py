"""Rules beside types, and the walk that finds all problems of a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import msgspec
import pytest

from state.refusal import Problem
from state.rules import Fold, Length, Range, folded


def no_space(text: str) -> str:
    """Lower case, without spaces."""
    if " " in text:
        raise ValueError("has a space")
    return text.lower()


class Part(msgspec.Struct, frozen=True):
    """A part."""

    name: Annotated[str, Length(1, 4), Fold(no_space)]
    size: Annotated[int, Range(0, 9)] = 1
    high: int = 9

    def problems(self) -> Iterator[Problem]:
        """The size has a bound of its own."""
        if self.size > self.high:
            yield Problem("size", "is more than high")


class Whole(msgspec.Struct, frozen=True):
    """A whole."""

    parts: Annotated[tuple[Part, ...], Length(0, 2)] = ()
    spare: Part | None = None
    labels: Mapping[Annotated[str, Fold(no_space)], Annotated[str, Length(0, 2)]] = msgspec.field(default_factory=dict)
    share: Annotated[float, Range(0, 1, above=True)] = 0.0


def problems(value: msgspec.Struct, path: str = "") -> list[tuple[str, str]]:
    """Path and reason of all that is wrong."""
    found: list[Problem] = []
    folded(value, found, path)
    return [(problem.field, problem.reason) for problem in found]


def test_every_field_gets_its_one_spelling() -> None:
    """Wherever it is; the rest stays, and nothing is changed in place."""
    whole = Whole(parts=(Part("A"), Part("b", 2)), spare=Part("C"), labels={"X": "Y"})
    found: list[Problem] = []
    assert folded(whole, found) == Whole(parts=(Part("a"), Part("b", 2)), spare=Part("c"), labels={"x": "Y"})
    assert (found, whole.parts[0].name) == ([], "A")


def test_what_is_folded_already_is_the_same_value() -> None:
    """Most values are."""
    part = Part("a", 2)
    assert folded(part, []) is part


def test_every_problem_is_named_by_its_path() -> None:
    """In the order of the fields."""
    whole = Whole(parts=(Part("a b"), Part("", 10)), spare=Part("a", 3, high=2), labels={"a b": "xyz"}, share=2)
    assert problems(whole) == [
        ("parts[0].name", "has a space"),
        ("parts[1].name", "must have 1 to 4 characters"),
        ("parts[1].size", "must be 0 to 9"),
        ("parts[1].size", "is more than high"),
        ("spare.size", "is more than high"),
        ("labels['a b']", "has a space"),
        ("labels['a b']", "must have 0 to 2 characters"),
        ("share", "must be more than 0 and at most 1"),
    ]


def test_a_path_may_begin_further_up() -> None:
    """Where the value stands in another."""
    assert problems(Part("a b", 3, high=2), "outer") == [
        ("outer.name", "has a space"),
        ("outer.size", "is more than high"),
    ]


def test_a_default_is_not_looked_at() -> None:
    """0 is no share, and yet what a whole begins with."""
    assert problems(Whole()) == []


@pytest.mark.parametrize("number", [-1, 10, float("nan"), float("inf")])
def test_a_range_has_two_ends(number: float) -> None:
    """NaN is in none."""
    with pytest.raises(ValueError, match="must be 0 to 9"):
        Range(0, 9).apply(number)


def test_a_whole_is_not_blamed_for_its_parts() -> None:
    """A list with a wrong item is not also called too long."""
    whole = Whole(parts=(Part("a b"), Part("b"), Part("c")))
    assert problems(whole) == [("parts[0].name", "has a space")]
    assert problems(Whole(parts=(Part("a"), Part("b"), Part("c")))) == [("parts", "must have 0 to 2 items")]
