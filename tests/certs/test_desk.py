"""What operators ask of certificates is done, or refused with a reason."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import msgspec
import pytest
from cryptography import x509

from certs.workshop import utc_now
from state.refusal import Refused
from state.store import Store
from tests.certs.sandbox import HABITS, Sandbox, pem_of, settings_of, until
from tests.support.challenge_server import ChallengeServer
from tests.support.pebble import Pebble

SHOP = "shop.example.com"


@pytest.fixture
async def box(pebble: Pebble, store: Store, stage: ChallengeServer) -> AsyncIterator[Sandbox]:
    """A node that asks pebble for HTTP-01."""
    async with Sandbox(store, stage, settings_of(pebble, challenges=("http-01",))) as box:
        yield box


async def test_a_certificate_is_renewed_when_an_operator_says_so(pebble: Pebble, box: Sandbox) -> None:
    """With a new key, long before it is due."""
    await box.put(SHOP)
    first = await box.active(SHOP)
    key = box.holdings.bundles[SHOP].key
    orders = pebble.count("order-plz")
    await box.manager.desk.renew(SHOP)
    await box.reported(SHOP, lambda fact: fact.fingerprint not in {None, first.fingerprint})
    assert box.holdings.bundles[SHOP].key != key
    assert pebble.count("order-plz") == orders + 1
    await until(lambda: not box.crew.is_working(SHOP))
    assert pebble.count("order-plz") == orders + 1


async def test_a_name_that_nobody_wants_is_not_renewed(box: Sandbox) -> None:
    """There would be no end to it."""
    with pytest.raises(Refused) as raised:
        await box.manager.desk.renew("other.example.com")
    assert raised.value.kind == "missing"


async def test_a_covered_name_is_renewed_by_its_cover(box: Sandbox) -> None:
    """The operator is told which that is."""
    await box.manager.desk.import_pem(pem_of("*.example.com"))
    await box.put(SHOP)
    await box.active(SHOP)
    with pytest.raises(Refused, match=r"covered by the certificate for \*\.example\.com") as raised:
        await box.manager.desk.renew(SHOP)
    assert raised.value.kind == "conflict"


async def test_a_compromised_key_is_revoked_and_replaced_at_once(pebble: Pebble, box: Sandbox) -> None:
    """Both the authority and visitors see another one."""
    await box.put(SHOP)
    first = await box.active(SHOP)
    key = box.holdings.bundles[SHOP].key
    await box.manager.desk.revoke(SHOP, "key_compromise")
    assert pebble.status(first.serial or "") == "Revoked"
    await box.reported(SHOP, lambda fact: fact.status == "active" and fact.fingerprint != first.fingerprint)
    assert box.holdings.bundles[SHOP].key != key


async def test_a_revoked_certificate_that_nobody_wants_is_gone(pebble: Pebble, box: Sandbox) -> None:
    """It is not served again when the name comes back."""
    await box.put(SHOP)
    first = await box.active(SHOP)
    await box.remove(SHOP)
    await box.gone(SHOP)
    await box.manager.desk.revoke(SHOP, "cessation_of_operation")
    assert pebble.status(first.serial or "") == "Revoked"
    assert SHOP not in box.holdings.bundles
    await box.put(SHOP)
    await box.reported(SHOP, lambda fact: fact.status == "active" and fact.fingerprint != first.fingerprint)


async def test_only_what_an_authority_issued_here_is_revoked(box: Sandbox) -> None:
    """For the others nobody knows whom to ask."""
    with pytest.raises(Refused) as raised:
        await box.manager.desk.revoke(SHOP, "superseded")
    assert raised.value.kind == "missing"
    await box.manager.desk.import_pem(pem_of(SHOP))
    with pytest.raises(Refused, match="imported") as raised:
        await box.manager.desk.revoke(SHOP, "superseded")
    assert raised.value.kind == "conflict"


async def test_an_imported_certificate_is_served_at_once(pebble: Pebble, box: Sandbox) -> None:
    """Whether anybody wants the name or not, and no order is made for it."""
    orders = pebble.count("order-plz")
    assert await box.manager.desk.import_pem(pem_of(SHOP, "www.shop.example.com")) == SHOP
    fact = await box.active(SHOP)
    assert (fact.source, fact.renew_at, fact.names) == ("imported", None, (SHOP, "www.shop.example.com"))
    assert SHOP in box.holdings.bundles
    await box.put("www.shop.example.com")
    covered = await box.active("www.shop.example.com")
    assert covered.fingerprint == fact.fingerprint
    assert pebble.count("order-plz") == orders


async def test_an_imported_certificate_goes_by_the_name_that_is_wanted(box: Sandbox) -> None:
    """Whatever stands first in it."""
    await box.put("www.shop.example.com")
    await box.active("www.shop.example.com")
    assert await box.manager.desk.import_pem(pem_of(SHOP, "www.shop.example.com")) == "www.shop.example.com"
    await box.reported("www.shop.example.com", lambda fact: fact.source == "imported")


async def test_an_imported_certificate_near_its_end_is_replaced_if_the_name_is_wanted(
    pebble: Pebble, store: Store, stage: ChallengeServer
) -> None:
    """So that importing once is no duty to import for ever."""
    ahead = [timedelta()]
    habits = msgspec.structs.replace(HABITS, clock=lambda: utc_now() + ahead[0])
    async with Sandbox(store, stage, settings_of(pebble, challenges=("http-01",)), habits=habits) as box:
        await box.manager.desk.import_pem(pem_of(SHOP, days=60))
        ahead[0] = timedelta(days=41)
        await box.put(SHOP)
        fact = await box.reported(SHOP, lambda fact: fact.source == "acme")
        assert fact.status == "active"


async def test_what_is_not_valid_yet_is_not_imported(pebble: Pebble, store: Store, stage: ChallengeServer) -> None:
    """It would take the place of one that visitors can rely on now."""
    habits = msgspec.structs.replace(HABITS, clock=lambda: utc_now() - timedelta(days=400))
    async with Sandbox(store, stage, settings_of(pebble, challenges=("http-01",)), habits=habits) as box:
        with pytest.raises(Refused, match="is not valid before") as raised:
            await box.manager.desk.import_pem(pem_of(SHOP))
        assert raised.value.kind == "invalid"


PEM = pem_of(SHOP)
CHAIN = PEM.partition(b"-----BEGIN PRIVATE")[0]


async def test_a_key_that_was_given_up_is_not_taken_back(pebble: Pebble, box: Sandbox) -> None:
    """However it is brought."""
    await box.put(SHOP)
    first = await box.active(SHOP)
    whole = await box.manager.desk.export_pem(SHOP, with_key=True)
    await box.manager.desk.revoke(SHOP, "key_compromise")
    with pytest.raises(Refused, match="given up as compromised"):
        await box.manager.desk.import_pem(whole)
    await box.reported(SHOP, lambda fact: fact.status == "active" and fact.fingerprint != first.fingerprint)
    with pytest.raises(Refused, match="given up as compromised"):
        await box.manager.desk.import_pem(whole)


async def test_an_imported_certificate_can_be_taken_out_again(pebble: Pebble, box: Sandbox) -> None:
    """Names that it was for get their own then, if they are wanted."""
    await box.manager.desk.import_pem(pem_of(SHOP, "www.shop.example.com"))
    await box.put("www.shop.example.com")
    await box.active("www.shop.example.com")
    with pytest.raises(Refused, match="import a newer one"):
        await box.manager.desk.renew(SHOP)
    await box.manager.desk.remove(SHOP)
    await box.gone(SHOP)
    assert SHOP not in box.holdings.bundles
    await box.reported("www.shop.example.com", lambda fact: fact.source == "acme" and fact.status == "active")
    for name, kind in ((SHOP, "missing"), ("www.shop.example.com", "conflict")):
        with pytest.raises(Refused) as raised:
            await box.manager.desk.remove(name)
        assert raised.value.kind == kind


@pytest.mark.parametrize(
    ("pem", "reason"),
    [
        (b"", "must hold a chain"),
        (CHAIN, "one private key"),
        (PEM + PEM, "one private key"),
        (CHAIN + pem_of(SHOP).partition(b"-----END CERTIFICATE-----\n")[2], "another key"),
        (pem_of(SHOP, days=-0.5), "has expired"),
        (b"-----BEGIN CERTIFICATE-----\n" * 9000, "must hold a chain"),
    ],
)
async def test_what_cannot_be_served_is_not_imported(box: Sandbox, pem: bytes, reason: str) -> None:
    """The operator is told why, and nothing of the key."""
    with pytest.raises(Refused, match=reason) as raised:
        await box.manager.desk.import_pem(pem)
    assert raised.value.kind == "invalid"
    assert "PRIVATE" not in str(raised.value)


async def test_a_certificate_is_exported_as_it_is_served(box: Sandbox) -> None:
    """The key only for those who ask for it, and it can be imported again."""
    await box.put(SHOP)
    await box.active(SHOP)
    bundle = box.holdings.bundles[SHOP]
    assert await box.manager.desk.export_pem(SHOP, with_key=False) == bundle.chain
    whole = await box.manager.desk.export_pem(SHOP, with_key=True)
    assert whole == bundle.chain + bundle.key
    assert await box.manager.desk.import_pem(whole) == SHOP
    with pytest.raises(Refused):
        await box.manager.desk.export_pem("other.example.com", with_key=False)


async def test_the_root_of_the_internal_authority_is_shown(box: Sandbox) -> None:
    """The same each time."""
    pem = await box.manager.desk.root_pem()
    assert x509.load_pem_x509_certificate(pem).subject == x509.load_pem_x509_certificate(pem).issuer
    assert await box.manager.desk.root_pem() == pem


async def test_a_check_says_what_to_change(pebble: Pebble, store: Store, stage: ChallengeServer) -> None:
    """And brings the certificate on its way when there is nothing left to change."""
    settings = settings_of(pebble, challenges=("http-01",), public_addresses=("127.0.0.1",))
    habits = msgspec.structs.replace(HABITS, check_s=600.0)
    pebble.dns.add_a("checked.example.com", "192.0.2.7")
    async with Sandbox(store, stage, settings, habits=habits) as box:
        await box.put("checked.example.com")
        await box.reported("checked.example.com", lambda fact: bool(fact.advice))
        advice = await box.manager.desk.check("checked.example.com")
        assert [(one.is_blocking, "192.0.2.7" in one.text) for one in advice] == [(True, True)]
        pebble.dns.clear_a("checked.example.com")
        assert not [one for one in await box.manager.desk.check("checked.example.com") if one.is_blocking]
        await box.active("checked.example.com")


async def test_a_check_of_what_is_no_name_is_refused(box: Sandbox) -> None:
    """And inside there is nothing to check."""
    with pytest.raises(Refused):
        await box.manager.desk.check("no name")
    assert await box.manager.desk.check("db.zexio.internal") == ()
