"""The internal authority: one root for all nodes, that visitors trust for its own names and nothing else."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from certs import internal_ca
from certs.internal_ca import InternalCa
from state.holdings import Bundle
from state.ports import Lease, Sealed, Shelf
from state.secrets import Secrets
from state.store import Store

SUFFIXES = ("zexio.internal", "localhost")
DAY = timedelta(days=1)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A new store in a file."""
    async with await Store.open(f"sqlite:///{tmp_path}/zexio.db", Secrets(os.urandom(32))) as opened:
        yield opened


@pytest.fixture
def shelf(store: Store) -> Shelf:
    """An empty shelf."""
    return store.shelf("certs")


class Contested:
    """A shelf to which another node writes just before the first write here."""

    def __init__(self, shelf: Shelf) -> None:
        """With nothing written yet."""
        self.shelf = shelf
        self.others: list[InternalCa] = []

    async def get(self, key: str) -> Sealed | None:
        """As in state.ports.Shelf."""
        return await self.shelf.get(key)

    async def since(self, version: int = 0) -> Sequence[Sealed]:
        """As in state.ports.Shelf."""
        return await self.shelf.since(version)

    async def put(self, key: str, body: bytes, *, expect: int | None = None, lease: Lease | None = None) -> int:
        """As in state.ports.Shelf."""
        if not self.others:
            self.others.append(await InternalCa.load(self.shelf, SUFFIXES, now()))
        return await self.shelf.put(key, body, expect=expect, lease=lease)

    async def remove(self, key: str, *, expect: int | None = None, lease: Lease | None = None) -> None:
        """As in state.ports.Shelf."""
        await self.shelf.remove(key, expect=expect, lease=lease)


def now() -> datetime:
    """OpenSSL looks at the real time."""
    return datetime.now(UTC).replace(microsecond=0)


def server_context(bundle: Bundle) -> ssl.SSLContext:
    """For a server that shows the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle.pem"
        path.write_bytes(bundle.chain + bundle.key)
        context.load_cert_chain(path)
    return context


def visit(bundle: Bundle, root: bytes, name: str) -> None:
    """A handshake in memory, by a visitor that trusts the root alone."""
    visitor = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    visitor.load_verify_locations(cadata=root.decode())
    visitor.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        visitor.wrap_bio(to_client, to_server, server_hostname=name),
        server_context(bundle).wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue


@pytest.mark.parametrize(
    ("names", "visited"),
    [
        (["demo.zexio.internal"], "demo.zexio.internal"),
        (["a.b.zexio.internal"], "a.b.zexio.internal"),
        (["*.zexio.internal"], "demo.zexio.internal"),
        (["localhost"], "localhost"),
        (["shop.localhost", "localhost"], "shop.localhost"),
    ],
)
async def test_who_trusts_the_root_trusts_its_leaves(names: list[str], visited: str, shelf: Shelf) -> None:
    """Also as strictly as Python 3.13 checks."""
    authority = await InternalCa.load(shelf, SUFFIXES, now())
    bundle = authority.leaf(names, now())
    assert bundle.names == tuple(names)
    visit(bundle, authority.root_pem, visited)


async def test_a_leaf_lasts_half_a_day_and_has_a_key_of_its_own(shelf: Shelf) -> None:
    """It is valid a little before now, for clocks that are behind."""
    authority = await InternalCa.load(shelf, SUFFIXES, now())
    at = now()
    first, second = (authority.leaf(["demo.zexio.internal"], at) for _ in range(2))
    leaf = x509.load_pem_x509_certificate(first.chain)
    assert leaf.not_valid_after_utc == at + timedelta(hours=12)
    assert leaf.not_valid_before_utc == at - timedelta(minutes=5)
    assert first.key != second.key
    assert first.fingerprint != second.fingerprint
    assert len(first.fingerprint) == 64


@pytest.mark.parametrize(
    "names", [[], ["example.com"], ["demo.zexio.internal", "example.com"], ["evilzexio.internal"], ["127.0.0.1"]]
)
async def test_nothing_else_is_certified(names: list[str], shelf: Shelf) -> None:
    """One foreign name of several is enough."""
    authority = await InternalCa.load(shelf, SUFFIXES, now())
    with pytest.raises(ValueError, match="does not certify"):
        authority.leaf(names, now())


@pytest.mark.parametrize("suffixes", [(), ("",), ("zexio.internal", ".")])
async def test_without_suffixes_there_is_no_authority(suffixes: tuple[str, ...], shelf: Shelf) -> None:
    """Its root would be good for every name."""
    with pytest.raises(ValueError, match="needs suffixes"):
        await InternalCa.load(shelf, suffixes, now())


async def test_a_visitor_refuses_what_is_signed_for_a_foreign_name_with_the_root_s_key(shelf: Shelf) -> None:
    """The constraints are in the root, so they hold even when its key is stolen."""
    authority = await InternalCa.load(shelf, SUFFIXES, now())
    stolen = InternalCa(authority._certificate, authority._key, ("example.com",))
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        visit(stolen.leaf(["www.example.com"], now()), authority.root_pem, "www.example.com")


async def test_the_root_says_what_it_may_do(shelf: Shelf) -> None:
    """For ten years, with no authority below it, and for no addresses."""
    authority = await InternalCa.load(shelf, SUFFIXES, now())
    root = x509.load_pem_x509_certificate(authority.root_pem)
    constraints = root.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert [name.value for name in constraints.value.permitted_subtrees or ()] == ["localhost", "zexio.internal"]
    assert [str(name.value) for name in constraints.value.excluded_subtrees or ()] == ["0.0.0.0/0", "::/0"]
    usage = root.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert list(usage.value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    basic = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    assert root.not_valid_after_utc - now() > 3650 * DAY


async def test_the_root_is_made_once(shelf: Shelf) -> None:
    """And found again after a restart, in whatever order the suffixes are written."""
    first = await InternalCa.load(shelf, SUFFIXES, now())
    again = await InternalCa.load(shelf, ("LOCALHOST", ".zexio.internal", "localhost"), now() + 2000 * DAY)
    assert first.root_pem == again.root_pem
    visit(again.leaf(["demo.zexio.internal"], now()), first.root_pem, "demo.zexio.internal")


async def test_of_two_nodes_that_start_together_both_use_the_root_that_was_written_first(shelf: Shelf) -> None:
    """The other one's is thrown away."""
    contested = Contested(shelf)
    authority = await InternalCa.load(contested, SUFFIXES, now())
    assert len(await shelf.since()) == 1
    assert [other.root_pem for other in contested.others] == [authority.root_pem]


async def test_other_suffixes_have_another_root(shelf: Shelf) -> None:
    """And the old ones get theirs back."""
    first = await InternalCa.load(shelf, SUFFIXES, now())
    other = await InternalCa.load(shelf, (*SUFFIXES, "corp.example"), now())
    assert other.root_pem != first.root_pem
    assert other.covers("*.corp.example")
    assert not first.covers("a.corp.example")
    assert (await InternalCa.load(shelf, SUFFIXES, now())).root_pem == first.root_pem


async def test_a_root_that_ends_within_a_year_is_replaced(shelf: Shelf) -> None:
    """A leaf never outlives its root."""
    old = await InternalCa.load(shelf, SUFFIXES, now() - 3400 * DAY)
    new = await InternalCa.load(shelf, SUFFIXES, now())
    assert new.root_pem != old.root_pem
    assert (old.is_worn(now()), new.is_worn(now())) == (True, False)
    end = x509.load_pem_x509_certificate(old.root_pem).not_valid_after_utc
    leaf = x509.load_pem_x509_certificate(old.leaf(["localhost"], end - timedelta(hours=1)).chain)
    assert leaf.not_valid_after_utc == end


async def test_no_key_is_shown(shelf: Shelf) -> None:
    """In logs and tracebacks."""
    authority = await InternalCa.load(shelf, SUFFIXES, now())
    assert "PRIVATE" not in f"{authority!r}{authority.leaf(['localhost'], now())!r}"
    assert b"PRIVATE" not in authority.root_pem
    sealed = await shelf.since()
    assert b"PRIVATE" in (sealed[0].body or b"")
    assert "PRIVATE" not in repr(msgspec.msgpack.decode(sealed[0].body or b"", type=internal_ca._Root))
