"""Authorities that are down, slow, strict or wrong: names get their certificates all the same, and no false ones."""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from cryptography import x509

from certs.settings import CertsSettings, IssuerSpec
from certs.workshop import utc_now
from state.observed import CertificateFact
from state.secrets import Secrets
from state.store import Store
from tests.certs.sandbox import HABITS, Sandbox, settings_of, spec_of, until
from tests.support import acme_faults as faults
from tests.support.acme_faults import DateForm, Fault
from tests.support.acme_front import AcmeFront, Endpoint, cert_id_of
from tests.support.challenge_server import ChallengeServer
from tests.support.pebble import Pebble, free_ports

SHOP = "shop.example.com"
MINUTE = dt.timedelta(minutes=1)
HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)


@pytest.fixture(scope="module")
def pebble() -> Iterator[Pebble]:
    """One for all of these tests."""
    with Pebble() as started:
        yield started


@pytest.fixture
async def house(pebble: Pebble, tmp_path: Path) -> AsyncIterator[House]:
    """A node with two issuers, of which the first has a staging twin."""
    async with House(pebble, tmp_path) as opened:
        yield opened


class House:
    """A node's certificates, at a time that can be moved, and the authorities that it asks."""

    def __init__(self, pebble: Pebble, folder: Path) -> None:
        """Nothing is wanted yet."""
        self._pebble = pebble
        self._folder = folder
        self._resources = AsyncExitStack()
        self._ahead = dt.timedelta()
        self._dice = 0.0
        self.first, self.staging, self.second = AcmeFront(pebble), AcmeFront(pebble), AcmeFront(pebble)
        self._box: Sandbox
        self._store: Store
        self._stage: ChallengeServer

    async def __aenter__(self) -> Self:
        for front in (self.first, self.staging, self.second):
            await self._resources.enter_async_context(front)
        url = f"sqlite:///{self._folder}/zexio.db"
        self._store = await self._resources.enter_async_context(await Store.open(url, Secrets(os.urandom(32))))
        self._stage = await self._resources.enter_async_context(ChallengeServer(self._pebble))
        return self

    async def __aexit__(self, *_exit: object) -> None:
        await self._resources.aclose()

    def spec(self, name: str, **fields: Any) -> IssuerSpec:  # noqa: ANN401 - the fields of an issuer
        """One of the authorities."""
        front: AcmeFront = getattr(self, name)
        return spec_of(self._pebble, name=name, directory=front.directory, **fields)

    async def open(self, *issuers: IssuerSpec, **fields: Any) -> Sandbox:  # noqa: ANN401 - the fields of settings
        """The node, with these issuers, and the shop wanted."""
        plain = {"challenges": ("http-01",), "preflight": "off", **fields}
        settings: CertsSettings = settings_of(self._pebble, issuers=issuers, **plain)
        habits = msgspec.structs.replace(HABITS, clock=lambda: utc_now() + self._ahead, dice=lambda: self._dice)
        box = Sandbox(self._store, self._stage, settings, habits=habits)
        self._box = await self._resources.enter_async_context(box)
        await box.put(SHOP)
        return box

    @property
    def now(self) -> dt.datetime:
        """The node's time."""
        return utc_now() + self._ahead

    @property
    def next_try(self) -> dt.datetime | None:
        """When the shop is tried again."""
        fact = self._box.shop.board.fact(SHOP)
        return None if fact is None else fact.next_try

    @property
    def is_served(self) -> bool:
        """Whether there is a certificate for the shop."""
        return SHOP in self._box.holdings.bundles

    async def failed(self) -> CertificateFact:
        """Wait until an attempt has failed, and nothing more is done for now."""
        fact = await self._box.reported(SHOP, lambda fact: fact.attempts > 0)
        await until(self._is_settled)
        return self._box.shop.board.fact(SHOP) or fact

    async def active(self) -> CertificateFact:
        """Wait for a certificate, and for the end of the work on it."""
        fact = await self._box.active(SHOP)
        await until(self._is_settled)
        return self._box.shop.board.fact(SHOP) or fact

    async def pass_time(self, until_: dt.datetime | None = None) -> None:
        """Let it be then, or when the next try is due, and what is due be done."""
        at = until_ or self.next_try
        assert at is not None
        self._ahead += max(at - self.now, dt.timedelta())
        self._box.crew.consider(SHOP)
        await until(self._is_settled)

    def _is_settled(self) -> bool:
        planned = self._box.crew._agenda.when(SHOP)
        return not self._box.crew.is_working(SHOP) and (planned is None or planned > self.now)


async def test_a_domain_of_an_issuer_that_is_down_goes_to_the_next_at_once(house: House) -> None:
    """In the same moment, without a pause."""
    house.first.fail_always("newOrder", faults.unavailable(500))
    await house.open(house.spec("first"), house.spec("second"))
    fact = await house.active()
    assert fact.issuer == "second"
    assert (house.first.orders[SHOP], house.second.orders[SHOP]) == (0, 1)


@pytest.mark.parametrize(
    ("endpoint", "fault"),
    [
        ("directory", faults.answered(b"<html>Welcome to nginx!</html>", content_type="text/html")),
        ("directory", faults.answered(b'{"newOrder": 7}')),
        ("directory", faults.answered(b"", 204)),
        ("directory", faults.huge(50_000_000)),
        ("directory", faults.cut()),
        ("newNonce", faults.answered(b"", 503)),
        ("newAccount", faults.huge(50_000_000)),
        ("newOrder", faults.answered(b"[]", 201)),
    ],
)
async def test_nonsense_from_one_issuer_sends_the_domain_to_the_next(
    house: House, endpoint: Endpoint, fault: Fault
) -> None:
    """Without much of it being read."""
    house.first.fail_always(endpoint, fault)
    await house.open(house.spec("first"), house.spec("second"))
    assert (await house.active()).issuer == "second"


async def test_an_issuer_that_hangs_is_given_up_in_time(house: House) -> None:
    """For this time; it is asked again later."""
    house.first.fail("directory", faults.hanging())
    await house.open(house.spec("first"), order_timeout_s=0.3)
    fact = await house.failed()
    assert "0.3 s" in (fact.last_error or "")
    await house.pass_time()
    assert (await house.active()).orders == 1


@pytest.mark.parametrize(
    ("form", "zone"),
    [
        *((form, "Asia/Tokyo") for form in (None, "gmt", "offset", "name", "rfc850", "asctime", "lower", "no-zone")),
        *((form, "America/New_York") for form in (None, "gmt", "asctime")),
    ],
)
async def test_a_rate_limit_is_waited_for_to_the_second(
    house: House, form: DateForm | None, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the form of the date, and wherever the node is."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        end = utc_now().replace(microsecond=0) + 3 * HOUR
        house.first.fail("newOrder", faults.rate_limited("10800" if form is None else faults.http_date(end, form)))
        await house.open(house.spec("first", staging=house.staging.directory))
        fact = await house.failed()
        assert fact.next_try is not None
        assert dt.timedelta(seconds=-2) < fact.next_try - end < dt.timedelta(seconds=5)
        await house.pass_time(fact.next_try - 10 * MINUTE)
        assert house.first.orders[SHOP] == 0
        await house.pass_time(fact.next_try)
        await house.active()
        # Staging knows nothing of the limits of production.
        assert (house.first.orders[SHOP], house.staging.orders[SHOP]) == (1, 0)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("retry_after", ["soon", "-1", "99999999999999999999", "Fri, 99 Foo 2026 10:00:00 GMT", ""])
async def test_a_retry_after_that_makes_no_sense_is_no_end(house: House, retry_after: str) -> None:
    """There is a next try within days."""
    house.first.fail("newOrder", faults.rate_limited(retry_after))
    await house.open(house.spec("first"))
    fact = await house.failed()
    assert fact.next_try is not None
    assert house.now < fact.next_try < house.now + 8 * DAY
    await house.pass_time()
    await house.active()


async def test_records_that_forbid_an_issuer_send_the_domain_to_the_next(house: House) -> None:
    """As authorities find only when they validate."""
    house.first.fail_always("authz", faults.refused_authorization("caa", "CAA record prevents issuance"))
    await house.open(house.spec("first", staging=house.staging.directory), house.spec("second"))
    assert (await house.active()).issuer == "second"
    assert house.staging.orders[SHOP] == 0


async def test_an_order_that_is_refused_for_its_records_says_so(house: House) -> None:
    """In the words of the authority."""
    refusal = faults.problem("caa", 403, detail="CAA record for example.com prevents issuance", identifiers=(SHOP,))
    house.first.fail("finalize", refusal)
    await house.open(house.spec("first"))
    fact = await house.failed()
    assert "CAA record for example.com prevents issuance" in (fact.last_error or "")
    await house.pass_time()
    await house.active()


async def test_after_a_failure_staging_finds_out_whether_it_would_work(house: House) -> None:
    """What staging issues is never served, and production is asked the moment after it."""
    refused = faults.refused_authorization("unauthorized", "the answer was 404")
    house.first.fail("authz", refused)
    house.staging.fail("authz", refused)
    box = await house.open(house.spec("first", staging=house.staging.directory))
    for orders in ((1, 0), (1, 1)):
        fact = await house.failed()
        assert fact.last_error == "the answer was 404"
        assert (house.first.orders[SHOP], house.staging.orders[SHOP]) == orders
        await house.pass_time()
    fact = await house.active()
    assert (house.first.orders[SHOP], house.staging.orders[SHOP]) == (2, 2)
    assert (fact.issuer, fact.orders) == ("first", 1)
    assert box.manager.counts.obtained == 1
    served = x509.load_pem_x509_certificates(box.holdings.bundles[SHOP].chain)[0]
    assert house.first.ids_of(SHOP) == [cert_id_of(served)]
    assert len(house.staging.ids_of(SHOP)) == 1


@pytest.mark.parametrize(
    "fault",
    [faults.truncated_chain(), faults.broken_chain(), faults.wrong_key(), faults.wrong_names("evil.example")],
    ids=["truncated", "broken", "wrong key", "wrong names"],
)
async def test_a_false_certificate_is_never_served(house: House, fault: Fault) -> None:
    """It may have been the transfer, so it is asked for again; it takes few orders to get a true one."""
    house.first.fail("certificate", *[fault] * 4)
    box = await house.open(house.spec("first"))
    await house.failed()
    assert SHOP not in box.holdings.bundles
    while SHOP not in box.holdings.bundles:
        await house.pass_time()
    await house.active()
    assert box.holdings.bundles[SHOP].names == (SHOP,)
    assert box.holdings.bundles[SHOP].chain.count(b"BEGIN CERTIFICATE") == 2
    assert house.first.orders[SHOP] <= 3


@pytest.mark.parametrize("endpoint", ["newOrder", "finalize", "certificate", "challenge", "authz"])
async def test_an_answer_that_is_lost_costs_no_second_order(house: House, endpoint: Endpoint) -> None:
    """Whatever the request was: what it did is found again."""
    house.first.fail(endpoint, faults.lost())
    await house.open(house.spec("first"))
    await until(lambda: house.is_served or house.next_try is not None)
    if not house.is_served:
        await house.pass_time()
    await house.active()
    assert house.first.orders[SHOP] == 1


async def test_an_order_that_takes_its_time_is_asked_for_when_the_authority_said(house: House) -> None:
    """And not made anew."""
    house.first.fail("finalize", faults.processing("3600"))
    house.first.fail("order", faults.processing("3600"))
    await house.open(house.spec("first"), order_timeout_s=2.0)
    fact = await house.failed()
    assert fact.next_try is not None
    assert fact.next_try - house.now > 50 * MINUTE
    await house.pass_time()
    await house.active()
    assert house.first.orders[SHOP] == 1


async def test_a_profile_is_asked_for(house: House, pebble: Pebble) -> None:
    """One that is not offered is said to be missing, and costs no order."""
    async with AcmeFront(pebble, profiles={"short": "Seven days"}) as front:
        spec = spec_of(pebble, name="front", directory=front.directory, profile="long")
        box = await house.open(spec)
        fact = await house.failed()
        assert "long" in (fact.last_error or "")
        assert front.orders[SHOP] == 0
        settings = box.shop.settings
        box.manager.reshape(
            msgspec.structs.replace(settings, issuers=(msgspec.structs.replace(spec, profile="short"),))
        )
        await house.active()
        assert front.profiles_asked == ["short"]


async def test_a_certificate_that_was_replaced_already_is_replaced_all_the_same(house: House) -> None:
    """By an order that does not say what it replaces."""
    box = await house.open(house.spec("first"))
    await house.active()
    house.first._replaced_by[house.first.ids_of(SHOP)[0]] = "another"
    await box.manager.desk.renew(SHOP)
    await until(lambda: len(house.first.ids_of(SHOP)) == 2)
    await house.active()
    assert house.first.orders[SHOP] == 2


async def test_windows_that_are_always_past_cost_a_few_orders_a_week_and_no_more(house: House) -> None:
    """Each new certificate is said to be overdue, which one that came early does not believe at once."""
    await house.open(house.spec("first"), max_orders_per_name_week=5)
    await house.active()
    begun = house.now
    made = []
    for step in range(28):
        for cert_id in house.first.ids_of(SHOP):
            house.first.set_window(cert_id, begun - 3 * DAY, begun - 2 * DAY)
        await house.pass_time(begun + step * 6 * HOUR + MINUTE)
        made.append(house.first.orders[SHOP])
    assert made[0] <= 2
    assert 2 <= made[-1] <= 5
    assert (await house.active()).not_after is not None


async def test_an_authority_without_windows_or_with_false_ones_renews_at_two_thirds(house: House) -> None:
    """Errors of its renewal information are none of the certificate."""
    faulty = (faults.unavailable(500), faults.answered(b"[]"), faults.edited(suggestedWindow={"start": "x", "end": 1}))
    house.first.fail("renewalInfo", *faulty, *faulty)
    await house.open(house.spec("first"))
    fact = await house.active()
    assert fact.renew_at is not None
    planned = fact.renew_at
    for step in range(1, 4):
        await house.pass_time(house.now + step * 7 * HOUR)
        later = await house.active()
        assert later.renew_at == planned
    assert house.first.requests["renewalInfo"] >= 3
    assert house.first.orders[SHOP] == 1


async def test_nobody_listens(house: House, pebble: Pebble) -> None:
    """A port where there is nothing is no end either."""
    port = free_ports(1)[0]
    dead = spec_of(pebble, name="dead", directory=f"https://localhost:{port}/dir")
    await house.open(dead, house.spec("second"))
    assert (await house.active()).issuer == "second"


async def test_all_issuers_fail_and_the_name_is_tried_for_ever(house: House) -> None:
    """With pauses that grow to hours, and a certificate as soon as one of them is mended."""
    for front in (house.first, house.second):
        front.fail_always("newOrder", faults.unavailable())
    await house.open(house.spec("first"), house.spec("second"))
    pauses = []
    for _ in range(6):
        fact = await house.failed()
        assert fact.next_try is not None
        pauses.append(fact.next_try - house.now)
        await house.pass_time()
    assert pauses == sorted(pauses)
    assert pauses[-1] > 20 * MINUTE
    house.second.heal()
    await house.pass_time()
    assert (await house.active()).issuer == "second"


@pytest.mark.parametrize("names", [("first",), ("first", "second")])
async def test_orders_that_were_never_made_use_up_nothing(house: House, names: tuple[str, ...]) -> None:
    """Ten minutes without an authority, or without any of two, are no week without a certificate."""
    for front in (house.first, house.second):
        front.fail_always("newOrder", faults.unavailable())
    await house.open(*(house.spec(name) for name in names))
    for _ in range(7):
        await house.failed()
        await house.pass_time()
    assert (await house.failed()).orders <= 1
    house.first.heal()
    await house.pass_time()
    fact = await house.active()
    assert (fact.issuer, fact.orders, house.first.orders[SHOP]) == ("first", 1, 1)
