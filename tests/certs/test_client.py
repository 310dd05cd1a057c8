"""The requests of RFC 8555 and RFC 9773 hold what they should, and their answers are taken as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from josepy.jwk import JWKEC

from certs import client
from certs.client import Client, Session, certificate_signer
from certs.errors import IssueError
from certs.keys import Unusable, cert_id, make_csr, make_key
from certs.schedule import Window
from certs.settings import IssuerSpec
from tests.certs.scripted import Reply, ScriptedAuthority, decoded, leaf_with_authority_key
from tests.support.pebble import Pebble, PebbleOptions

KEY = JWKEC(key=ec.generate_private_key(ec.SECP256R1()))


@asynccontextmanager
async def session_with(authority: ScriptedAuthority) -> AsyncIterator[Session]:
    """A session of a new account."""
    spec = IssuerSpec(name="scripted", directory=f"{authority.url}/dir")
    async with Client.open(spec, spec.directory) as opened:
        yield Session(opened, await opened.register(spec, KEY))


async def test_registering(authority: ScriptedAuthority) -> None:
    """Terms, contact and the binding to an external account."""
    spec = IssuerSpec(
        name="scripted",
        directory=f"{authority.url}/dir",
        contact=("mailto:ops@example.com",),
        eab_kid="kid-1",
        eab_hmac="c2VjcmV0",
    )
    async with Client.open(spec, spec.directory) as opened:
        account = await opened.register(spec, KEY)
    assert account.url == f"{authority.url}/account"
    assert len(decoded(account.thumbprint)) == 32
    _, _, body = authority.asked[-1]
    assert body["termsOfServiceAgreed"] is True
    assert body["contact"] == ["mailto:ops@example.com"]
    assert isinstance(body["externalAccountBinding"], dict)
    assert set(body["externalAccountBinding"]) == {"protected", "payload", "signature"}


async def test_an_order(authority: ScriptedAuthority) -> None:
    """Names and addresses, and a profile; what it replaces only where the authority knows RFC 9773."""
    names = ("a.example", "*.a.example", "192.0.2.1", "2001:db8::1")
    async with session_with(authority) as session:
        order = await session.order(names, profile="short", replaces="x.y")
    assert order.url == f"{authority.url}/order"
    _, _, body = authority.asked[-1]
    assert body == {
        "identifiers": [
            {"type": "dns", "value": "a.example"},
            {"type": "dns", "value": "*.a.example"},
            {"type": "ip", "value": "192.0.2.1"},
            {"type": "ip", "value": "2001:db8::1"},
        ],
        "profile": "short",
    }
    authority.says["/dir"] = [Reply(body=authority.directory(renewalInfo=f"{authority.url}/ari"))]
    async with session_with(authority) as session:
        await session.order(names[:1], replaces="x.y")
    assert authority.asked[-1][2] == {"identifiers": [{"type": "dns", "value": "a.example"}], "replaces": "x.y"}


async def test_what_is_read_is_read_again_after_a_bad_moment(
    authority: ScriptedAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when the authority says how long it takes, nor when it says no, nor for ever."""
    monkeypatch.setattr(client, "READ_AGAIN_S", (0.0, 0.0))
    url = f"{authority.url}/order"
    fine = Reply(body=authority.order("ready"), fields={"Retry-After": "3"})
    async with session_with(authority) as session:
        authority.says["/order"] = [Reply(500), Reply(raw=b""), fine]
        order, wait_s = await session.order_at(url)
        assert (order.status, order.url, wait_s) == ("ready", url, 3.0)
        for reply, times in ((Reply(503, fields={"Retry-After": "9"}), 1), (Reply(404), 1), (Reply(502), 3)):
            before = authority.count("/order")
            authority.says["/order"] = [reply]
            with pytest.raises(IssueError) as caught:
                await session.order_at(url)
            assert caught.value.status == reply.status
            assert authority.count("/order") - before == times
        # A second order would be one too many.
        authority.says["/new-order"] = [Reply(500)]
        with pytest.raises(IssueError):
            await session.order(("a.example",))
        assert authority.count("/new-order") == 1


async def test_the_orders_of_an_account_the_newest_first() -> None:
    """However many pages there are; pebble adds at the end."""
    with Pebble(PebbleOptions(orders_per_page=2)) as pebble:
        spec = IssuerSpec(name="pebble", directory=pebble.directory, roots=pebble.ca_file)
        async with Client.open(spec, spec.directory) as opened:
            session = Session(opened, await opened.register(spec, KEY))
            assert [order async for order in session.orders()] == []
            urls = [(await session.order((f"{number}.example",))).url for number in range(5)]
            assert [order.url async for order in session.orders()] == urls[::-1]


async def test_an_authority_that_does_not_list_orders(authority: ScriptedAuthority) -> None:
    """As Let's Encrypt; one that lists them in a circle comes to an end."""
    async with session_with(authority) as session:
        assert [order async for order in session.orders()] == []
        authority.says["/account"] = [Reply(body={"orders": f"{authority.url}/orders"})]
        authority.says["/orders"] = [Reply(body={"orders": []}, fields={"Link": '</orders>;rel="next"'})]
        assert [order async for order in session.orders()] == []
        assert authority.count("/orders") == client.PAGES


async def test_finalizing_and_fetching(authority: ScriptedAuthority) -> None:
    """The request as DER; alternative chains only where they are wanted, and not any number of them."""
    key = make_key("p256")
    links = ", ".join(f'</other/{number}>;rel="alternate"' for number in range(50))
    authority.says["/certificate"] = [lambda _: Reply(body=authority.chain(), fields={"Link": links})]
    authority.says |= {f"/other/{number}": [Reply(body=b"chain %d" % number)] for number in range(50)}
    async with session_with(authority) as session:
        await session.finalize(f"{authority.url}/finalize", make_csr(key, ("a.example",)))
        assert x509.load_der_x509_csr(authority.csr).is_signature_valid
        url = f"{authority.url}/certificate"
        assert len(await session.chains(url, with_alternates=False)) == 1
        chains = await session.chains(url, with_alternates=True)
    assert chains[1:] == [b"chain %d" % number for number in range(client.ALTERNATES)]


async def test_renewal_information(authority: ScriptedAuthority) -> None:
    """By the certificate's own name, with the time of the next question."""
    pem = leaf_with_authority_key()
    spec = IssuerSpec(name="scripted", directory=f"{authority.url}/dir")
    async with Client.open(spec, spec.directory) as opened:
        assert await opened.renewal_info(pem) is None
    authority.says["/dir"] = [Reply(body=authority.directory(renewalInfo=f"{authority.url}/ari/"))]
    window = {"start": "2026-11-21T12:00:00Z", "end": "2026-11-22T02:00:00+01:00"}
    body = {"suggestedWindow": window, "explanationURL": "https://ca.example/why"}
    path = f"/ari/{cert_id(pem)}"
    authority.says[path] = [Reply(body=body, fields={"Retry-After": "21600"})]
    async with Client.open(spec, spec.directory) as opened:
        info = await opened.renewal_info(pem)
        assert info is not None
        assert info.retry_after_s == 21_600.0
        assert info.window == Window(
            cert_id=cert_id(pem),
            start=datetime(2026, 11, 21, 12, tzinfo=UTC),
            end=datetime(2026, 11, 22, 1, tzinfo=UTC),
            explanation_url="https://ca.example/why",
        )
        for bad in ({}, {"suggestedWindow": {"start": "2026-11-21T12:00:00", "end": "2026-11-22T12:00:00"}}):
            authority.says[path] = [Reply(body=bad)]
            with pytest.raises(IssueError) as caught:
                await opened.renewal_info(pem)
            assert caught.value.kind == "badAnswer"


async def test_a_directory_that_is_none(authority: ScriptedAuthority) -> None:
    """It is noticed before anything else is asked."""
    authority.says["/dir"] = [Reply(body={"hello": "world"})]
    spec = IssuerSpec(name="scripted", directory=f"{authority.url}/dir")
    with pytest.raises(IssueError, match="is no Directory"):
        async with Client.open(spec, spec.directory):
            pass


@pytest.mark.parametrize(("key_type", "algorithm"), [("p256", "ES256"), ("p384", "ES384"), ("rsa2048", "RS256")])
def test_a_certificate_signs_for_itself(key_type: str, algorithm: str) -> None:
    """With the algorithm that its key has; the account is not named."""
    signer = certificate_signer(make_key(key_type))  # type: ignore[arg-type]
    assert (signer.algorithm.name, signer.account) == (algorithm, None)


def test_a_key_that_cannot_sign_requests() -> None:
    """JOSE has no name for it here."""
    pem = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(Unusable, match="cannot sign a request"):
        certificate_signer(pem)
