"""Certificates over HTTP: read, follow, renew, revoke, import and export."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from admin_api.plane import certificates
from admin_api.plane.domain_schema import MAX_PEM_BYTES
from admin_api.plane.system import Sights
from state.holdings import Bundle
from state.observed import CertificateFact
from tests.admin_api.desk import Desk
from tests.admin_api.served import EventReader, Served, eventually, serve, signature
from tests.support.authority import Authority, Issued

NAME = "shop.example.com"
SHOP = f"/certificates/{NAME}"


@pytest.fixture(scope="module")
def issued() -> Issued:
    """A certificate."""
    return Authority("Middle", Authority("Root")).issue(NAME)


@pytest.fixture
def desk(issued: Issued) -> Desk:
    """It has that certificate."""
    desk = Desk()
    found = issued.certificate
    desk.bundles[NAME] = Bundle(fingerprint=found.fingerprint, names=(NAME,), chain=issued.chain, key=issued.key)
    return desk


@pytest.fixture
async def api(tmp_path: Path, desk: Desk) -> AsyncIterator[Served]:
    """An admin API of a node that keeps certificates."""
    async with serve(tmp_path, sights=Sights(desk=desk)) as served:
        yield served


async def call(api: Served, method: str, path: str, body: Any = None) -> tuple[int, Any]:  # noqa: ANN401
    """The status of an answer and what is in it."""
    async with api.client.request(method, path, json=body) as answer:
        return answer.status, await answer.json()


def report(api: Served, *facts: CertificateFact) -> None:
    """What is found out of certificates."""
    api.store.observed.set(api.store.observed.value.with_certificates(facts))


async def test_certificates_are_listed_in_pages(api: Served) -> None:
    """In order, by a part of the name, and by how they do."""
    report(api, *(CertificateFact(name=f"{letter}.example") for letter in "cab"))
    report(api, CertificateFact(name="d.example", status="failing"))
    _, first = await call(api, "GET", "/certificates?limit=3")
    assert [fact["name"] for fact in first["certificates"]] == ["a.example", "b.example", "c.example"]
    _, second = await call(api, "GET", f"/certificates?cursor={first['next_cursor']}")
    assert ([fact["name"] for fact in second["certificates"]], second["next_cursor"]) == (["d.example"], None)
    for query in ("q=D.", "status=failing"):
        _, page = await call(api, "GET", f"/certificates?{query}")
        assert [fact["name"] for fact in page["certificates"]] == ["d.example"]
    status, error = await call(api, "GET", "/certificates?status=off")
    assert (status, error["fields"][0]["field"]) == (400, "status")


async def test_a_certificate_is_shown_with_its_chain(api: Served, issued: Issued) -> None:
    """Each link of it."""
    report(api, CertificateFact(name=NAME, status="active", fingerprint=issued.certificate.fingerprint))
    status, detail = await call(api, "GET", "/certificates/SHOP.example.com")
    assert (status, detail["status"], [link["issuer"] for link in detail["chain"]]) == (
        200,
        "active",
        ["CN=Middle", "CN=Root"],
    )


async def test_a_certificate_of_a_file_has_a_name_of_its_own(api: Served) -> None:
    """Which no domain could have, and a chain that the desk does not know."""
    report(api, CertificateFact(name="localhost", source="file", fingerprint="ab"))
    status, detail = await call(api, "GET", "/certificates/localhost")
    assert (status, detail["source"], detail["chain"]) == (200, "file", [])


async def test_a_domain_that_was_just_added_is_pending(api: Served) -> None:
    """Whoever added it may ask before anything is reported."""
    assert (await call(api, "PUT", "/domains/new.example.com", {}))[0] == 201
    status, detail = await call(api, "GET", "/certificates/new.example.com")
    assert (status, detail["status"]) == (200, "pending")
    assert (await call(api, "PUT", "/domains/new.example.com", {"certificate": "off"}))[0] == 200
    assert (await call(api, "GET", "/certificates/new.example.com"))[0] == 404


async def test_what_is_not_known_is_missing(api: Served) -> None:
    """And what can be no name is wrong."""
    status, error = await call(api, "GET", "/certificates/other.example.com")
    assert (status, "none is wanted" in error["error"]) == (404, True)
    assert (await call(api, "GET", "/certificates/a_b.example"))[0] == 400
    for path in ("renew", "revoke"):
        assert (await call(api, "POST", f"/certificates/other.example.com/{path}"))[0] == 404
    assert (await call(api, "GET", "/certificates/other.example.com/pem"))[0] == 404


async def test_a_certificate_is_renewed_on_request(api: Served, desk: Desk) -> None:
    """The answer comes before the certificate."""
    report(api, CertificateFact(name=NAME, status="active"))
    status, detail = await call(api, "POST", f"{SHOP}/renew")
    assert (status, detail["name"], desk.asked) == (202, NAME, [("renew", NAME)])


async def test_a_certificate_is_revoked_for_a_reason(api: Served, desk: Desk) -> None:
    """Which may be left out, and has to be one of those that there are."""
    for body in (None, {"reason": "key_compromise"}):
        assert (await call(api, "POST", f"{SHOP}/revoke", body))[0] == 200
    assert [asked[2] for asked in desk.asked] == ["unspecified", "key_compromise"]
    status, error = await call(api, "POST", f"{SHOP}/revoke", {"reason": "boredom"})
    assert (status, error["fields"][0]["field"]) == (400, "reason")


@pytest.mark.parametrize("media", ["application/x-pem-file", "application/pem-certificate-chain", "application/json"])
async def test_a_certificate_is_imported(api: Served, issued: Issued, media: str) -> None:
    """As PEM itself or in JSON; the answer has what is reported of it."""
    report(api, CertificateFact(name=NAME, status="active", fingerprint=issued.certificate.fingerprint))
    pem = issued.chain + issued.key
    sent = {"json": {"pem": pem.decode()}} if media == "application/json" else {"data": pem}
    async with api.client.post("/certificates", headers={"Content-Type": media}, **sent) as answer:
        assert (answer.status, answer.headers["Location"]) == (201, SHOP)
        assert (await answer.json())["chain"][0]["fingerprint"] == issued.certificate.fingerprint


async def test_an_import_is_answered_whatever_is_reported(
    api: Served, issued: Issued, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has been done; how it does may come later."""
    monkeypatch.setattr(certificates, "_REPORT_S", 0.01)
    async with api.client.post("/certificates", json={"pem": (issued.chain + issued.key).decode()}) as answer:
        assert (answer.status, (await answer.json())["status"]) == (201, "pending")


@pytest.mark.parametrize(
    ("media", "data", "status", "word"),
    [
        ("text/plain", b"a", 415, "application/x-pem-file"),
        ("application/x-pem-file", b"a" * (MAX_PEM_BYTES + 1), 413, "larger than"),
        ("application/x-pem-file", b"a", 400, "pem must hold a chain"),
        ("application/json", b'{"pem": ""}', 400, "pem should have at least 1 character"),
        ("application/json", b'{"pen": "a"}', 400, "did you mean pem?"),
        ("application/json", b'{"pem": "\\ud800"}', 400, "pem should be a valid string"),
    ],
)
async def test_what_cannot_be_imported_is_refused(api: Served, media: str, data: bytes, status: int, word: str) -> None:
    """By its type, its size, or its field."""
    async with api.client.post("/certificates", data=data, headers={"Content-Type": media}) as answer:
        assert (answer.status, word in (await answer.json())["error"]) == (status, True)


async def test_the_key_is_exported_only_on_demand(
    api: Served, issued: Issued, caplog: pytest.LogCaptureFixture
) -> None:
    """It is kept by no cache, and the log says who got it, but not what."""
    async with api.client.get(f"{SHOP}/pem") as answer:
        assert (answer.content_type, await answer.read()) == ("application/pem-certificate-chain", issued.chain)
    with caplog.at_level(logging.WARNING, "admin_api"):
        async with api.client.post(f"{SHOP}/pem", json={"name": NAME, "with_key": True}) as answer:
            assert answer.headers["Cache-Control"] == "no-store"
            assert (answer.content_type, await answer.read()) == ("application/x-pem-file", issued.chain + issued.key)
    assert [record.getMessage() for record in caplog.records] == [
        f"the key of the certificate for {NAME} was given to local at 127.0.0.1"
    ]
    async with api.client.post(f"{SHOP}/pem", json={"name": "Shop.Example.com", "with_key": False}) as answer:
        assert (answer.content_type, await answer.read()) == ("application/pem-certificate-chain", issued.chain)
    for body, field in (({"name": NAME}, "with_key"), ({"name": "other.example.com", "with_key": True}, "name")):
        status, error = await call(api, "POST", f"{SHOP}/pem", body)
        assert (status, error["fields"][0]["field"]) == (400, field)


async def test_a_signature_without_a_time_gets_no_key(signed: Served) -> None:
    """It is good for ever, and for every request with this body."""
    body = json.dumps({"name": NAME, "with_key": True}).encode()
    headers = {"Content-Type": "application/json", "X-Signature": signature(body)}
    async with signed.client.post(f"{SHOP}/pem", data=body, headers=headers) as answer:
        assert answer.status == 401
    now = str(int(time.time()))
    headers |= {"X-Timestamp": now, "X-Signature": signature(body, now)}
    async with signed.client.post(f"{SHOP}/pem", data=body, headers=headers) as answer:
        # This node keeps no certificates, and would have given it.
        assert answer.status == 503


async def test_an_imported_certificate_is_removed(api: Served, desk: Desk) -> None:
    """There is nothing to say about it then."""
    async with api.client.delete(SHOP) as answer:
        assert (answer.status, desk.asked) == (204, [("remove", NAME)])
    async with api.client.delete("/certificates/other.example.com") as answer:
        assert answer.status == 404


async def test_the_root_is_there_to_trust(api: Served) -> None:
    """Beside the names."""
    async with api.client.get("/certificates/root") as answer:
        assert (answer.status, await answer.text()) == (200, "the root")


async def test_a_certificate_is_followed_until_nothing_is_known_of_it(api: Served) -> None:
    """Each change is told once, and the end is announced."""
    report(api, CertificateFact(name=NAME))
    async with api.client.get(f"{SHOP}/events") as answer:
        events = EventReader(answer)
        assert '"status":"pending"' in (await events.event())["data"]
        report(api, CertificateFact(name="other.example.com"))
        report(api, CertificateFact(name=NAME, status="issuing"))
        assert '"status":"issuing"' in (await events.event())["data"]
        api.store.observed.set(api.store.observed.value.without_certificates([NAME]))
        assert (await events.event())["event"] == "end"
    await eventually(lambda: len(api.streams) == 0)


async def test_a_node_without_certificates_says_so(served: Served) -> None:
    """To whatever needs them."""
    report(served, CertificateFact(name=NAME, source="file", fingerprint="ab"))
    for method, path in (("POST", "/renew"), ("POST", "/revoke"), ("GET", "/pem")):
        assert (await call(served, method, f"{SHOP}{path}"))[0] == 503
    assert (await call(served, "GET", "/certificates/root"))[0] == 503
    assert (await call(served, "GET", SHOP))[0] == 200


async def test_certificates_are_protected(signed: Served) -> None:
    """Keys before all."""
    for path in ("/certificates", SHOP, f"{SHOP}/pem", "/certificates/root", f"{SHOP}/events"):
        async with signed.client.get(path) as answer:
            assert answer.status == web.HTTPUnauthorized.status_code
