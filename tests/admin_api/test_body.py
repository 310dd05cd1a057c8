"""Bytes to validated values, through a small application of its own."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated

import pytest
from aiohttp import ClientSession, web
from pydantic import AfterValidator, BaseModel, ConfigDict

from admin_api import body
from admin_api.body import raw_body, read_json, read_query
from admin_api.errors import ApiError
from tests.admin_api.served import port_of, raw_status, serve_app

Post = Callable[[bytes], Awaitable[str]]


def even(number: int) -> int:
    """A rule of ours, as models have them."""
    if number % 2:
        raise ValueError("must be even")
    return number


class Wheel(BaseModel):
    """A part."""

    model_config = ConfigDict(extra="forbid", strict=True)
    size: int
    spokes: Annotated[int, AfterValidator(even)] = 2


class Cart(BaseModel):
    """A whole, with parts in every place where a model may have one."""

    model_config = ConfigDict(extra="forbid", strict=True)
    wheels: list[Wheel]
    spare: Wheel | None = None
    labels: dict[str, str] = {}


class Search(BaseModel):
    """A query string."""

    model_config = ConfigDict(extra="forbid")
    limit: int = 10


async def echo(request: web.Request) -> web.Response:
    """What was understood, or why it was not."""
    try:
        if request.method == "GET":
            return web.Response(text=read_query(request, Search).model_dump_json())
        if request.method == "PUT":
            return web.Response(body=await raw_body(request))
        return web.Response(text=(await read_json(request, Cart)).model_dump_json(exclude_defaults=True))
    except ApiError as error:
        return web.Response(status=error.status, text=error.message)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Where the application listens."""
    app = web.Application(client_max_size=6000)
    app.router.add_route("*", "/", echo)
    async with serve_app(app) as runner:
        yield port_of(runner)


@pytest.fixture
async def client(port: int) -> AsyncIterator[ClientSession]:
    """A client of the application."""
    async with ClientSession(f"http://127.0.0.1:{port}") as session:
        yield session


@pytest.fixture
def post(client: ClientSession) -> Post:
    """Send a body as JSON; the answer comes with its status before it."""

    async def send(content: bytes) -> str:
        async with client.post("/", data=content, headers={"Content-Type": "application/json"}) as answer:
            return f"{answer.status} {await answer.text()}"

    return send


async def test_valid_body_becomes_a_model(post: Post) -> None:
    """What validates is what the handler gets."""
    assert await post(b'{"wheels": [{"size": 3}]}') == '200 {"wheels":[{"size":3}]}'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"wheels": [{"size": "3"}]}', "wheels[0].size should be a valid integer"),
        (b'{"wheels": [{"size": 3, "spokes": 5}]}', "wheels[0].spokes must be even"),
        (b'{"wheels": [{}]}', "wheels[0].size is required"),
        (b'{"wheels": [3]}', "wheels[0] should be an object"),
        (b"[]", "body should be an object"),
        (b"null", "body should be an object"),
        (b'{"wheels": [], "labels": 3}', "labels should be an object"),
        (b'{"wheels": [], "weels": 3}', "weels is unknown, did you mean wheels?"),
        (b'{"wheels": [], "zzz": 3}', "zzz is unknown"),
        (b'{"wheels": [{"size": 3, "sise": 3}]}', "wheels[0].sise is unknown, did you mean size?"),
        (b'{"wheels": [], "spare": {"size": 3, "spoke": 3}}', "spare.spoke is unknown, did you mean spokes?"),
        (b'{"wheels": [], "labels": {"a": 3}}', "labels['a'] should be a valid string"),
        (b'{"weels": []}', "wheels is required; weels is unknown, did you mean wheels?"),
    ],
)
async def test_every_wrong_field_is_named(post: Post, content: bytes, reason: str) -> None:
    """By its path, with a reason that reads on after it."""
    assert await post(content) == f"400 {reason}"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"{} {}",
        b'{"wheels": [{"size": NaN}]}',
        b'{"wheels": [{"size": -Infinity}]}',
        b'{"wheels": [], "wheels": []}',
        b'{"wheels": [{"size": 1, "size": 2}]}',
        b'\xef\xbb\xbf{"wheels": []}',
        '{"wheels": []}'.encode("utf-16"),
        b'{"labels": {"\xff": "a"}}',
        b"[" * 4000,
        b"1" * 5000,
    ],
)
async def test_what_is_no_json_is_refused(post: Post, content: bytes) -> None:
    """With one reading only: no NaN, no name twice, UTF-8, and not too deep."""
    assert (await post(content)).startswith("400 The body is not valid JSON: ")


async def test_problems_are_bounded(post: Post) -> None:
    """A request with a thousand mistakes does not make an answer of a thousand sentences."""
    names = ",".join(f'"n{number}": 0' for number in range(300))
    answer = await post(b'{"wheels": [], %s}' % names.encode())
    assert answer.count("is unknown") == body.PROBLEMS_SHOWN


async def test_long_names_are_cut(post: Post) -> None:
    """Nor one of a megabyte."""
    answer = await post(b'{"wheels": [], "%s": 0}' % (b"n" * 3000))
    assert len(answer) < 200


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
    ],
)
async def test_only_json_is_taken(client: ClientSession, content_type: str, status: int) -> None:
    """The types that a form of any page can send are refused."""
    async with client.post("/", data=b'{"wheels": []}', headers={"Content-Type": content_type}) as answer:
        assert answer.status == status


async def test_body_without_a_type_is_taken_for_json(port: int) -> None:
    """A program that says nothing about its body means JSON."""
    request = b'POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 14\r\n\r\n{"wheels": []}'
    assert await raw_status(port, request) == 200


async def test_packed_body_is_refused(client: ClientSession) -> None:
    """The signature is over the bytes that were sent, and these are gone."""
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    async with client.post("/", data=gzip.compress(b"{}"), headers=headers) as answer:
        assert answer.status == 415


async def test_too_large_body_is_refused(client: ClientSession) -> None:
    """Nobody can fill the node's memory."""
    async with client.put("/", data=b"x" * 7000) as answer:
        assert answer.status == 413


async def test_slow_body_is_refused(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor keep a handler waiting for ever."""
    monkeypatch.setattr(body, "BODY_TIMEOUT_S", 0.01)
    request = b"PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 14\r\n\r\n{"
    assert await raw_status(port, request) == 408


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("", '200 {"limit":10}'),
        ("limit=3", '200 {"limit":3}'),
        ("limit=x", "400 limit should be a valid integer, unable to parse string as an integer"),
        ("limt=3", "400 limt is unknown, did you mean limit?"),
        ("limit=3&limit=4", "400 limit is given more than once"),
    ],
)
async def test_query(client: ClientSession, query: str, answer: str) -> None:
    """A query string is validated as a body is, from text."""
    async with client.get(f"/?{query}") as response:
        assert f"{response.status} {await response.text()}" == answer
