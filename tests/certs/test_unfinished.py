"""Orders that were begun are there after a crash."""

from __future__ import annotations

import pytest

from certs.order import OrderState
from certs.unfinished import Unfinished
from state.errors import Stale
from state.ports import Lease, Shelf
from state.store import Store

STATE = OrderState(
    issuer="ca", directory="https://ca/dir", is_staging=False, names=("a",), key_type="p256", key=b"key", csr=b"csr"
)


@pytest.fixture
def shelf(store: Store) -> Shelf:
    """Where orders are kept."""
    return store.shelf("orders")


@pytest.fixture
async def lease(store: Store) -> Lease:
    """The leave to work on a name."""
    lease = await store.leases.take("certificate/a", 60.0)
    assert lease is not None
    return lease


async def test_what_was_begun_is_gone_on_with(shelf: Shelf, lease: Lease) -> None:
    """And is forgotten when it is done."""
    unfinished = Unfinished(shelf)
    assert await unfinished.get("a") is None
    await unfinished.put("a", STATE, lease)
    assert await Unfinished(shelf).get("a") == STATE
    assert await unfinished.names() == {"a"}
    await unfinished.drop("a", lease)
    assert await unfinished.get("a") is None
    assert await unfinished.names() == frozenset()


async def test_who_has_lost_the_lease_writes_nothing(store: Store, shelf: Shelf, lease: Lease) -> None:
    """Nor forgets what is another's by now."""
    unfinished = Unfinished(shelf)
    await unfinished.put("a", STATE, lease)
    await store.leases.release(lease)
    with pytest.raises(Stale):
        await unfinished.put("a", STATE, lease)
    with pytest.raises(Stale):
        await unfinished.drop("a", lease)
    assert await unfinished.get("a") == STATE


async def test_what_cannot_be_read_was_not_begun(shelf: Shelf) -> None:
    """An order too many is better than none for ever."""
    await shelf.put("a", b"no order")
    assert await Unfinished(shelf).get("a") is None
