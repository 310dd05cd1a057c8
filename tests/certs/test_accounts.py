"""An account is made once, whoever asks and whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from certs.accounts import AccountRecord, Accounts
from certs.client import Client, Session
from certs.errors import IssueError
from certs.settings import IssuerSpec
from state.ports import Lease
from state.store import Store
from tests.certs.scripted import Reply, ScriptedAuthority
from tests.support.pebble import Pebble

ACME = "urn:ietf:params:acme:error:"


@pytest.fixture
def spec(pebble: Pebble) -> IssuerSpec:
    """The authority."""
    return IssuerSpec(name="pebble", directory=pebble.directory, roots=pebble.ca_file)


@pytest.fixture
async def client(spec: IssuerSpec) -> AsyncIterator[Client]:
    """A client for it."""
    async with Client.open(spec, spec.directory) as opened:
        yield opened


@pytest.fixture
def accounts(store: Store) -> Accounts:
    """Those of a node."""
    return Accounts(store.shelf("accounts"), store.leases)


async def test_many_ask_for_it_at_once(accounts: Accounts, client: Client, spec: IssuerSpec, pebble: Pebble) -> None:
    """One request, one account, and the same again later."""
    before = pebble.count("sign-me-up")
    found = await asyncio.gather(*(accounts.sign_in(client, spec, spec.directory) for _ in range(8)))
    assert len({account.url for account in found}) == 1
    assert len({account.thumbprint for account in found}) == 1
    assert pebble.count("sign-me-up") - before == 1
    assert (await accounts.sign_in(client, spec, spec.directory)).url == found[0].url


async def test_a_crash_after_the_request_leaves_no_account_behind(
    accounts: Accounts, client: Client, spec: IssuerSpec, store: Store
) -> None:
    """The key was on its shelf before, and the authority knows whose it is."""
    account = await accounts.sign_in(client, spec, spec.directory)
    shelf = store.shelf("accounts")
    (sealed,) = await shelf.since()
    assert sealed.body is not None
    record = msgspec.msgpack.decode(sealed.body, type=AccountRecord)
    assert "PRIVATE" not in repr(record)
    assert "PRIVATE" not in repr(account)
    await shelf.put(sealed.key, msgspec.msgpack.encode(msgspec.structs.replace(record, url=None)))
    assert (await accounts.sign_in(client, spec, spec.directory)).url == account.url


async def test_another_contact(accounts: Accounts, client: Client, spec: IssuerSpec) -> None:
    """It is told to the authority once; the account stays."""
    account = await accounts.sign_in(client, spec, spec.directory)
    changed = msgspec.structs.replace(spec, contact=("mailto:ops@example.com",))
    for _ in range(2):
        assert (await accounts.sign_in(client, changed, spec.directory)).url == account.url
        assert (await Session(client, account).body()).contact == ("mailto:ops@example.com",)


async def test_a_contact_that_the_authority_does_not_like_stops_nothing(
    accounts: Accounts, client: Client, spec: IssuerSpec
) -> None:
    """The old one stays."""
    account = await accounts.sign_in(client, spec, spec.directory)
    changed = msgspec.structs.replace(spec, contact=("fax:1",))
    assert (await accounts.sign_in(client, changed, spec.directory)).url == account.url


async def test_one_for_each_external_account(accounts: Accounts, client: Client, spec: IssuerSpec) -> None:
    """A binding is for good."""
    one = await accounts.sign_in(client, spec, spec.directory)
    bound = msgspec.structs.replace(spec, eab_kid="kid", eab_hmac="c2VjcmV0")
    with pytest.raises(IssueError):
        await accounts.sign_in(client, bound, spec.directory)
    assert (await accounts.sign_in(client, spec, spec.directory)).url == one.url


async def test_it_is_made_anew_with_its_key_when_it_was_forgotten(
    accounts: Accounts, authority: ScriptedAuthority
) -> None:
    """Once, however many notice."""
    spec = IssuerSpec(name="scripted", directory=f"{authority.url}/dir")
    async with Client.open(spec, spec.directory) as client:
        lost = await accounts.sign_in(client, spec, spec.directory)
        authority.says["/new-account"] = [Reply(201, {}, {"Location": "/other"})]
        found = await asyncio.gather(*(accounts.sign_in_again(client, spec, spec.directory, lost) for _ in range(3)))
    assert {account.url for account in found} == {f"{authority.url}/other"}
    assert found[0].thumbprint == lost.thumbprint
    assert authority.count("/new-account") == 2


async def test_it_is_made_anew_with_another_key_when_it_was_deactivated(
    accounts: Accounts, authority: ScriptedAuthority
) -> None:
    """That key cannot have an account any more."""
    spec = IssuerSpec(name="scripted", directory=f"{authority.url}/dir")
    async with Client.open(spec, spec.directory) as client:
        lost = await accounts.sign_in(client, spec, spec.directory)
        refusal = Reply(403, {"type": f"{ACME}unauthorized", "detail": "deactivated"})
        authority.says["/new-account"] = [refusal, Reply(201, {}, {"Location": "/other"})]
        found = await accounts.sign_in_again(client, spec, spec.directory, lost)
        assert found.thumbprint != lost.thumbprint
        authority.says["/new-account"] = [Reply(500)]
        with pytest.raises(IssueError):
            await accounts.sign_in_again(client, spec, spec.directory, found)


async def test_terms_are_not_accepted_for_the_operator(accounts: Accounts, client: Client, spec: IssuerSpec) -> None:
    """They are told where to read them."""
    careful = msgspec.structs.replace(spec, accept_terms=False)
    with pytest.raises(IssueError, match="has terms to be accepted: data:text/plain") as caught:
        await accounts.sign_in(client, careful, spec.directory)
    assert caught.value.kind == "userActionRequired"


async def test_an_answer_without_an_account(accounts: Accounts, authority: ScriptedAuthority) -> None:
    """RFC 8555 section 7.3 wants a Location."""
    authority.says["/new-account"] = [Reply(201, {})]
    spec = IssuerSpec(name="scripted", directory=f"{authority.url}/dir")
    async with Client.open(spec, spec.directory) as client:
        with pytest.raises(IssueError, match="does not say where"):
            await accounts.sign_in(client, spec, spec.directory)


async def test_two_nodes_make_one(
    accounts: Accounts,
    client: Client,
    spec: IssuerSpec,
    *,
    store: Store,
    pebble: Pebble,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second waits until the first is done, and finds what that made."""
    monkeypatch.setattr("certs.accounts.RETRY_S", 0.001)
    before = pebble.count("sign-me-up")
    place = f"account/{spec.directory}"
    other = Leases(store, place)
    waiting = asyncio.get_running_loop().create_task(
        Accounts(store.shelf("accounts"), other).sign_in(client, spec, spec.directory)
    )
    await other.was_refused.wait()
    first = await accounts.sign_in(client, spec, spec.directory)
    other.is_free = True
    assert (await waiting).url == first.url
    assert pebble.count("sign-me-up") - before == 1


class Leases:
    """Those of another node: what the first has is refused until it is free."""

    def __init__(self, store: Store, taken: str) -> None:
        self.is_free = False
        self.was_refused = asyncio.Event()
        self._leases = store.leases
        self._taken = taken

    async def take(self, name: str, ttl_s: float) -> Lease | None:
        """As in the protocol."""
        if name == self._taken and not self.is_free:
            self.was_refused.set()
            return None
        return await self._leases.take(name, ttl_s)

    async def keep(self, lease: Lease, ttl_s: float) -> bool:
        """As in the protocol."""
        return await self._leases.keep(lease, ttl_s)

    async def release(self, lease: Lease) -> None:
        """As in the protocol."""
        await self._leases.release(lease)


async def test_an_account_that_was_damaged_on_its_shelf(
    accounts: Accounts, client: Client, spec: IssuerSpec, store: Store
) -> None:
    """Another serves as well."""
    account = await accounts.sign_in(client, spec, spec.directory)
    await store.shelf("accounts").put(spec.directory, b"damaged")
    assert (await accounts.sign_in(client, spec, spec.directory)).url != account.url
