"""Certificates by name, contexts on demand, and how targets are spoken to."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from mesh.errors import Failure
from mesh.policies import TargetTls
from mesh.routes import Certificate, Delta, MeshSettings
from mesh.tls import Certificates, Entry, load_chain
from tests.support.authority import Authority, Issued

AUTHORITY = Authority()
SHOP = AUTHORITY.issue("shop.example.com", "www.example.com")
WILD = AUTHORITY.issue("*.example.com", "example.com")
OTHER = AUTHORITY.issue("192.0.2.1", "other.example")


def certificates(*issued: Issued, default: str = "", contexts: int = 1000) -> Certificates:
    """An index of these."""
    settings = MeshSettings(default_certificate=default, tls_contexts=contexts)
    return Certificates(settings, [one.certificate for one in issued])


def shown(index: Certificates, name: str, client_ca: str = "") -> bytes:
    """The certificate that a visitor gets who names `name`, as DER; nothing if there is none."""
    entry = index.context_for(name, client_ca)
    if entry is None:
        return b""
    client, _ = shaken(entry.context, AUTHORITY.visitor_context(), name)
    return client.getpeercert(binary_form=True) or b""


def shaken(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends of a handshake in memory, whoever the certificate is for."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client.check_hostname = False
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname=name or None),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends


def delta(put: Iterable[Issued] = (), removed: Iterable[Issued] = ()) -> Delta:
    """A change of certificates."""
    return Delta(
        revision=2,
        put_certificates=tuple(one.certificate for one in put),
        removed_certificates=tuple(one.certificate.fingerprint for one in removed),
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("shop.example.com", SHOP),
        ("www.example.com", SHOP),
        ("blog.example.com", WILD),
        ("example.com", WILD),
        ("other.example", OTHER),
        ("a.blog.example.com", None),
        ("nowhere.example", None),
        ("com", None),
        ("", None),
    ],
)
def test_a_name_finds_its_certificate(name: str, expected: Issued | None) -> None:
    """The exact one, then a wildcard of one label (RFC 9525 section 6.3)."""
    assert shown(certificates(WILD, SHOP, OTHER), name) == (expected.der if expected is not None else b"")


@pytest.mark.parametrize("default", ["other.example", "OTHER.example", "192.0.2.1"])
def test_who_names_nothing_that_is_known_gets_the_default(default: str) -> None:
    """It is found by any name that it covers."""
    index = certificates(SHOP, OTHER, default=default)
    assert shown(index, "") == shown(index, "nowhere.example") == OTHER.der
    assert shown(index, "shop.example.com") == SHOP.der


def test_a_default_may_be_named_by_its_wildcard() -> None:
    """As it is written in the certificate."""
    assert shown(certificates(WILD, default="*.example.com"), "") == WILD.der


def test_a_default_that_is_not_there() -> None:
    """It may come later."""
    index = certificates(SHOP, default="other.example")
    assert index.context_for("") is None
    index.apply(delta(put=[OTHER]))
    assert shown(index, "") == OTHER.der


def test_an_entry_says_what_the_certificate_is_for() -> None:
    """The names go on to the check of the Host."""
    entry = certificates(WILD).context_for("a.example.com")
    assert entry is not None
    assert entry.names == {b"*.example.com", b"example.com"}
    assert entry.protocols == {b"h2", b"http/1.1", b"http/1.0"}


def test_a_name_may_get_a_certificate_of_its_own_before_the_default() -> None:
    """Where certificates can be had on demand; who names nothing has no such hope."""
    index = certificates(SHOP, OTHER, default="other.example")
    index.use_settings(MeshSettings(default_certificate="other.example", on_demand_s=5.0))
    assert index.context_for("nowhere.example") is None
    assert shown(index, "") == OTHER.der
    assert shown(index, "shop.example.com") == SHOP.der


def test_what_authorities_are_shown_is_shown_to_nobody_else() -> None:
    """It has a context of its own: one protocol, TLS 1.2 at least, no tickets, made when somebody comes for it."""
    index = certificates(SHOP)
    index.use_validations([WILD.certificate])
    assert index.find("example.com") is None
    assert shown(index, "blog.example.com") == b""
    assert index.validation_for("shop.example.com") is None
    context = index.validation_for("example.com")
    assert context is not None
    assert index.validation_for("example.com") is context
    assert (context.num_tickets, context.minimum_version) == (0, ssl.TLSVersion.TLSv1_2)
    assert context.options & ssl.OP_NO_TICKET
    visitor = AUTHORITY.visitor_context("acme-tls/1")
    client, _ = shaken(context, visitor, "example.com")
    assert (client.selected_alpn_protocol(), client.getpeercert(binary_form=True)) == ("acme-tls/1", WILD.der)


def test_validations_are_told_as_a_whole() -> None:
    """What was made for those that stay is kept."""
    index = certificates()
    index.use_validations([SHOP.certificate, OTHER.certificate])
    kept = index.validation_for("shop.example.com")
    assert kept is index.validation_for("www.example.com")
    assert index.validation_for("other.example") is not None
    index.use_validations([SHOP.certificate])
    assert index.validation_for("other.example") is None
    assert index.validation_for("shop.example.com") is kept
    index.use_validations([])
    assert index.validation_for("shop.example.com") is None


def test_a_validation_that_is_no_good() -> None:
    """As if there were none."""
    index = certificates()
    index.use_validations([msgspec.structs.replace(SHOP.certificate, key=WILD.key)])
    assert index.validation_for("shop.example.com") is None


def test_of_two_for_a_name_the_longest_life_wins() -> None:
    """Whichever came first."""
    short, long = AUTHORITY.issue("a.example", days=5), AUTHORITY.issue("a.example", days=50)
    assert shown(certificates(short, long), "a.example") == long.der
    assert shown(certificates(long, short), "a.example") == long.der


def test_of_two_that_live_equally_long_the_newest_wins() -> None:
    """It was put for a reason."""
    first = AUTHORITY.issue("a.example").certificate
    index = Certificates(MeshSettings(), [msgspec.structs.replace(first, fingerprint=name) for name in "ba"])
    assert (found := index.find("a.example")) is not None
    assert found.fingerprint == "a"


def test_a_certificate_is_replaced() -> None:
    """Put and removed in one change; who is connected keeps the old one."""
    old, new = AUTHORITY.issue("a.example"), AUTHORITY.issue("a.example")
    index = certificates(old)
    before = index.context_for("a.example")
    assert before is not None
    index.apply(delta(put=[new], removed=[old]))
    assert shown(index, "a.example") == new.der
    client, _ = shaken(before.context, AUTHORITY.visitor_context(), "a.example")
    assert client.getpeercert(binary_form=True) == old.der
    assert len(index) == 1


def test_a_certificate_is_removed() -> None:
    """Nothing of it is kept."""
    index = certificates(WILD, SHOP)
    assert shown(index, "shop.example.com") == SHOP.der
    index.apply(delta(removed=[SHOP, SHOP]))
    assert shown(index, "shop.example.com") == WILD.der
    index.apply(delta(removed=[WILD]))
    assert index.context_for("shop.example.com") is None
    assert (len(index), index._exact, index._wildcard, len(index._entries)) == (0, {}, {}, 0)


def test_the_same_certificate_again() -> None:
    """It is one certificate."""
    index = certificates(SHOP)
    index.apply(delta(put=[SHOP]))
    assert len(index) == 1
    assert shown(index, "shop.example.com") == SHOP.der


def test_a_context_is_made_once() -> None:
    """Tickets are only good for the context that gave them."""
    index = certificates(WILD)
    assert index.context_for("a.example.com") is index.context_for("b.example.com")


def test_the_contexts_that_were_not_used_for_the_longest_time_are_forgotten() -> None:
    """They are made again when somebody comes."""
    index = certificates(SHOP, WILD, OTHER, contexts=2)
    names = "shop.example.com", "example.com", "other.example"
    first, second = (index.context_for(name) for name in names[:2])
    assert index.context_for(names[0]) is first
    index.context_for(names[2])
    assert index.context_for(names[0]) is first
    assert index.context_for(names[1]) is not second
    assert len(index._entries) == 2


def test_settings_change_what_is_offered() -> None:
    """From the next connection on."""
    index = certificates(SHOP)
    before = index.context_for("shop.example.com")
    index.use_settings(MeshSettings(http2=False, tls_min_version="1.3"))
    after = index.context_for("shop.example.com")
    assert before is not None
    assert after is not None
    assert after.protocols == {b"http/1.1", b"http/1.0"}
    assert (before.context.minimum_version, after.context.minimum_version) == (
        ssl.TLSVersion.TLSv1_2,
        ssl.TLSVersion.TLSv1_3,
    )


def entry_for_shop(client_ca: str = "") -> Entry:
    """What visitors to the shop get."""
    entry = certificates(SHOP).context_for("shop.example.com", client_ca)
    if entry is None:
        raise AssertionError("no certificate")
    return entry


def test_only_ciphers_with_forward_secrecy() -> None:
    """And authenticated ones; no renegotiation, no compression."""
    context = entry_for_shop().context
    names = [str(cipher["name"]) for cipher in context.get_ciphers()]
    assert all(name.startswith(("TLS_", "ECDHE-")) and ("GCM" in name or "CHACHA20" in name) for name in names)
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION


def test_the_visitors_order_of_ciphers_counts() -> None:
    """Its processor may have no AES."""
    client = AUTHORITY.visitor_context()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256")
    _, server = shaken(entry_for_shop().context, client, "shop.example.com")
    assert (server.cipher() or ("",))[0] == "ECDHE-ECDSA-CHACHA20-POLY1305"


def test_visitors_show_a_certificate_where_a_ca_is_named() -> None:
    """One that the CA signed; the context is another than that for everybody."""
    entry = entry_for_shop(client_ca=AUTHORITY.pem)
    assert entry.client_ca == AUTHORITY.pem
    mine = AUTHORITY.issue(common_name="me", for_client=True)
    _, server = shaken(entry.context, AUTHORITY.visitor_context(client=mine), "shop.example.com")
    assert server.getpeercert(binary_form=True) == mine.der
    for stranger in (None, Authority("Other").issue(for_client=True), AUTHORITY.issue("server.example")):
        with pytest.raises(ssl.SSLError):
            shaken(entry.context, AUTHORITY.visitor_context(client=stranger), "shop.example.com")


def test_the_ca_may_be_an_intermediate_one() -> None:
    """The operator trusts it, and not whoever signed it."""
    root = Authority("Root of others")
    middle = Authority("Ours", root)
    entry = entry_for_shop(client_ca=middle.pem)
    mine = middle.issue(for_client=True)
    _, server = shaken(entry.context, AUTHORITY.visitor_context(client=mine), "shop.example.com")
    assert server.getpeercert(binary_form=True) == mine.der
    with pytest.raises(ssl.SSLCertVerificationError):
        shaken(entry.context, AUTHORITY.visitor_context(client=root.issue(for_client=True)), "shop.example.com")


def test_with_a_ca_that_is_none_nobody_is_let_in() -> None:
    """Least of all without a check."""
    assert certificates(SHOP).context_for("shop.example.com", "no PEM") is None


def test_a_certificate_that_does_not_go_with_its_key() -> None:
    """The next one that covers the name is shown."""
    long = AUTHORITY.issue("shop.example.com", days=90).certificate
    broken = msgspec.structs.replace(long, key=WILD.key)
    index = Certificates(MeshSettings(), [SHOP.certificate, broken])
    assert shown(index, "shop.example.com") == SHOP.der
    index = Certificates(MeshSettings(), [broken])
    assert index.context_for("shop.example.com") is None
    assert index.context_for("shop.example.com") is None


def test_a_chain_that_is_none() -> None:
    """It ranks behind every other."""
    nonsense = Certificate(fingerprint="f", names=("shop.example.com",), chain=b"nonsense", key=b"")
    assert shown(Certificates(MeshSettings(), [SHOP.certificate, nonsense]), "shop.example.com") == SHOP.der


def test_a_key_that_is_encrypted() -> None:
    """Nobody is asked for its password."""
    key = load_pem_private_key(SHOP.key, None)
    sealed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    with pytest.raises(ssl.SSLError):
        load_chain(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), msgspec.structs.replace(SHOP.certificate, key=sealed))


def test_loading_leaves_no_file_open() -> None:
    """Nor one on a disk."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        load_chain(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), SHOP.certificate)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# To targets.


async def test_a_target_is_verified_against_its_ca() -> None:
    """By the authority of the route, for the name that it is called."""
    context = await certificates().target_context(TargetTls(ca=AUTHORITY.pem))
    client, _ = shaken_strictly(SHOP, context)
    assert client.selected_alpn_protocol() is None
    with pytest.raises(ssl.SSLCertVerificationError):
        shaken_strictly(Authority().issue("shop.example.com"), context)
    with pytest.raises(ssl.SSLCertVerificationError):
        shaken_strictly(OTHER, context)


async def test_a_target_that_is_not_verified() -> None:
    """The operator said so."""
    context = await certificates().target_context(TargetTls(verify=False))
    shaken_strictly(Authority().issue("elsewhere.example"), context)


async def test_the_roots_of_the_system(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Where the route names no CA."""
    roots = tmp_path_factory.mktemp("roots") / "roots.pem"
    roots.write_text(AUTHORITY.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))
    shaken_strictly(SHOP, await certificates().target_context(TargetTls()))


async def test_a_target_that_wants_a_certificate() -> None:
    """One of the node's, found by a name."""
    mine = AUTHORITY.issue("node.example.com", for_client=True)
    wish = TargetTls(ca=AUTHORITY.pem, certificate="Node.example.com")
    context = await certificates(mine).target_context(wish)
    server = SHOP.server_context()
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(cadata=AUTHORITY.pem)
    _, end = shaken(server, context, "shop.example.com")
    assert end.getpeercert(binary_form=True) == mine.der
    with pytest.raises(Failure, match="no certificate"):
        await certificates().target_context(wish)


async def test_contexts_for_targets_are_remembered() -> None:
    """By what they hold, so that a certificate that is replaced is noticed."""
    mine, next_one = (AUTHORITY.issue("node.example.com", for_client=True) for _ in range(2))
    index = certificates(mine)
    wish = TargetTls(ca=AUTHORITY.pem, certificate="node.example.com")
    first = await index.target_context(wish)
    assert await index.target_context(TargetTls(ca=AUTHORITY.pem, certificate="node.example.com")) is first
    assert await index.target_context(wish, is_http2=True) is not first
    index.apply(delta(put=[next_one], removed=[mine]))
    assert await index.target_context(wish) is not first


async def test_http2_is_offered_where_it_is_spoken() -> None:
    """And nothing else beside it, since the exchange has decided."""
    context = await certificates().target_context(TargetTls(ca=AUTHORITY.pem), is_http2=True)
    server = SHOP.server_context()
    server.set_alpn_protocols(["http/1.1", "h2"])
    client, _ = shaken(server, context, "shop.example.com")
    assert client.selected_alpn_protocol() == "h2"


def shaken_strictly(issued: Issued, client: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """A handshake with `issued` as the target that is called shop.example.com; the client checks what it likes."""
    to_target, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_target, server_hostname="shop.example.com"),
        issued.server_context().wrap_bio(to_target, to_client, server_side=True),
    )
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends
