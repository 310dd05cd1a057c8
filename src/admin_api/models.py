"""Pydantic models made of the values of `state`, so that a field and its rules are written down once."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, create_model

from state.rules import Fold, Length, Range


class Body(BaseModel):
    """What is sent: nothing unknown, nothing read as something else."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Query(BaseModel):
    """What a query string says. Text is all that it has, so numbers are read from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@functools.cache
def model_of(struct: type[msgspec.Struct]) -> type[BaseModel]:
    """The model that takes what `struct` holds, under the same rules and with the same defaults."""
    return make_model(struct.__name__, struct, {}, struct.__doc__ or "")


def make_model(name: str, struct: type[msgspec.Struct], other: Mapping[str, Any], doc: str) -> type[BaseModel]:
    """A model with the fields of `struct`, of which some are `other`: a type and a default each."""
    kinds = get_type_hints(struct, include_extras=True)
    fields = {field.name: (_translated(kinds[field.name]), _default(field)) for field in msgspec.structs.fields(struct)}
    made: type[BaseModel] = create_model(name, __base__=Body, __doc__=doc, **{**fields, **other})
    return made


def _default(field: msgspec.structs.FieldInfo) -> Any:  # noqa: ANN401
    if callable(field.default_factory):
        return Field(default_factory=field.default_factory)
    if field.default is msgspec.NODEFAULT:
        return ...
    # As it is written in JSON: a document has lists and objects, no tuples and structs.
    written = msgspec.json.decode(msgspec.json.encode(field.default))
    kind: Any = type(field.default)
    return model_of(kind).model_validate(written) if isinstance(written, dict) else written


def _translated(kind: Any) -> Any:  # noqa: ANN401
    """The type in pydantic's words."""
    origin = get_origin(kind)
    if origin is Annotated:
        inner, *beside = get_args(kind)
        return Annotated[(_translated(inner), *map(_constraint, beside))]
    if origin in {Union, UnionType}:
        return _optional(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return model_of(kind)
    if origin is tuple:
        return list[_translated(get_args(kind)[0])]  # type: ignore[misc]  # made at run time
    if origin is Mapping:
        key, value = get_args(kind)
        return dict[_translated(key), _one_or_more(value)]  # type: ignore[misc]
    return kind


def _constraint(rule: Any) -> Any:  # noqa: ANN401
    match rule:
        case Range(low=low, high=high, above=above):
            return Field(gt=low, le=high) if above else Field(ge=low, le=high)
        case Length(low=low, high=high):
            return Field(min_length=low or None, max_length=high)
        case Fold(fold=fold):
            return AfterValidator(fold)
        case msgspec.Meta(description=description, examples=examples):
            return Field(description=description, examples=examples)
        case _:
            raise TypeError(f"no model can hold a value to {rule}")


def _optional(kind: Any) -> Any:  # noqa: ANN401
    """A value or null; one whose fields all have defaults may also be switched on with true, and off with false."""
    inner = next(each for each in get_args(kind) if each is not type(None))
    translated = _translated(inner)
    if _has_defaults(inner):
        switch = BeforeValidator(_switched, json_schema_input_type=translated | bool | None)
        return Annotated[translated | None, switch]
    return translated | None


def _has_defaults(kind: Any) -> bool:  # noqa: ANN401
    is_struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    return is_struct and not any(field.required for field in msgspec.structs.fields(kind))


def _switched(value: object) -> object:
    return {} if value is True else None if value is False else value


def _one_or_more(kind: Any) -> Any:  # noqa: ANN401
    """A list, of which the only item may stand alone."""
    translated = _translated(kind)
    listed = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if get_origin(listed) is not tuple:
        return translated
    item = _translated(get_args(listed)[0])
    return Annotated[translated, BeforeValidator(_listed, json_schema_input_type=translated | item)]


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value
