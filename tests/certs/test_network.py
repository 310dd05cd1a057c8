"""Requests to an authority that is slow, broken or hostile end in one error each, soon."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from certs import network
from certs.errors import IssueError
from certs.network import Courier, Network, Signer
from tests.certs.scripted import Reply, ScriptedAuthority

SIGNER = Signer(JWKEC(key=ec.generate_private_key(ec.SECP256R1())), ES256)


async def get(authority: ScriptedAuthority, path: str) -> network.Answer:
    """What comes of a GET, in a thread."""
    return await with_network(authority, lambda used: used.get(f"{authority.url}{path}"))


async def post(authority: ScriptedAuthority, path: str) -> network.Answer:
    """What comes of a signed POST, in a thread."""
    url, nonce = f"{authority.url}{path}", f"{authority.url}/nonce"
    return await with_network(authority, lambda used: used.post(url, {"a": 1}, SIGNER, nonce))


async def with_network(authority: ScriptedAuthority, act: Callable[[Network], network.Answer]) -> network.Answer:
    """What comes of a call, in a thread."""
    used = Network(f"{authority.url}/dir", None)
    try:
        return await asyncio.to_thread(act, used)
    finally:
        used.close()


async def test_an_answer(authority: ScriptedAuthority) -> None:
    """Fields in lower case, links resolved, the wait in seconds."""
    authority.says["/a"] = [
        Reply(201, {"b": 1}, {"Link": '</next>;rel="next", <http://x.example/alt>;rel="alternate"', "Retry-After": "7"})
    ]
    answer = await post(authority, "/a")
    assert (answer.status, answer.body, answer.wait_s) == (201, b'{"b": 1}', 7.0)
    assert answer.fields["replay-nonce"] == "bm9uY2U"
    assert answer.links("next") == [f"{authority.url}/next"]
    assert answer.links("alternate") == ["http://x.example/alt"]
    assert answer.links("up") == []
    assert authority.asked == [("HEAD", "/nonce", {}), ("POST", "/a", {"a": 1})]


async def test_a_problem_with_its_wait_in_any_zone(
    authority: ScriptedAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A date is a point in time, wherever the authority and we are; it is held against the answer's own date."""
    now = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
    for zone in ("UTC", "America/New_York", "Asia/Tokyo"):
        monkeypatch.setenv("TZ", zone)
        for offset in (-9, 0, 5):
            until = format_datetime((now + timedelta(seconds=60)).astimezone(timezone(timedelta(hours=offset))))
            fields = {"Retry-After": until, "Date": format_datetime(now, usegmt=True)}
            problem = {"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many\r\ncertificates"}
            authority.says["/a"] = [Reply(429, problem, fields)]
            with pytest.raises(IssueError) as caught:
                await post(authority, "/a")
            error = caught.value
            assert (error.kind, error.status, error.retry_after_s) == ("rateLimited", 429, 60.0)
            assert str(error) == "too many certificates"


async def test_refused_nonces_are_tried_again_and_not_for_ever(authority: ScriptedAuthority) -> None:
    """Each answer brings a nonce, refusals too."""
    refusal = Reply(400, {"type": "urn:ietf:params:acme:error:badNonce"})
    authority.says["/a"] = [*[refusal] * (network.NONCE_TRIES - 1), Reply(body={})]
    await post(authority, "/a")
    assert authority.count("/nonce") == 1
    authority.says["/a"] = [refusal]
    with pytest.raises(IssueError) as caught:
        await post(authority, "/a")
    assert caught.value.kind == "badNonce"


@pytest.mark.parametrize("fields", [{"Replay-Nonce": "not base64url!"}, {"Replay-Nonce": ""}, {"Replay-Nonce": "a"}])
async def test_nonces_that_are_none(authority: ScriptedAuthority, fields: dict[str, str]) -> None:
    """They cannot be signed."""
    authority.says["/nonce"] = [Reply(fields=fields)]
    with pytest.raises(IssueError, match="nonce") as caught:
        await post(authority, "/a")
    assert caught.value.kind == "badAnswer"


@pytest.mark.parametrize(
    ("reply", "kind", "status"),
    [
        (Reply(500, b"<html>"), "serverInternal", 500),
        (Reply(503), "serverInternal", 503),
        (Reply(429, b"slow down"), "rateLimited", 429),
        (Reply(404, b"\xff\xfe"), "badAnswer", 404),
        (Reply(400, {"type": "about:blank", "detail": "no"}), "badAnswer", 400),
        (Reply(400, [1]), "badAnswer", 400),
        (Reply(403, {"type": "urn:ietf:params:acme:error:caa"}), "caa", 403),
        (Reply(302, b"", {"Location": "http://127.0.0.1:1/"}), "badAnswer", 302),
        (Reply(body=b"x" * (network.LARGEST_BODY + 1)), "badAnswer", None),
        (Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), "unreachable", None),
        (Reply(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "unreachable", None),
        (Reply(raw=b"\x16\x03\x01"), "unreachable", None),
        (Reply(raw=b""), "unreachable", None),
    ],
)
async def test_bad_answers(authority: ScriptedAuthority, reply: Reply, kind: str, status: int | None) -> None:
    """Each is one error with one line."""
    authority.says["/a"] = [reply]
    with pytest.raises(IssueError) as caught:
        await get(authority, "/a")
    assert (caught.value.kind, caught.value.status) == (kind, status)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


async def test_a_connection_that_is_dropped_is_tried_again_once_for_what_changes_nothing(
    authority: ScriptedAuthority,
) -> None:
    """An order may have been made all the same."""
    authority.says["/a"] = [Reply(raw=b""), Reply(body="here")]
    assert (await get(authority, "/a")).body == b'"here"'
    authority.says["/a"] = [Reply(raw=b""), Reply(body="here")]
    with pytest.raises(IssueError):
        await post(authority, "/a")
    asked = authority.count("/a")
    authority.says["/a"] = [Reply(raw=b"")]
    with pytest.raises(IssueError):
        await get(authority, "/a")
    assert authority.count("/a") == asked + 2


def test_the_roots_of_the_machine_are_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it has none, those that come with requests."""
    roots, folder = tmp_path / "roots.pem", tmp_path / "folder"
    roots.touch()
    folder.mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))
    assert network.system_roots() == str(roots)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nowhere"))
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    assert network.system_roots() is True
    (folder / "0123abcd.0").touch()
    assert network.system_roots() == str(folder)


async def test_compressed_bodies_stay_as_they_are(authority: ScriptedAuthority) -> None:
    """A thousand octets of gzip can be a megabyte."""
    bomb = gzip.compress(b"0" * 10_000_000)
    authority.says["/a"] = [Reply(body=bomb, fields={"Content-Encoding": "gzip"})]
    assert (await get(authority, "/a")).body == bomb


@pytest.mark.parametrize("part", ["READ_S", "WHOLE_S"])
async def test_answers_that_hang(authority: ScriptedAuthority, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """Between two octets, or altogether."""
    monkeypatch.setattr(network, part, 0.05 if part == "READ_S" else -1.0)
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"
    authority.says["/a"] = [Reply(raw=raw, is_open=part == "READ_S")]
    with pytest.raises(IssueError) as caught:
        await get(authority, "/a")
    assert caught.value.kind == "unreachable"


async def test_the_proxy_of_the_environment(authority: ScriptedAuthority, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is obeyed, unless the host is excepted, and a .netrc never is."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with pytest.raises(IssueError, match="Connection refused"):
        await get(authority, "/dir")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert (await get(authority, "/dir")).status == 200


@pytest.mark.parametrize("proxy", ["http://user:secret@127.0.0.1:99999", "http://user:sec#ret@127.0.0.1:1"])
async def test_the_password_of_a_proxy_is_not_told(
    authority: ScriptedAuthority, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """Also where it is what makes the URL one that cannot be read."""
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(IssueError, match="or that of the proxy of the environment") as caught:
        await get(authority, "/dir")
    assert "sec" not in caught.value.detail


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.2/x",
        "ftp://a.example/",
        "file:///etc/passwd",
        "",
        "https://",
        "/x",
        "https://[::1",
        "http://x@y/",
    ],
)
async def test_urls_that_lead_astray(authority: ScriptedAuthority, url: str) -> None:
    """Only servers that can prove who they are, and the directory's own."""
    used = Network("https://ca.example/dir", None)
    with pytest.raises(IssueError, match="a URL that is not to be used"):
        used.get(url)
    used.close()


async def test_calls_are_made_in_turn_in_one_thread() -> None:
    """What is raised there is raised here; at the end the thread finishes and goes."""
    done = threading.Event()
    courier = Courier("test", done.set)
    idents = await asyncio.gather(*(courier.call(threading.get_ident) for _ in range(3)))
    assert len(set(idents)) == 1
    assert idents[0] != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await courier.call(lambda: 1 / 0)
    courier.close()
    assert await asyncio.to_thread(done.wait, 5)


async def test_a_call_that_was_cancelled_holds_nobody_up() -> None:
    """Neither who waited for it, nor the loop at its end; one that had not begun is not made."""
    release, begun, calls = threading.Event(), asyncio.Event(), []
    loop = asyncio.get_running_loop()

    def slow() -> None:
        loop.call_soon_threadsafe(begun.set)
        release.wait(5)
        calls.append("slow")

    done = threading.Event()
    courier = Courier("test", done.set)
    works = [loop.create_task(courier.call(slow)), loop.create_task(courier.call(calls.append, "never"))]
    await begun.wait()
    for work in works:
        work.cancel()
    for work in works:
        with pytest.raises(asyncio.CancelledError):
            await work
    courier.close()
    release.set()
    assert await asyncio.to_thread(done.wait, 5)
    assert calls == ["slow"]
