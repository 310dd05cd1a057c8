"""Models made of values: the same fields, rules and defaults, in pydantic's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
import pytest
from pydantic import ValidationError

from admin_api.models import make_model, model_of
from state.rules import Fold, Length, Range


class Wheel(msgspec.Struct, frozen=True):
    """A wheel."""

    size: Annotated[float, Range(0, 30, above=True)] = 26.0


class Bicycle(msgspec.Struct, frozen=True):
    """A bicycle."""

    name: Annotated[str, Length(1, 8), Fold(str.lower), msgspec.Meta(description="What it is called.")]
    kind: Literal["road", "city"] = "road"
    wheels: Annotated[tuple[Wheel, ...], Length(0, 2)] = ()
    spare: Wheel | None = None
    labels: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    front: Wheel = Wheel()


def read(**fields: object) -> Any:  # noqa: ANN401 - whatever the model makes of it
    """What the model takes."""
    return model_of(Bicycle).model_validate({"name": "A", **fields}).model_dump()


def test_defaults_come_along() -> None:
    """In the form that JSON has."""
    assert read() == {
        "name": "a",
        "kind": "road",
        "wheels": [],
        "spare": None,
        "labels": {},
        "front": {"size": 26.0},
    }


def test_a_value_is_made_of_what_a_model_took() -> None:
    """That is what it is for."""
    wanted = Bicycle("a", wheels=(Wheel(1), Wheel()), labels={"x": ("y",)})
    assert msgspec.convert(read(wheels=[{"size": 1}, {}], labels={"x": "y"}), Bicycle) == wanted


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "too long a name"},
        {"name": None},
        {"kind": "ROAD"},
        {"wheels": [{}, {}, {}]},
        {"wheels": [{"size": 0}]},
        {"wheels": [{"size": 31}]},
        {"wheels": [{"sise": 1}]},
        {"wheels": {}},
        {"front": None},
        {"front": True},
        {"labels": {"x": [1]}},
        {"colour": "red"},
    ],
)
def test_rules_come_along(fields: dict[str, object]) -> None:
    """And nothing is read as something else."""
    with pytest.raises(ValidationError):
        read(**fields)


@pytest.mark.parametrize(
    ("spare", "expected"), [(True, {"size": 26.0}), (False, None), (None, None), ({"size": 1}, {"size": 1.0})]
)
def test_what_may_be_left_out_is_a_switch(spare: object, expected: object) -> None:
    """If nothing in it is required."""
    assert read(spare=spare)["spare"] == expected


def test_the_document_has_limits_and_descriptions() -> None:
    """As far as JSON Schema can say them."""
    properties = model_of(Bicycle).model_json_schema()["properties"]
    assert properties["name"] == {
        "type": "string",
        "title": "Name",
        "minLength": 1,
        "maxLength": 8,
        "description": "What it is called.",
    }
    assert {"type": "boolean"} in properties["spare"]["anyOf"]


def test_fields_may_be_others() -> None:
    """Where the API takes something else than what is kept."""
    other = make_model("Other", Bicycle, {"kind": (int, 3)}, "Another.")
    assert (other.__name__, other.model_validate({"name": "A"}).model_dump()["kind"]) == ("Other", 3)


def test_a_rule_that_no_model_knows_is_noticed() -> None:
    """It would be no rule for those who come by the API."""

    class Strange(msgspec.Struct):
        name: Annotated[str, "unknown"] = ""

    Strange.__annotations__["name"] = Annotated[str, "unknown"]
    with pytest.raises(TypeError, match="unknown"):
        model_of(Strange)
