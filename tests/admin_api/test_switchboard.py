"""Requests to dialects and endpoints, with two dialects on one listener."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus

import pytest
from aiohttp import ClientSession, web

from admin_api import middlewares
from admin_api.auth import OpenDoor, WorkerSignature
from admin_api.dialect import EVENT_STREAM, Access, Answer, Dialect, Endpoint, Operation
from admin_api.errors import ApiError
from admin_api.origin import POLICY, OriginPolicy
from admin_api.switchboard import SWITCHBOARD, Switchboard
from tests.admin_api.served import port_of, serve_app


async def answer_or_fail(request: web.Request) -> web.Response:
    """An answer, or an error on request."""
    if "gone" in request.query:
        raise web.HTTPGone
    if "fail" in request.query:
        raise ApiError(HTTPStatus.CONFLICT, "It is taken.")
    return web.Response(text="done")


def endpoint(path: str, access: Access = "public", media: str = "text/plain") -> Endpoint:
    """A GET endpoint on `path`."""
    operation = Operation(id=path, summary=path, answers={200: Answer(description="It.", media=media)})
    return Endpoint(method="GET", path=path, handler=answer_or_fail, access=access, operation=operation)


def application() -> web.Application:
    """Two dialects with different errors and different doors."""
    root = Dialect(
        name="root",
        prefix="",
        endpoints=(endpoint("/things"), endpoint("/events", media=EVENT_STREAM), endpoint("/secret", "protected")),
        authenticators=(WorkerSignature("secret"),),
        render=lambda error: web.Response(status=error.status, text=f"root: {error.message}", headers=error.headers),
    )
    other = Dialect(
        name="other",
        prefix="/api/v1",
        endpoints=(endpoint("/api/v1/things"), endpoint("/api/v1/secret", "protected")),
        authenticators=(OpenDoor(),),
        render=lambda error: web.json_response({"code": error.status.phrase}, status=error.status),
        any_origin=True,
    )
    chain = (middlewares.number, middlewares.answer_errors, middlewares.answer_preflight, middlewares.authenticate)
    app = web.Application(middlewares=chain)
    app[POLICY] = OriginPolicy(is_open=False)
    app[SWITCHBOARD] = Switchboard(app.router, (root, other))
    app.on_response_prepare.append(middlewares.finish_head)
    return app


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    """A client of the application."""
    async with serve_app(application()) as runner, ClientSession(f"http://127.0.0.1:{port_of(runner)}") as session:
        yield session


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/things", 200, "done"),
        ("/things?fail=1", 409, "root: It is taken."),
        ("/things?gone=1", 410, "root: Gone"),
        ("/nothing", 404, "root: There is nothing at /nothing."),
        ("/secret", 401, "root: Authentication failed."),
        ("/api/v1/things", 200, "done"),
        ("/api/v1/things?fail=1", 409, '{"code": "Conflict"}'),
        ("/api/v1/nothing", 404, '{"code": "Not Found"}'),
        ("/api/v1/secret", 200, "done"),
        ("/api/v10/nothing", 404, "root: There is nothing at /api/v10/nothing."),
    ],
)
async def test_each_dialect_has_its_own_errors_and_its_own_doors(
    client: ClientSession, path: str, status: int, text: str
) -> None:
    """What a path answers is a matter of the dialect that claims it, also where there is nothing."""
    async with client.get(path) as answer:
        assert (answer.status, await answer.text()) == (status, text)


async def test_only_a_dialect_that_says_so_is_open_to_pages(client: ClientSession) -> None:
    """Access-Control headers are a promise of one dialect, not of the listener."""
    for path, expected in (("/things", None), ("/api/v1/things", "*")):
        asked = {"Origin": "http://a.example", "Access-Control-Request-Method": "GET"}
        async with client.get(path, headers=asked) as answer, client.options(path, headers=asked) as preflight:
            assert answer.headers.get("Access-Control-Allow-Origin") == expected
            assert preflight.headers.get("Access-Control-Allow-Origin") == expected


async def test_head_is_answered_where_get_ends(client: ClientSession) -> None:
    """A HEAD of a stream would have nothing to say."""
    async with client.head("/things") as answer:
        assert (answer.status, answer.headers["Content-Length"], await answer.text()) == (200, "4", "")
    async with client.head("/events") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET")
