"""The client of the admin API."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from pathlib import Path

import pytest

from node.cli.client import AdminClient, Answer, connect
from node.cli.errors import CommandError
from tests.node.cli.conftest import Api, answering


async def call(client: AdminClient, method: str, path: str, body: object = None) -> Answer:
    """Call from a thread, as the client blocks."""
    return await asyncio.to_thread(client.call, method, path, body)


async def test_an_answer_has_status_headers_and_body(api: Api) -> None:
    """As the API gave it."""
    answer = await call(
        AdminClient(api.url), "PUT", "/routes/a.example.com", {"targets": [{"url": "http://127.0.0.1:1"}]}
    )
    assert answer.status == 201
    assert answer.headers["ETag"]
    assert answer.json()["host"] == "a.example.com"


async def test_a_base_without_a_scheme_is_http(api: Api) -> None:
    """`--admin 127.0.0.1:8081` is what people type."""
    answer = await call(AdminClient(api.url.removeprefix("http://")), "GET", "/health")
    assert answer.body == b"OK"


async def test_an_error_is_the_api_s_own_sentence(api: Api) -> None:
    """With the request and the status before it."""
    with pytest.raises(CommandError, match=r"^GET /routes/a\.example\.com: 404: a\.example\.com has no route"):
        await call(AdminClient(api.url), "GET", "/routes/a.example.com")


@pytest.mark.parametrize("base", ["ftp://host", "http://", "http://[::1", "host:port", "host:0"])
def test_a_wrong_address_is_a_wrong_call(base: str) -> None:
    """The exit code is that of usage."""
    with pytest.raises(CommandError, match=r"--admin") as caught:
        AdminClient(base)
    assert caught.value.exit_code == 2


def test_nobody_there_is_one_line() -> None:
    """It says what to look at."""
    with pytest.raises(
        CommandError, match=r"no answer from the admin API at http://127\.0\.0\.1:1: Connection refused"
    ):
        AdminClient("http://127.0.0.1:1").call("GET", "/health")


@pytest.mark.parametrize(
    "base", ["http://exa mple/", f"http://{'a' * 80}/", "http://127.0.0.1:1/é", "http://exam\u2100ple.invalid/"]
)
def test_an_address_that_cannot_be_asked_is_one_line(base: str) -> None:
    """Python raises another error for each of them."""
    with pytest.raises(CommandError, match=r"--admin|cannot be sent to http://") as caught:
        AdminClient(base).call("GET", "/health")
    assert "\n" not in str(caught.value)


async def test_a_field_that_cannot_be_sent_is_one_line(api: Api) -> None:
    """What stands behind the line break would be a field of its own."""
    with pytest.raises(CommandError, match=r"the request cannot be sent to http://127\.0\.0\.1:\d+: Invalid header"):
        await asyncio.to_thread(AdminClient(api.url).call, "GET", "/health", None, {"If-Match": '"1"\nX: y'})


async def test_a_long_error_is_one_short_line() -> None:
    """The page of another server is no sentence."""
    async with answering("<p>\n" * 1000, status=500) as other:
        with pytest.raises(CommandError, match=r"^GET /health: 500: <p> <p>") as caught:
            await call(AdminClient(other), "GET", "/health")
    assert len(str(caught.value)) < 400


class TestCloudMode:
    """Against a node that asks for signatures."""

    @pytest.fixture
    def environ(self) -> dict[str, str]:
        """Timestamps are mandatory too."""
        return {"ZEXIO_AUTH_MODE": "always", "ZEXIO_AUTH_REQUIRE_TIMESTAMP": "true"}

    async def test_a_signed_request_is_believed(self, api: Api) -> None:
        """Signed with the worker secret, with and without a body (contracts/plane.md, Auth)."""
        options = Namespace(admin=api.url, signature_secret_file=api.data / "worker.secret")
        body = {"targets": [{"url": "http://127.0.0.1:1"}]}
        assert (await call(connect(options), "PUT", "/routes/a.example.com", body)).status == 201
        assert (await call(connect(options), "GET", "/routes")).json()["routes"][0]["host"] == "a.example.com"

    async def test_an_unsigned_request_gets_advice(self, api: Api) -> None:
        """The flag that helps is named."""
        with pytest.raises(CommandError, match=r"401: .*--signature-secret-file"):
            await call(AdminClient(api.url), "GET", "/routes")


def test_a_secret_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    """The file is named."""
    options = Namespace(admin="http://127.0.0.1:1", signature_secret_file=tmp_path / "absent")
    with pytest.raises(CommandError, match=r"--signature-secret-file: .*absent: No such file"):
        connect(options)


@pytest.mark.parametrize(("content", "reason"), [(b"", "is empty"), (b"\xff\xfe", "is not text")])
def test_a_secret_that_is_none_is_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    """A signature with nothing would only be refused."""
    path = tmp_path / "worker.secret"
    path.write_bytes(content)
    with pytest.raises(CommandError, match=f"^--signature-secret-file: {path} {reason}$"):
        connect(Namespace(admin="http://127.0.0.1:1", signature_secret_file=path))


async def test_events_are_read_one_by_one() -> None:
    """Past heartbeats, names and ids, until the node ends the stream."""
    async with answering("retry: 1000\n\n: alive\n\nid: 1\ndata: {}\n\ndata: [1]\n\n") as url:
        assert await asyncio.to_thread(lambda: list(AdminClient(url).events("/x"))) == [b"{}", b"[1]"]


async def test_a_stream_that_is_refused_says_why() -> None:
    """As any other answer."""
    async with answering('{"error": "Too many streams are open."}', status=503) as url:
        with pytest.raises(CommandError, match="GET /x: 503: Too many streams"):
            await asyncio.to_thread(lambda: list(AdminClient(url).events("/x")))


def test_the_machine_that_answers_is_known() -> None:
    """By its name or address, without brackets."""
    assert AdminClient("http://edge.example:8081").host == "edge.example"
    assert AdminClient("[::1]:8081").host == "::1"
