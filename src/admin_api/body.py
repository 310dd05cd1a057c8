"""From the bytes of a request to a validated value, with every wrong field reported at once."""

from __future__ import annotations

import asyncio
import difflib
import json
from http import HTTPStatus
from typing import Any, Final, NoReturn, TypeVar, get_args

from aiohttp import web
from pydantic import BaseModel, ValidationError

from admin_api.errors import ApiError, invalid
from state.refusal import Problem

BODY_TIMEOUT_S: Final = 30.0
PROBLEMS_SHOWN: Final = 50
NAME_SHOWN: Final = 80

# How pydantic says that it is the name of an item that is wrong, and not its value.
_KEY: Final = "[key]"

_Model = TypeVar("_Model", bound=BaseModel)


async def raw_body(request: web.Request) -> bytes:
    """The body as it was sent, read once and kept; raises ApiError 408 or 415, and aiohttp's 413."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        # What is signed is what was sent, and a small body could unpack to any size.
        raise ApiError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send the body without a Content-Encoding.")
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.read()
    except TimeoutError:
        raise ApiError(HTTPStatus.REQUEST_TIMEOUT, "The body did not arrive in time.") from None


async def read_json(request: web.Request, model: type[_Model], *, or_empty: bool = False) -> _Model:
    """The JSON body as a `model`, `or_empty` one where there is none; raises ApiError 400 or 415."""
    body = await raw_body(request)
    if or_empty and not body:
        return _validate(model, {})
    if "Content-Type" in request.headers and request.content_type != "application/json":
        raise ApiError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send the body as application/json.")
    return _validate(model, _decode(body))


def read_query(request: web.Request, model: type[_Model]) -> _Model:
    """The query string as a `model`; raises ApiError 400, also for a parameter that is given twice."""
    repeated = [name for name in dict.fromkeys(request.query) if len(request.query.getall(name)) > 1]
    if repeated:
        raise invalid(Problem(name[:NAME_SHOWN], "is given more than once") for name in repeated)
    return _validate(model, dict(request.query))


def _validate(model: type[_Model], value: object) -> _Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False, include_context=False)
        problems = [
            Problem(_path(model, detail["loc"]), _reason(model, detail["loc"], detail["type"], detail["msg"]))
            for detail in details[:PROBLEMS_SHOWN]
        ]
        raise invalid(problems) from None


def _decode(body: bytes) -> object:
    try:
        return json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ApiError(HTTPStatus.BAD_REQUEST, f"The body is not valid JSON: {error}.") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Two parsers may pick different ones of two equal names (RFC 8259 section 4), so a body that has them is refused.
    value: dict[str, Any] = {}
    for name, item in pairs:
        if name in value:
            raise ValueError(f"the name {name[:NAME_SHOWN]!r} appears twice in one object")
        value[name] = item
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _path(model: type[BaseModel], loc: tuple[str | int, ...]) -> str:
    path = ""
    # What an object is made of tells its fields from names that the client chose.
    inside: object = model
    for part in loc:
        if part == _KEY:
            break
        if isinstance(part, int):
            path += f"[{part}]"
        elif _model_in(inside) is not None:
            path += f".{part[:NAME_SHOWN]}"
        else:
            path += f"[{part[:NAME_SHOWN]!r}]"
        inside = _inside(inside, part)
    return path.removeprefix(".") or "body"


def _reason(model: type[BaseModel], loc: tuple[str | int, ...], kind: str, message: str) -> str:
    """Why the field is wrong, to be read after its name."""
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        return _unknown(_model_at(model, loc[:-1]), str(loc[-1]))
    if kind in {"model_type", "dict_type"}:
        return "should be an object"
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    return f"should{message.partition(' should')[2]}" if " should" in message else f"is wrong: {message}"


def _unknown(model: type[BaseModel], name: str) -> str:
    nearest = difflib.get_close_matches(name[:NAME_SHOWN], model.model_fields, n=1, cutoff=0.5)
    return f"is unknown, did you mean {nearest[0]}?" if nearest else "is unknown"


def _model_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> type[BaseModel]:
    inside: object = model
    for part in loc:
        inside = _inside(inside, part)
    return _model_in(inside) or model


def _inside(kind: object, part: str | int) -> object:
    """The type of a field of a model, or of what is in a list or an object."""
    model = _model_in(kind)
    if model is not None and isinstance(part, str):
        field = model.model_fields.get(part)
        return field.annotation if field else None
    return kind


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model that a value of this type is, or has in it; None for plain values and for objects of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for argument in get_args(annotation) if (found := _model_in(argument))), None)
