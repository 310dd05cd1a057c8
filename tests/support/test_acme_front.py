"""The front is an ACME server as a client that we did not write understands it, and goes wrong exactly as told."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
import requests
from acme import client as acme_client
from acme import messages
from acme.errors import ConflictError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from josepy.b64 import b64encode
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from tests.support import acme_faults as faults
from tests.support.acme_front import AcmeFront, cert_id_of
from tests.support.pebble import Pebble, PebbleOptions

NAME = "shop.example.com"
HOUR = dt.timedelta(hours=1)


@pytest.fixture(scope="module")
def pebble() -> Iterator[Pebble]:
    """One that validates nothing and accepts every nonce."""
    with Pebble(PebbleOptions(always_valid=True)) as started:
        yield started


@pytest.fixture
async def front(pebble: Pebble) -> AsyncIterator[AcmeFront]:
    """A front with one profile."""
    async with AcmeFront(pebble, profiles={"short": "Seven days"}) as opened:
        yield opened


class Body:
    """A payload as acme signs it."""

    def __init__(self, **fields: object) -> None:
        """Of these members."""
        self.fields = fields

    def json_dumps(self, indent: int = 2) -> str:
        """In JSON."""
        return json.dumps(self.fields, indent=indent)


class Visitor:
    """A client of an authority, on acme's own network: sends what it is told, and sleeps nowhere."""

    def __init__(self, front: AcmeFront) -> None:
        """With a new account."""
        key = JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
        self.net = acme_client.ClientNetwork(key, alg=ES256, timeout=5)
        # requests takes the path of a file here, which acme's types do not say.
        self.net.verify_ssl = str(front.ca_file)  # type: ignore[assignment]
        self.directory: dict[str, Any] = self.net.get(front.directory).json()
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = ""
        answer = self.post(self.directory["newAccount"], termsOfServiceAgreed=True)
        self.net.account = messages.RegistrationResource(uri=answer.headers["Location"])

    def post(self, url: str, /, **fields: object) -> requests.Response:
        """A signed POST."""
        return self.net.post(url, Body(**fields), new_nonce_url=self.directory["newNonce"])

    def get(self, url: str) -> requests.Response:
        """A POST-as-GET."""
        return self.net.post(url, None, new_nonce_url=self.directory["newNonce"])

    def refused(self, url: str) -> requests.Response:
        """A POST whose answer is an error; acme throws its headers away."""
        nonce = self.net._get_nonce(url, self.directory["newNonce"])
        signed = self.net._wrap_in_jws(None, nonce, url)
        return self.net.session.post(
            url, data=signed, headers={"Content-Type": "application/jose+json"}, verify=self.net.verify_ssl, timeout=5
        )

    def order(self, *names: str, **fields: object) -> requests.Response:
        """A new order."""
        identifiers = [{"type": "dns", "value": name} for name in names]
        return self.post(self.directory["newOrder"], identifiers=identifiers, **fields)

    def issue(self, *names: str, **fields: object) -> bytes:
        """A chain for the names."""
        answer = self.order(*names, **fields)
        url, order = answer.headers["Location"], answer.json()
        for authorization in order["authorizations"]:
            self.post(self.get(authorization).json()["challenges"][0]["url"])
        order = self.awaited(url, "ready")
        self.post(order["finalize"], csr=b64encode(self.csr(*names)).decode())
        self.certificate = self.awaited(url, "valid")["certificate"]
        return self.get(self.certificate).content

    def awaited(self, url: str, status: str) -> dict[str, Any]:
        """The order once it is so far."""
        for _ in range(1000):
            order: dict[str, Any] = self.get(url).json()
            if order["status"] == status:
                return order
        raise AssertionError(f"the order is never {status}")

    def csr(self, *names: str) -> bytes:
        """A request in DER."""
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)


async def visit(front: AcmeFront) -> Visitor:
    """A visitor with an account."""
    return await asyncio.to_thread(Visitor, front)


async def fetch(front: AcmeFront, url: str) -> tuple[int, str | None, bytes]:
    """Status, Retry-After and body, by a plain GET."""
    context = ssl.create_default_context(cafile=front.ca_file)
    async with aiohttp.ClientSession() as session, session.get(url, ssl=context) as response:
        return response.status, response.headers.get("Retry-After"), await response.read()


def leaf_of(chain: bytes) -> x509.Certificate:
    """The first certificate."""
    return x509.load_pem_x509_certificates(chain)[0]


async def test_a_certificate_is_issued_through_the_front(front: AcmeFront) -> None:
    """Pebble accepts what was signed for the front's URLs."""
    visitor = await visit(front)
    chain = await asyncio.to_thread(visitor.issue, NAME, "www.example.com")
    leaf = leaf_of(chain)
    assert faults.names_of(chain) == (NAME, "www.example.com")
    assert leaf.public_key() == visitor.key.public_key()
    assert len(x509.load_pem_x509_certificates(chain)) == 2
    assert front.orders == {NAME: 1, "www.example.com": 1}
    assert front.ids_of(NAME) == [cert_id_of(leaf)]
    assert front.requests["finalize"] == 1
    assert front.profiles_asked == [None]


async def test_the_directory_offers_what_pebble_lacks(front: AcmeFront, pebble: Pebble) -> None:
    """Under the address of the front."""
    document = json.loads((await fetch(front, front.directory))[2])
    base = front.directory.removesuffix("/dir")
    assert document["renewalInfo"] == f"{base}/renewal-info"
    assert document["newOrder"] == f"{base}/order-plz"
    assert document["meta"]["profiles"] == {"short": "Seven days"}
    async with AcmeFront(pebble, has_ari=False) as plain:
        document = json.loads((await fetch(plain, plain.directory))[2])
    assert "renewalInfo" not in document
    assert "profiles" not in document["meta"]


async def test_a_window_is_served_for_each_certificate(front: AcmeFront) -> None:
    """Late in its life at first, and as it is set."""
    visitor = await visit(front)
    leaf = leaf_of(await asyncio.to_thread(visitor.issue, NAME))
    cert_id = cert_id_of(leaf)
    url = f"{visitor.directory['renewalInfo']}/{cert_id}"
    status, retry_after, body = await fetch(front, url)
    assert (status, retry_after) == (200, "21600")
    window = json.loads(body)["suggestedWindow"]
    start = dt.datetime.fromisoformat(window["start"])
    assert leaf.not_valid_before_utc + (leaf.not_valid_after_utc - leaf.not_valid_before_utc) * 0.6 < start
    assert start < dt.datetime.fromisoformat(window["end"]) < leaf.not_valid_after_utc

    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    front.set_window(cert_id, now - 2 * HOUR, now - HOUR, explanation_url="https://ca.example/why")
    front.renewal_retry_after = None
    status, retry_after, body = await fetch(front, url)
    assert retry_after is None
    told = json.loads(body)
    assert dt.datetime.fromisoformat(told["suggestedWindow"]["end"]) == now - HOUR
    assert told["explanationURL"] == "https://ca.example/why"
    assert front.polls[cert_id] == 2
    assert (await fetch(front, url + "x"))[0] == 404


async def test_acme_s_own_client_reads_the_window(front: AcmeFront) -> None:
    """Which makes the certificate's id by itself."""
    visitor = await visit(front)
    chain = await asyncio.to_thread(visitor.issue, NAME)
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    front.set_window(cert_id_of(leaf_of(chain)), now - 2 * HOUR, now - HOUR)
    client = acme_client.ClientV2(messages.Directory(visitor.directory), visitor.net)
    renew_at, _ = await asyncio.to_thread(client.renewal_time, chain)
    assert renew_at is not None
    assert now - 2 * HOUR <= renew_at <= now - HOUR


async def test_a_certificate_is_replaced_once(front: AcmeFront) -> None:
    """RFC 9773 section 5: by an order for one of its names, and not again while that order is valid."""
    visitor = await visit(front)
    chain = await asyncio.to_thread(visitor.issue, NAME)
    replaced = cert_id_of(leaf_of(chain))
    answer = await asyncio.to_thread(visitor.order, NAME, replaces=replaced)
    assert answer.json()["replaces"] == replaced
    order = await asyncio.to_thread(visitor.get, answer.headers["Location"])
    assert order.json()["replaces"] == replaced
    with pytest.raises(ConflictError):
        await asyncio.to_thread(visitor.order, NAME, replaces=replaced)
    # An order that came to nothing replaces nothing.
    front.fail("order", faults.edited(status="invalid"))
    await asyncio.to_thread(visitor.get, answer.headers["Location"])
    assert (await asyncio.to_thread(visitor.order, NAME, replaces=replaced)).status_code == 201
    assert front.orders[NAME] == 3


@pytest.mark.parametrize(("names", "replaces"), [([NAME], "no.such"), (["other.example.com"], None)])
async def test_replaces_has_to_name_a_certificate_for_the_names(
    front: AcmeFront, names: list[str], replaces: str | None
) -> None:
    """Else the order is refused, and the client can go on."""
    visitor = await visit(front)
    chain = await asyncio.to_thread(visitor.issue, NAME)
    with pytest.raises(messages.Error) as refused:
        await asyncio.to_thread(visitor.order, *names, replaces=replaces or cert_id_of(leaf_of(chain)))
    assert refused.value.code == "malformed"
    assert (await asyncio.to_thread(visitor.order, *names)).status_code == 201


async def test_profiles_are_checked_and_told(front: AcmeFront) -> None:
    """One that is not offered is refused."""
    visitor = await visit(front)
    answer = await asyncio.to_thread(visitor.order, NAME, profile="short")
    assert answer.json()["profile"] == "short"
    with pytest.raises(messages.Error) as refused:
        await asyncio.to_thread(visitor.order, NAME, profile="long")
    assert refused.value.typ.endswith(":invalidProfile")
    assert front.profiles_asked == ["short"]
    assert front.orders[NAME] == 1


async def test_what_goes_wrong_goes_wrong_as_often_as_it_was_told(front: AcmeFront) -> None:
    """One fault after the other, before the one that stays."""
    front.fail("directory", faults.unavailable(500), faults.rate_limited("120"))
    front.fail_always("directory", faults.answered(b"[1, 2"))
    answers = [await fetch(front, front.directory) for _ in range(4)]
    assert [(status, retry_after) for status, retry_after, _ in answers] == [
        (500, None),
        (429, "120"),
        (200, None),
        (200, None),
    ]
    assert json.loads(answers[1][2])["type"] == "urn:ietf:params:acme:error:rateLimited"
    assert answers[2][2] == b"[1, 2"
    front.heal()
    assert "newOrder" in json.loads((await fetch(front, front.directory))[2])
    assert front.requests["directory"] == 5


async def test_an_error_has_a_nonce_for_the_next_request(front: AcmeFront) -> None:
    """Which pebble accepts."""
    visitor = await visit(front)
    front.fail("newOrder", faults.problem("caa", 403, detail="CAA forbids it", identifiers=(NAME,)))
    refused = await asyncio.to_thread(visitor.refused, visitor.directory["newOrder"])
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:ietf:params:acme:error:caa")
    assert refused.json()["subproblems"][0]["identifier"] == {"type": "dns", "value": NAME}
    nonces = front.requests["newNonce"]
    visitor.net._nonces.clear()
    visitor.net._add_nonce(refused)
    assert (await asyncio.to_thread(visitor.order, NAME)).status_code == 201
    assert front.requests["newNonce"] == nonces
    assert front.orders[NAME] == 1


async def test_an_order_can_be_made_and_its_answer_lost(front: AcmeFront, pebble: Pebble) -> None:
    """As when a connection breaks in the wrong moment."""
    visitor = await visit(front)
    front.fail("newOrder", faults.lost())
    made = pebble.count("order-plz")
    with pytest.raises(requests.RequestException):
        await asyncio.to_thread(visitor.order, NAME)
    assert pebble.count("order-plz") == made + 1
    assert front.orders[NAME] == 1


async def test_an_answer_can_end_in_the_middle(front: AcmeFront) -> None:
    """The connection is aborted."""
    front.fail("directory", faults.cut())
    with pytest.raises(aiohttp.ClientPayloadError):
        await fetch(front, front.directory)


async def test_an_answer_can_be_huge(front: AcmeFront) -> None:
    """Who stops reading gets no more of it."""
    front.fail("directory", faults.huge(8_000_000), faults.huge(1_000_000_000))
    assert len((await fetch(front, front.directory))[2]) == pytest.approx(8_000_000, rel=0.01)
    context = ssl.create_default_context(cafile=front.ca_file)
    async with aiohttp.ClientSession() as session, session.get(front.directory, ssl=context) as response:
        assert len(await response.content.readexactly(100_000)) == 100_000
        response.close()


async def test_a_request_can_hang(front: AcmeFront) -> None:
    """Until the front is closed, or the client is gone."""
    front.fail("directory", faults.hanging())
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.03):
            await fetch(front, front.directory)
            raise AssertionError("it was answered")
    assert (await fetch(front, front.directory))[0] == 200


async def test_chains_and_keys_can_be_false(front: AcmeFront) -> None:
    """What a client has to find out."""
    visitor = await visit(front)
    right = await asyncio.to_thread(visitor.issue, NAME)
    front.fail("certificate", faults.truncated_chain(), faults.broken_chain(), faults.wrong_key())
    front.fail("certificate", faults.wrong_names("x.example"))
    truncated, broken, wrong_key, wrong_names = [
        (await asyncio.to_thread(visitor.get, visitor.certificate)).content for _ in range(4)
    ]
    assert truncated.count(b"BEGIN CERTIFICATE") == 1
    assert right.startswith(truncated)
    assert (broken.count(b"BEGIN CERTIFICATE"), broken.count(b"END CERTIFICATE")) == (2, 1)
    assert faults.names_of(wrong_key) == (NAME,)
    assert leaf_of(wrong_key).public_key() != visitor.key.public_key()
    assert faults.names_of(wrong_names) == ("x.example",)
    assert leaf_of(wrong_names).public_key() == visitor.key.public_key()
    assert front.ids_of(NAME) == [cert_id_of(leaf_of(right))]


async def test_orders_and_authorizations_can_be_told_otherwise(front: AcmeFront) -> None:
    """An order that is not done yet, and a validation that failed for a reason of the authority's choice."""
    visitor = await visit(front)
    answer = await asyncio.to_thread(visitor.order, NAME)
    front.fail("order", faults.processing("3"))
    front.fail("authz", faults.refused_authorization("caa", "CAA forbids it"))
    order = await asyncio.to_thread(visitor.get, answer.headers["Location"])
    assert (order.json()["status"], order.headers["Retry-After"]) == ("processing", "3")
    authorization = (await asyncio.to_thread(visitor.get, answer.json()["authorizations"][0])).json()
    assert authorization["status"] == "invalid"
    assert {challenge["error"]["type"] for challenge in authorization["challenges"]} == {
        "urn:ietf:params:acme:error:caa"
    }


async def test_nothing_goes_wrong_by_itself(front: AcmeFront) -> None:
    """Paths that the front does not know are pebble's."""
    assert (await fetch(front, front.directory.replace("/dir", "/nothing")))[0] == 404
