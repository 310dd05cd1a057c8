"""The OpenAPI 3.1 document, made of the endpoints that the router has and the models that validate."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from admin_api.dialect import Answer, Dialect, Endpoint, Operation

DOCUMENT: Final = web.AppKey("document", bytes)

_REF: Final = "#/components/schemas/{model}"
_PATH_PARAMETER: Final = re.compile(r"\{(\w+)")
_SECURITY_SCHEMES: Final[Mapping[str, Any]] = {
    "workerSignature": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Signature",
        "description": "Hex HMAC-SHA256 of the raw body under the worker secret, with or without `sha256=` before it. "
        "With X-Timestamp (Unix seconds, within 300 s) it covers `<timestamp>.<body>`. An open node asks for none.",
    }
}


def describe(dialects: Iterable[Dialect], version: str) -> bytes:
    """The document of everything that `dialects` answer, as JSON."""
    spoken = tuple(dialects)
    operations = [endpoint.operation for dialect in spoken for endpoint in dialect.endpoints]
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Zexio admin API",
            "version": version,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": dialect.name} for dialect in spoken],
        "paths": _paths(spoken),
        "components": {"schemas": _schemas(operations), "securitySchemes": _SECURITY_SCHEMES},
    }
    return msgspec.json.encode(document)


def _paths(dialects: Iterable[Dialect]) -> dict[str, dict[str, Any]]:
    paths: dict[str, dict[str, Any]] = {}
    for dialect in dialects:
        for endpoint in dialect.endpoints:
            paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(dialect.name, endpoint)
    return paths


def _operation(tag: str, endpoint: Endpoint) -> dict[str, Any]:
    operation = endpoint.operation
    described: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [tag],
        "summary": operation.summary,
        "parameters": [*_path_parameters(endpoint.path), *_query_parameters(operation), *_header_parameters(operation)],
        "responses": {str(status): _response(answer) for status, answer in operation.answers.items()},
        "security": [{"workerSignature": []}, {}] if endpoint.access == "protected" else [],
    }
    if operation.description:
        described["description"] = operation.description
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": _bodies(operation.body, operation.text_body)}
    return described


def _bodies(model: type[BaseModel], text: str | None) -> dict[str, Any]:
    bodies: dict[str, Any] = {"application/json": {"schema": _ref(model)}}
    return bodies if text is None else bodies | {text: {"schema": {"type": "string"}}}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    names = _PATH_PARAMETER.findall(path)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _query_parameters(operation: Operation) -> list[dict[str, Any]]:
    if operation.query is None:
        return []
    schema = operation.query.model_json_schema()
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": value}
        for name, value in schema.get("properties", {}).items()
    ]


def _header_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "description": sentence, "schema": {"type": "string"}}
        for name, sentence in operation.headers.items()
    ]


def _response(answer: Answer) -> dict[str, Any]:
    response: dict[str, Any] = {"description": answer.description}
    if answer.headers:
        response["headers"] = {
            name: {"description": sentence, "schema": {"type": "string"}} for name, sentence in answer.headers.items()
        }
    if answer.model is not None:
        response["content"] = {answer.media or "application/json": {"schema": _ref(answer.model)}}
    elif answer.media is not None:
        response["content"] = {answer.media: {"schema": {"type": "string"}}}
    return response


def _schemas(operations: Iterable[Operation]) -> Mapping[str, Any]:
    models = {model: None for operation in operations for model in _models(operation)}
    _, schema = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    definitions: Mapping[str, Any] = schema.get("$defs", {})
    return definitions


def _models(operation: Operation) -> Iterable[type[BaseModel]]:
    if operation.body is not None:
        yield operation.body
    for answer in operation.answers.values():
        if answer.model is not None:
            yield answer.model


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}
