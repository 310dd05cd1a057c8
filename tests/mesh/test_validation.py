"""TLS-ALPN-01: authorities are shown what was made for them, and everybody else what they came for."""

from __future__ import annotations

import asyncio
import hashlib
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from mesh.core import Core
from mesh.routes import Certificate, Challenges, Delta, MeshSettings, Snapshot
from tests.support.authority import Authority, Issued
from tests.support.client import Visitor
from tests.support.mesh_node import HOST, MeshUnderTest, route_to, start_mesh
from tests.support.origin import Origin
from tests.support.secure_visitor import SecureVisitor
from tests.support.stage import request, until

ACME = "acme-tls/1"
OID = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
DIGEST = hashlib.sha256(b"token.account").digest()
AUTHORITY = Authority()
SHOP = AUTHORITY.issue(HOST)
GET = request(b"GET / HTTP/1.1")
NO_APPLICATION_PROTOCOL = b"\x15\x03\x03\x00\x02\x02\x78"
UNRECOGNIZED_NAME = b"\x15\x03\x03\x00\x02\x02\x70"


def validating(name: str = HOST) -> Issued:
    """A certificate as section 3 of RFC 8737 wants it: its own issuer, for one name, with the digest, critical."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "validation")])
    times = x509.load_pem_x509_certificate(SHOP.chain)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(times.not_valid_before_utc)
        .not_valid_after(times.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.UnrecognizedExtension(OID, b"\x04\x20" + DIGEST), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Issued(names=(name,), chain=made.public_bytes(Encoding.PEM), key=private)


VALIDATION = validating()
PENDING = Challenges(validations=(VALIDATION.certificate,))


async def start(*certificates: Issued, settings: MeshSettings | None = None) -> MeshUnderTest:
    """A proxy that has these, or one for the shop, and is being validated for it."""
    given = tuple(one.certificate for one in certificates or (SHOP,))
    mesh = await start_mesh(certificates=given, settings=settings)
    mesh.apply(Delta(revision=2, challenges=PENDING))
    return mesh


def authority(*alpn: str) -> ssl.SSLContext:
    """A client that believes everything, as authorities do here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(alpn or (ACME,))
    return context


async def alert(port: int, context: ssl.SSLContext, name: str = HOST) -> bytes:
    """What the hello is answered with, as it is on the wire."""
    visitor = SecureVisitor(await Visitor.connect(port), context, name)
    async with visitor:
        with pytest.raises(ssl.SSLWantReadError):
            visitor.tls.do_handshake()
        await visitor.flush()
        return await visitor.wire.octets(100)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("fragment", [0, 1])
async def test_an_authority_sees_the_certificate_and_the_connection_ends(
    version: ssl.TLSVersion, fragment: int
) -> None:
    """As it should, and without a ticket: nobody counts it as a failure, or as a visitor."""
    async with await start() as mesh:
        context = authority()
        context.minimum_version = context.maximum_version = version
        visitor = SecureVisitor(await Visitor.connect(mesh.tls_port), context, HOST)
        async with visitor:
            await visitor.shake_hands(fragment)
            assert visitor.tls.selected_alpn_protocol() == ACME
            shown = x509.load_der_x509_certificate(visitor.tls.getpeercert(binary_form=True) or b"")
            extension = shown.extensions.get_extension_for_oid(OID)
            assert extension.critical
            assert isinstance(extension.value, x509.UnrecognizedExtension)
            assert extension.value.value[2:] == DIGEST
            assert await visitor.receive_all() == b""
            assert visitor.tls.session is None or not visitor.tls.session.has_ticket
            assert await visitor.wire.end() == "closed"
        counters = mesh.core.counters
        await until(lambda: not mesh.core._newcomers)
        assert (counters.handshakes, counters.handshake_failures, counters.causes) == (1, 0, {})
        assert not mesh.core.visitors


async def test_other_visitors_of_the_name_keep_their_certificate() -> None:
    """Those who are here and those who come, also who speaks acme-tls/1 besides."""
    async with Origin() as origin, await start() as mesh:
        mesh.apply(Delta(revision=3, put=(route_to(origin.port),)))
        async with await SecureVisitor.connect(mesh.tls_port, AUTHORITY.visitor_context(), HOST) as shopper:
            async with await SecureVisitor.connect(mesh.tls_port, authority(), HOST) as visitor:
                assert visitor.tls.getpeercert(binary_form=True) == VALIDATION.der
            for alpn in ((), ("http/1.1",), (ACME, "http/1.1"), ("h2", ACME)):
                context = AUTHORITY.visitor_context(*alpn)
                async with await SecureVisitor.connect(mesh.tls_port, context, HOST) as visitor:
                    assert visitor.tls.getpeercert(binary_form=True) == SHOP.der
                    assert visitor.tls.selected_alpn_protocol() != ACME
            await shopper.send(GET)
            assert b"200 OK" in await shopper.receive_until(b"\r\n\r\n")


async def test_names_that_are_not_validated() -> None:
    """They have no protocol of that name, or no certificate at all."""
    async with await start(SHOP, AUTHORITY.issue("other.example.org")) as mesh:
        assert await alert(mesh.tls_port, authority(), "other.example.org") == NO_APPLICATION_PROTOCOL
        assert await alert(mesh.tls_port, authority(), "nobody.example.org") == UNRECOGNIZED_NAME
        assert await alert(mesh.tls_port, authority(), "") == UNRECOGNIZED_NAME
        mesh.apply(Delta(revision=3, challenges=Challenges()))
        assert await alert(mesh.tls_port, authority()) == NO_APPLICATION_PROTOCOL
        await until(lambda: mesh.core.counters.handshake_failures == 4)


async def test_a_name_is_validated_before_it_has_any_certificate() -> None:
    """That is the first thing that happens to it; in capitals too."""
    new = validating("new.example.org")
    async with await start() as mesh:
        mesh.apply(Delta(revision=3, challenges=Challenges(validations=(VALIDATION.certificate, new.certificate))))
        for name in ("new.example.org", "NEW.Example.ORG"):
            async with await SecureVisitor.connect(mesh.tls_port, authority(), name) as visitor:
                assert visitor.tls.getpeercert(binary_form=True) == new.der


async def test_an_authority_may_know_no_more_than_tls_1_2() -> None:
    """Whatever visitors have to speak."""
    async with await start(settings=MeshSettings(tls_min_version="1.3")) as mesh:
        context = authority()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        async with await SecureVisitor.connect(mesh.tls_port, context, HOST) as visitor:
            assert visitor.tls.version() == "TLSv1.2"


async def test_a_validation_that_comes_with_the_snapshot() -> None:
    """A worker that has just started answers like the others."""
    core = Core(Snapshot(revision=1, challenges=PENDING))
    server = await asyncio.get_running_loop().create_server(core.secured_visitor, "127.0.0.1", 0)
    async with (
        MeshUnderTest(core, server) as mesh,
        await SecureVisitor.connect(mesh.port, authority(), HOST) as visitor,
    ):
        assert visitor.tls.getpeercert(binary_form=True) == VALIDATION.der


async def test_a_certificate_that_is_no_good_is_none() -> None:
    """The authority is told that nobody speaks its protocol here."""
    broken = Certificate(fingerprint="b", names=(HOST,), chain=VALIDATION.chain, key=SHOP.key)
    async with await start() as mesh:
        mesh.apply(Delta(revision=3, challenges=Challenges(validations=(broken,))))
        assert await alert(mesh.tls_port, authority()) == NO_APPLICATION_PROTOCOL


async def test_somebody_who_only_begins_is_sent_away() -> None:
    """When the time for a handshake is up."""
    async with await start(settings=MeshSettings(tls_handshake_s=0.1)) as mesh:
        visitor = SecureVisitor(await Visitor.connect(mesh.tls_port), authority(), HOST)
        async with visitor:
            with pytest.raises(ssl.SSLWantReadError):
                visitor.tls.do_handshake()
            await visitor.flush()
            assert await visitor.wire.end() != "open"
        await until(lambda: mesh.core.counters.handshake_failures == 1)
        assert not mesh.core._newcomers


@pytest.mark.parametrize("rest", [b"\x17\x03\x03\x00\x10" + bytes(16), b"nonsense"])
async def test_nonsense_instead_of_the_rest_of_the_handshake(rest: bytes) -> None:
    """An alert, an end, and a failure that is counted once."""
    async with await start() as mesh:
        visitor = SecureVisitor(await Visitor.connect(mesh.tls_port), authority(), HOST)
        async with visitor:
            with pytest.raises(ssl.SSLWantReadError):
                visitor.tls.do_handshake()
            await visitor.flush()
            await visitor.wire.octets(1)
            await visitor.wire.send(rest)
            await visitor.wire.send(b"more")
            assert await visitor.wire.end() != "open"
        await until(lambda: not mesh.core._newcomers)
        assert (mesh.core.counters.handshakes, mesh.core.counters.handshake_failures) == (0, 1)


@pytest.mark.parametrize("how", ["close", "reset", "half_close"])
async def test_somebody_who_leaves_in_the_middle(how: str) -> None:
    """It is counted and forgotten, as any other visitor."""
    async with await start() as mesh:
        visitor = SecureVisitor(await Visitor.connect(mesh.tls_port), authority(), HOST)
        async with visitor:
            with pytest.raises(ssl.SSLWantReadError):
                visitor.tls.do_handshake()
            await visitor.flush()
            await visitor.wire.octets(1)
            getattr(visitor.wire, how)()
            await until(lambda: not mesh.core._newcomers)
        assert (mesh.core.counters.handshakes, mesh.core.counters.handshake_failures) == (0, 1)


async def test_what_was_made_for_a_validation_goes_with_it() -> None:
    """Contexts are made when an authority comes, and kept as long as it may come again."""
    async with await start() as mesh:
        certificates = mesh.core.certificates
        assert certificates._validation_contexts == {}
        async with await SecureVisitor.connect(mesh.tls_port, authority(), HOST):
            pass
        (context,) = certificates._validation_contexts.values()
        more = Challenges(validations=(VALIDATION.certificate, validating("new.example.org").certificate))
        mesh.apply(Delta(revision=3, challenges=more))
        assert certificates.validation_for(HOST) is context
        mesh.apply(Delta(revision=4, challenges=Challenges()))
        assert certificates._validation_contexts == {}


async def test_draining_turns_authorities_away_too() -> None:
    """They come again, to another worker."""
    async with await start() as mesh:
        visitor = SecureVisitor(await Visitor.connect(mesh.tls_port), authority(), HOST)
        async with visitor:
            await until(lambda: mesh.core._newcomers)
            mesh.core.is_draining = True
            with pytest.raises(ssl.SSLWantReadError):
                visitor.tls.do_handshake()
            await visitor.flush()
            assert await visitor.wire.end() != "open"
        await until(lambda: not mesh.core._newcomers)


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_a_client_of_others_sees_what_an_authority_sees(version: str) -> None:
    """As one would look by hand; it sends its own goodbye when ours has come."""
    async with await start() as mesh:
        target = f"127.0.0.1:{mesh.tls_port}"
        process = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-connect", target, "-servername", HOST, "-alpn", ACME, version),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(10):
            assert process.stdout is not None
            said = (await process.stdout.read()).decode()
            await process.wait()
        assert f"ALPN protocol: {ACME}" in said
        assert "".join(VALIDATION.chain.decode().split()) in "".join(said.split())
        assert "alert" not in said.lower(), said
        assert (mesh.core.counters.handshakes, mesh.core.counters.handshake_failures) == (1, 0)
