"""Who is believed: the table of signatures, the modes, and the chain."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from admin_api.auth import AuthMode, Principal, WorkerSignature, is_open
from state.change import Actor
from tests.admin_api.served import SECRET, SETTINGS, TARGETS, Served, serve, signature

NOW = 1_700_000_000
BODY = b'{"a": 1}'
STAMP = str(NOW)

RIGHT = {
    "plain": [("X-Signature", signature(BODY))],
    "with the prefix": [("X-Signature", "sha256=" + signature(BODY))],
    "in upper case": [("X-Signature", signature(BODY).upper())],
    "with a timestamp": [("X-Signature", signature(BODY, STAMP)), ("X-Timestamp", STAMP)],
    "at the old end of the window": [("X-Signature", signature(BODY, str(NOW - 300))), ("X-Timestamp", str(NOW - 300))],
    "at the new end of the window": [("X-Signature", signature(BODY, str(NOW + 300))), ("X-Timestamp", str(NOW + 300))],
}
WRONG = {
    "empty": [("X-Signature", "")],
    "of another body": [("X-Signature", signature(b"{}"))],
    "under another secret": [("X-Signature", signature(BODY, secret="other"))],
    "too short": [("X-Signature", signature(BODY)[:-2])],
    "too long": [("X-Signature", signature(BODY) + "00")],
    "not hex": [("X-Signature", "z" * 64)],
    "with spaces between the digits": [("X-Signature", " ".join((signature(BODY)[:32], signature(BODY)[32:])))],
    "with another prefix": [("X-Signature", "sha1=" + signature(BODY))],
    "with the prefix twice": [("X-Signature", "sha256=sha256=" + signature(BODY))],
    "given twice": [("X-Signature", signature(BODY)), ("X-Signature", signature(BODY))],
    "too old": [("X-Signature", signature(BODY, str(NOW - 301))), ("X-Timestamp", str(NOW - 301))],
    "from the future": [("X-Signature", signature(BODY, str(NOW + 301))), ("X-Timestamp", str(NOW + 301))],
    "of the body alone beside a timestamp": [("X-Signature", signature(BODY)), ("X-Timestamp", STAMP)],
    "of another timestamp": [("X-Signature", signature(BODY, STAMP)), ("X-Timestamp", str(NOW + 1))],
    "of a timestamp that was taken away": [("X-Signature", signature(BODY, STAMP))],
    "of a timestamp that is no number": [("X-Signature", signature(BODY, "soon")), ("X-Timestamp", "soon")],
    "of a timestamp with a fraction": [("X-Signature", signature(BODY, STAMP + ".0")), ("X-Timestamp", STAMP + ".0")],
    "of a timestamp in other digits": [("X-Signature", signature(BODY, "\u0661")), ("X-Timestamp", "\u0661")],
    "of a timestamp given twice": [
        ("X-Signature", signature(BODY, STAMP)),
        ("X-Timestamp", STAMP),
        ("X-Timestamp", STAMP),
    ],
}


@pytest.mark.parametrize("headers", RIGHT.values(), ids=RIGHT.keys())
def test_signature_is_right(headers: list[tuple[str, str]]) -> None:
    """Every form that contracts/plane.md allows is believed."""
    assert worker().verify(proxy(headers), BODY)


@pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG.keys())
def test_signature_is_wrong(headers: list[tuple[str, str]]) -> None:
    """Nothing else is."""
    assert not worker().verify(proxy(headers), BODY)


def test_timestamp_can_be_mandatory() -> None:
    """With the setting of decision 19 a signature that could be replayed for ever is refused."""
    strict = worker(require_timestamp=True)
    assert not strict.verify(proxy(RIGHT["plain"]), BODY)
    assert strict.verify(proxy(RIGHT["with a timestamp"]), BODY)


def test_an_empty_secret_signs_nothing() -> None:
    """A node that asks for signatures does not start with a secret that everybody knows."""
    with pytest.raises(ValueError, match="empty"):
        WorkerSignature("")


@pytest.mark.parametrize(
    ("mode", "cloud", "expected"),
    [
        ("auto", False, True),
        ("auto", True, False),
        ("always", False, False),
        ("always", True, False),
        ("open", False, True),
        ("open", True, True),
    ],
)
def test_modes(mode: AuthMode, cloud: bool, expected: bool) -> None:
    """Decision 2: cloud mode asks for signatures and standalone is open, unless a setting says otherwise."""
    assert is_open(mode, cloud=cloud) is expected


def test_principal_is_named_in_the_audit() -> None:
    """The actor of a change is who asked for it."""
    principal = Principal("worker", "worker", "10.0.0.7")
    assert principal.actor == Actor(kind="worker", name="worker", address="10.0.0.7")


@pytest.mark.parametrize("headers", [{}, {"X-Signature": signature(b"other")}, {"X-Signature": "junk"}])
async def test_unsigned_request_gets_an_empty_401(signed: Served, headers: dict[str, str]) -> None:
    """Nothing is said about what was wrong, not even by the length of the answer."""
    async with signed.client.post("/sync", headers=headers) as answer:
        assert (answer.status, await answer.read()) == (401, b"")


async def test_signed_request_changes_a_route_in_the_name_of_the_worker(signed: Served) -> None:
    """The signature covers the raw body, and the audit knows who sent it."""
    body = msgspec.json.encode({"targets": TARGETS})
    headers = {"X-Signature": signature(body), "Content-Type": "application/json"}
    async with signed.client.put("/routes/a.example.com", data=body, headers=headers) as answer:
        assert answer.status == 201
    [entry] = await signed.store.audit()
    assert entry.actor == Actor(kind="worker", name="worker", address="127.0.0.1")


async def test_tampered_body_changes_nothing(signed: Served) -> None:
    """A signature holds for one body."""
    body = msgspec.json.encode({"targets": TARGETS})
    headers = {"X-Signature": signature(body), "Content-Type": "application/json"}
    async with signed.client.put("/routes/a.example.com", data=body + b" ", headers=headers) as answer:
        assert answer.status == 401
    assert signed.store.desired.revision == 0


async def test_timestamp_is_read_against_the_clock(signed: Served) -> None:
    """A request of now is believed, and the same one from ten minutes ago is a replay."""
    for age, status in ((0, 200), (600, 401)):
        stamp = str(int(time.time()) - age)
        headers = {"X-Timestamp": stamp, "X-Signature": signature(b"", stamp)}
        async with signed.client.get("/routes", headers=headers) as answer:
            assert answer.status == status


@pytest.mark.parametrize("path", ["/health", "/system/logs", "/metrics", "/openapi.json"])
async def test_public_endpoints_need_no_signature(signed: Served, path: str) -> None:
    """The seeds keep these open in cloud mode too."""
    async with signed.client.get(path) as answer:
        assert answer.status == 200


async def test_open_node_believes_whoever_reaches_it(served: Served) -> None:
    """Standalone asks for nothing, and does not look at a signature either."""
    async with served.client.get("/routes", headers={"X-Signature": "junk"}) as answer:
        assert answer.status == 200
    await served.put("a.example.com")
    [entry] = await served.store.audit()
    assert entry.actor == Actor(kind="operator", name="local", address="127.0.0.1")


async def test_always_asks_on_a_standalone_node_too(tmp_path: Path) -> None:
    """An operator can close a standalone node."""
    settings = msgspec.structs.replace(SETTINGS, auth_mode="always")
    async with serve(tmp_path, settings) as api, api.client.get("/routes") as answer:
        assert answer.status == 401


def worker(*, require_timestamp: bool = False) -> WorkerSignature:
    """The authenticator at a moment that the tests know."""
    return WorkerSignature(SECRET, require_timestamp=require_timestamp, clock=lambda: NOW)


def proxy(headers: list[tuple[str, str]]) -> CIMultiDictProxy[str]:
    """Headers as a request has them."""
    return CIMultiDictProxy(CIMultiDict(headers))
