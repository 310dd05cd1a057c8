"""The requests of RFC 8555 and RFC 9773 to one authority, one method each."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, Self
from urllib.parse import urljoin

import msgspec
from acme.messages import Directory as AcmeDirectory
from acme.messages import ExternalAccountBinding
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from josepy.jwa import ES256, ES384, RS256
from josepy.jwk import JWK, JWKEC, JWKRSA

from certs.answers import AccountBody, Authorization, Directory, Order, OrderList, RenewalAnswer, read
from certs.errors import IssueError
from certs.keys import Unusable, base64url, cert_id, der_of_csr, der_of_leaf, load_key
from certs.network import Answer, Courier, Network, Signer
from certs.schedule import Window
from certs.settings import IssuerSpec

# How many pages of an account's orders are read, and how many of the orders are looked at.
PAGES: Final = 50
LISTED: Final = 100
ALTERNATES: Final = 5

READ_AGAIN_S: Final = (0.1, 1.0)


class Account(msgspec.Struct, frozen=True):
    """An account at an authority: its URL, and the key that signs for it."""

    url: str
    key: JWK

    def __repr__(self) -> str:
        """Nothing that a log must not hold."""
        return f"Account({self.url!r})"

    @property
    def signer(self) -> Signer:
        """Signs for the account."""
        return Signer(self.key, ES256, self.url)

    @property
    def thumbprint(self) -> str:
        """What key authorizations end with (RFC 7638)."""
        return base64url(self.key.thumbprint(hash_function=hashes.SHA256))


class RenewalInfo(msgspec.Struct, frozen=True):
    """When the authority would like a certificate to be renewed, and in how many seconds it would like to be asked."""

    window: Window
    retry_after_s: float | None = None


class Client:
    """Requests to an authority, one at a time, in a thread of their own. Every failure is an IssueError.

    Of acme's client this uses what signs and binds; its network loses the status, the wait and the problem document of
    errors, retries a refused nonce once, polls by the wall clock and reads bodies of any size.
    """

    def __init__(self, network: Network, courier: Courier, directory: Directory) -> None:
        """Made by `open`."""
        self._network = network
        self._courier = courier
        self.directory = directory

    @classmethod
    @asynccontextmanager
    async def open(cls, spec: IssuerSpec, directory: str) -> AsyncIterator[Self]:
        """A client for the authority with that directory; what it is busy with at the end is not waited for."""
        network = Network(directory, spec.roots)
        courier = Courier(f"acme {spec.name}", network.close)
        try:
            answer = await courier.call(network.get, directory)
            yield cls(network, courier, read(Directory, answer.body))
        finally:
            courier.close()

    async def register(self, spec: IssuerSpec, key: JWK) -> Account:
        """The account of a key, made if there is none (RFC 8555 section 7.3), which is no error if there is one."""
        body: dict[str, object] = {"termsOfServiceAgreed": spec.accept_terms}
        if spec.contact:
            body["contact"] = spec.contact
        if spec.eab_kid is not None:
            body["externalAccountBinding"] = _bound(key, spec, self.directory.new_account)
        answer = await self.post(self.directory.new_account, body, Signer(key, ES256))
        return Account(_location(answer), key)

    async def revoke(self, leaf_pem: bytes, reason: int, signer: Signer) -> None:
        """Revoke a certificate, in the name of its account or of its own key (RFC 8555 section 7.6)."""
        body = {"certificate": base64url(der_of_leaf(leaf_pem)), "reason": reason}
        await self.post(self.directory.revoke_cert, body, signer)

    async def renewal_info(self, leaf_pem: bytes) -> RenewalInfo | None:
        """RFC 9773 section 4; None when the authority does not offer it.

        Raises certs.keys.Unusable for a leaf that does not name its issuer's key.
        """
        if self.directory.renewal_info is None:
            return None
        identifier = cert_id(leaf_pem)
        answer = await self._courier.call(self._network.get, f"{self.directory.renewal_info.rstrip('/')}/{identifier}")
        said = read(RenewalAnswer, answer.body)
        start, end = said.suggested_window.start, said.suggested_window.end
        if start.tzinfo is None or end.tzinfo is None:
            raise IssueError("badAnswer", "the authority's window for a renewal has no time zone")
        window = Window(cert_id=identifier, start=start, end=end, explanation_url=said.explanation_url)
        return RenewalInfo(window, answer.wait_s)

    async def post(self, url: str, payload: Mapping[str, object] | None, signer: Signer) -> Answer:
        """A signed request; without a payload it reads."""
        return await self._courier.call(self._network.post, url, payload, signer, self.directory.new_nonce)


class Session:
    """Requests in the name of an account."""

    def __init__(self, client: Client, account: Account) -> None:
        self.account = account
        self.directory = client.directory
        self._client = client

    async def change_contact(self, contact: Sequence[str]) -> None:
        """Replace the contact URLs of an account."""
        await self._client.post(self.account.url, {"contact": contact}, self.account.signer)

    async def body(self) -> AccountBody:
        """What the authority knows of the account."""
        return read(AccountBody, (await self._read(self.account.url)).body)

    async def order(self, names: Sequence[str], *, profile: str | None = None, replaces: str | None = None) -> Order:
        """Ask for a new order. `replaces` is the identifier of RFC 9773 section 4.1."""
        body: dict[str, object] = {"identifiers": [_identifier(name) for name in names]}
        if profile is not None:
            body["profile"] = profile
        # An authority that does not know RFC 9773 need not be confused by it (section 5).
        if replaces is not None and self.directory.renewal_info is not None:
            body["replaces"] = replaces
        answer = await self._client.post(self.directory.new_order, body, self.account.signer)
        return _with_url(read(Order, answer.body), _location(answer))

    async def order_at(self, url: str) -> tuple[Order, float | None]:
        """An order as it is now, and in how many seconds the authority wants to be asked again."""
        answer = await self._read(url)
        return _with_url(read(Order, answer.body), url), answer.wait_s

    async def orders(self) -> AsyncIterator[Order]:
        """The account's orders, the newest first, as far as the authority lists them (Let's Encrypt does not)."""
        urls: list[str] = []
        page = (await self.body()).orders
        for _ in range(PAGES):
            if page is None:
                break
            answer = await self._read(page)
            urls += read(OrderList, answer.body).orders or ()
            page = next(iter(answer.links("next")), None)
        # Nobody says in which order they are listed; new ones are added at the end.
        for url in reversed(urls[-LISTED:]):
            order, _ = await self.order_at(url)
            yield order

    async def authorization(self, url: str) -> tuple[Authorization, float | None]:
        """An authorization as it is now, and in how many seconds the authority wants to be asked again."""
        answer = await self._read(url)
        return msgspec.structs.replace(read(Authorization, answer.body), url=url), answer.wait_s

    async def answer(self, challenge_url: str) -> None:
        """Say that a challenge is ready to be looked at (RFC 8555 section 7.5.1)."""
        await self._client.post(challenge_url, {}, self.account.signer)

    async def finalize(self, url: str, csr_pem: bytes) -> None:
        """Have the certificate made for a signing request (RFC 8555 section 7.4)."""
        await self._client.post(url, {"csr": base64url(der_of_csr(csr_pem))}, self.account.signer)

    async def chains(self, url: str, *, with_alternates: bool) -> list[bytes]:
        """The chain of a certificate in PEM, and behind it, if wanted, those that end in other roots."""
        answer = await self._read(url)
        others = answer.links("alternate")[:ALTERNATES] if with_alternates else []
        return [answer.body, *[(await self._read(other)).body for other in others]]

    async def _read(self, url: str) -> Answer:
        """What is at a URL. Reading is harmless: a connection or a server that has a bad moment gets another."""
        for pause_s in READ_AGAIN_S:
            try:
                return await self._client.post(url, None, self.account.signer)
            except IssueError as error:
                is_brief = error.kind == "unreachable" or (error.status or 0) >= 500
                if not is_brief or error.retry_after_s is not None:
                    raise
            await asyncio.sleep(pause_s)
        return await self._client.post(url, None, self.account.signer)


def certificate_signer(key_pem: bytes) -> Signer:
    """Signs with the key of a certificate; raises certs.keys.Unusable for one that ACME cannot sign with."""
    key = load_key(key_pem)
    if isinstance(key, rsa.RSAPrivateKey):
        return Signer(JWKRSA(key=key), RS256)
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in {"secp256r1", "secp384r1"}:
        return Signer(JWKEC(key=key), ES256 if key.curve.name == "secp256r1" else ES384)
    raise Unusable("a key of this kind cannot sign a request to an authority")


def _bound(key: JWK, spec: IssuerSpec, url: str) -> dict[str, object]:
    try:
        return ExternalAccountBinding.from_data(
            key.public_key(), spec.eab_kid or "", spec.eab_hmac or "", AcmeDirectory({"newAccount": url})
        )
    except (ValueError, TypeError) as error:
        raise IssueError("externalAccountRequired", "the HMAC key of the external account is not base64url") from error


def _identifier(name: str) -> Mapping[str, str]:
    try:
        return {"type": "ip", "value": str(ipaddress.ip_address(name))}
    except ValueError:
        return {"type": "dns", "value": name}


def _location(answer: Answer) -> str:
    url = answer.fields.get("location")
    if url is None:
        raise IssueError("badAnswer", "the authority does not say where it keeps what it made")
    return urljoin(answer.url, url)


def _with_url(order: Order, url: str) -> Order:
    return msgspec.structs.replace(order, url=url)
