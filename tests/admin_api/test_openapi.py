"""The document: complete, sound, and about what the server really does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web
from pydantic import BaseModel

from admin_api.auth import OpenDoor
from admin_api.dialect import Access, Answer, Dialect, Endpoint, Operation
from admin_api.openapi import describe
from admin_api.plane.errors import render
from tests.admin_api.served import Served

Document = dict[str, Any]


@pytest.fixture
async def document(served: Served) -> Document:
    """The document as a client gets it."""
    async with served.client.get("/openapi.json") as answer:
        assert (answer.status, answer.content_type) == (200, "application/json")
        found: Document = await answer.json()
        return found


async def test_document_and_router_agree(served: Served, document: Document) -> None:
    """Every route is described, and everything described is a route; HEAD goes with GET."""
    routes = {
        (route.method, route.resource.canonical)
        for route in served.app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == routes


async def test_document_says_what_it_is(document: Document) -> None:
    """OpenAPI 3.1, with the version of the program."""
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["version"] == "1.2.3"


async def test_every_reference_leads_somewhere(document: Document) -> None:
    """A document with a loose end is of no use to a generator."""
    references = set(values_of("$ref", document))
    assert references
    for reference in references:
        place: Any = document
        for name in reference.removeprefix("#/").split("/"):
            place = place[name]


async def test_no_schema_is_left_over(document: Document) -> None:
    """What is described is used."""
    used = {reference.rpartition("/")[2] for reference in values_of("$ref", document)}
    assert set(document["components"]["schemas"]) == used


async def test_every_operation_is_complete(document: Document) -> None:
    """A unique id, a summary, a good answer, and a description of every answer."""
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids))
    for operation in operations:
        assert operation["summary"]
        assert any(status.startswith("2") for status in operation["responses"])
        assert all(response["description"] for response in operation["responses"].values())


async def test_every_path_parameter_is_declared(document: Document) -> None:
    """OpenAPI 3.1 section 4.8.12: and it is required."""
    for path, methods in document["paths"].items():
        for operation in methods.values():
            declared = [parameter for parameter in operation["parameters"] if parameter["in"] == "path"]
            assert [f"{{{parameter['name']}}}" in path for parameter in declared] == [True] * path.count("{")
            assert all(parameter["required"] for parameter in declared)


async def test_protected_operations_name_the_signature(document: Document) -> None:
    """With an empty alternative, because an open node asks for none."""
    assert document["paths"]["/sync"]["post"]["security"] == [{"workerSignature": []}, {}]
    assert document["paths"]["/health"]["get"]["security"] == []
    assert "workerSignature" in document["components"]["securitySchemes"]


async def test_schemas_are_the_ones_that_validate(document: Document) -> None:
    """Limits and unknown fields included."""
    body = document["components"]["schemas"]["RouteBody"]
    assert (body["additionalProperties"], body["properties"]["targets"]["maxItems"]) == (False, 256)
    assert body["properties"]["balance"]["enum"] == ["round_robin", "least_requests", "random_two", "consistent_hash"]
    retries = body["properties"]["retries"]
    assert (retries["type"], retries["minimum"], retries["maximum"], retries["default"]) == ("integer", 0, 5, 1)


async def test_query_parameters_are_the_fields_of_the_model(document: Document) -> None:
    """With their limits."""
    parameters = document["paths"]["/routes"]["get"]["parameters"]
    limit = next(parameter for parameter in parameters if parameter["name"] == "limit")
    assert (limit["in"], limit["required"], limit["schema"]["maximum"]) == ("query", False, 1000)
    assert {parameter["name"] for parameter in parameters} == {"limit", "cursor", "org_id", "q", "If-None-Match"}


def test_dialects_share_one_document() -> None:
    """One listener, one document, a tag for each dialect, and models of both."""
    text = describe(
        [dialect("one", "/one", First, "public"), dialect("two", "/two", Second, "protected")], "1"
    ).decode()
    for expected in ('"/one/things"', '"/two/things"', '"tags":["one"]', '"tags":["two"]', '"First"', '"Second"'):
        assert expected in text


class First(BaseModel):
    """A model of one dialect."""

    name: str


class Second(BaseModel):
    """A model of another."""

    number: int


def dialect(name: str, prefix: str, model: type[BaseModel], access: Access) -> Dialect:
    """A dialect with one endpoint that gives a `model`."""
    operation = Operation(id=f"{name}_things", summary="Things", answers={200: Answer(description="It.", model=model)})
    path = f"{prefix}/things"
    endpoint = Endpoint(method="GET", path=path, handler=never, access=access, operation=operation)
    return Dialect(name=name, prefix=prefix, endpoints=(endpoint,), authenticators=(OpenDoor(),), render=render)


async def never(_request: web.Request) -> web.Response:
    """Nobody calls it."""
    raise AssertionError


def values_of(name: str, value: object) -> Iterator[str]:
    """Every value of a field, however deep."""
    if isinstance(value, dict):
        if isinstance(value.get(name), str):
            yield value[name]
        for inner in value.values():
            yield from values_of(name, inner)
    elif isinstance(value, list):
        for inner in value:
            yield from values_of(name, inner)
