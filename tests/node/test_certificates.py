"""Certificates in files: what they cover, in which order they are shown, and what is wrong with them."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from mesh.routes import Certificate
from mesh.tls import load_chain
from node.certificates import CertificateError, load
from tests.support.authority import Authority, Issued

ROOT = Authority()
MIDDLE = Authority("Test Intermediate", ROOT)
SHOP = MIDDLE.issue("shop.example.com", "*.Example.net", "192.0.2.1", "2001:db8::1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the certificate is."""
    return tmp_path / "shop.pem"


def loaded(path: Path) -> Certificate:
    """The one certificate; OpenSSL takes it too."""
    (certificate,) = load([path])
    load_chain(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate)
    return certificate


def blocks(pem: bytes) -> int:
    """How many certificates there are."""
    return pem.count(b"BEGIN CERTIFICATE")


def test_a_chain_and_its_key_in_one_file(path: Path) -> None:
    """The names are those of the extension, folded; the fingerprint is that of the certificate."""
    certificate = loaded(SHOP.write(path))
    assert certificate.names == ("shop.example.com", "*.example.net", "192.0.2.1", "2001:db8::1")
    assert certificate.fingerprint == SHOP.certificate.fingerprint
    assert certificate.chain == SHOP.chain
    assert certificate.key == SHOP.key


def test_the_key_first(path: Path) -> None:
    """Some programs write it so."""
    path.write_bytes(SHOP.key + SHOP.chain)
    assert loaded(path).chain == SHOP.chain


@pytest.mark.parametrize("name", ["shop.crt", "shop.pem", "shop"])
def test_the_key_beside_the_chain(tmp_path: Path, name: str) -> None:
    """In a file of the same name with `.key`."""
    (tmp_path / name).write_bytes(SHOP.chain)
    (tmp_path / "shop.key").write_bytes(SHOP.key)
    assert loaded(tmp_path / name).key == SHOP.key


def test_a_chain_in_disorder(path: Path) -> None:
    """The certificate itself goes first, strangers and the root are left out."""
    root, middle = ROOT.pem.encode(), SHOP.chain.removeprefix(SHOP.leaf.encode())
    path.write_bytes(root + ROOT.issue("other.example").chain + middle + SHOP.leaf.encode() + SHOP.key)
    assert loaded(path).chain == SHOP.chain


def test_a_certificate_that_signed_itself(path: Path) -> None:
    """It is its own chain."""
    issued = ROOT.issue("a.example")
    assert blocks(loaded(issued.write(path)).chain) == 1


def test_other_kinds_of_keys(path: Path) -> None:
    """RSA is the oldest."""
    assert loaded(ROOT.issue("a.example", is_rsa=True).write(path)).names == ("a.example",)


def test_a_common_name_counts_where_there_is_nothing_else(path: Path) -> None:
    """As in certificates of old appliances."""
    assert loaded(ROOT.issue(common_name="Old.example").write(path)).names == ("old.example",)
    assert loaded(ROOT.issue("new.example", common_name="old.example").write(path)).names == ("new.example",)


def test_several_files(tmp_path: Path) -> None:
    """In their order."""
    issued = [ROOT.issue(f"{name}.example") for name in "ab"]
    found = load(one.write(tmp_path / f"{index}.pem") for index, one in enumerate(issued))
    assert [certificate.names for certificate in found] == [("a.example",), ("b.example",)]


@pytest.mark.parametrize(("days", "events"), [(-1, ["the certificate has expired"]), (10, [])])
def test_one_that_has_expired_is_shown_all_the_same(path: Path, days: int, events: list[str]) -> None:
    """With a warning: an edge that does not start helps nobody."""
    with structlog.testing.capture_logs() as logs:
        assert loaded(ROOT.issue("a.example", days=days).write(path)).names == ("a.example",)
    assert [log["event"] for log in logs] == events


def test_one_that_is_never_shown_is_told(tmp_path: Path) -> None:
    """Its names are all in others that last longer; the same one twice, or one with a name of its own, is no matter."""
    files = {
        "old": MIDDLE.issue("shop.example.com", days=5),
        "wide": MIDDLE.issue("shop.example.com", "www.example.com", days=6),
        "new": SHOP,
        "again": SHOP,
    }
    with structlog.testing.capture_logs() as logs:
        load([issued.write(tmp_path / f"{name}.pem") for name, issued in files.items()])
    assert [(entry["path"], entry["others"]) for entry in logs] == [
        (str(tmp_path / "old.pem"), [str(tmp_path / "again.pem")])
    ]


def _sealed(issued: Issued) -> bytes:
    key = load_pem_private_key(issued.key, None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


def _another_kind() -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _weak() -> bytes:
    key, name = rsa.generate_private_key(65537, 1024), x509.Name([])  # noqa: S505 - that is the point
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("weak.example")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + dt.timedelta(days=9))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM) + plain


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (_weak(), "{path}: no handshake would succeed with it: ee key too small"),
        (b"", "{path} holds no certificate in PEM form"),
        (SHOP.key, "{path} holds no certificate in PEM form"),
        (
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "{path} holds a certificate that cannot be read",
        ),
        (SHOP.chain, "{path} holds no key, and there is no {key}"),
        (SHOP.chain + ROOT.issue("b.example").key, "{path}: no certificate in it belongs to the key in {path}"),
        (SHOP.chain + _another_kind(), "{path}: no certificate in it belongs to the key in {path}"),
        (SHOP.chain + _sealed(SHOP), "{path}: the key is encrypted; write it without a password"),
        (SHOP.chain + SHOP.key.replace(b"M", b"N", 1), "{path} holds no key that can be read"),
        (b" " * 1_100_000, "{path} is too long to be a certificate"),
    ],
)
def test_what_is_wrong_is_said(path: Path, content: bytes, problem: str) -> None:
    """With the name of the file, and nothing of the key."""
    path.write_bytes(content)
    with pytest.raises(CertificateError) as caught:
        load([path])
    assert str(caught.value) == problem.format(path=path, key=path.with_suffix(".key"))


def test_a_key_beside_that_belongs_to_another(path: Path) -> None:
    """Both files are named."""
    path.write_bytes(SHOP.chain)
    path.with_suffix(".key").write_bytes(ROOT.issue("b.example").key)
    with pytest.raises(CertificateError, match=rf"{path}: no certificate .* the key in {path.with_suffix('.key')}"):
        load([path])


def test_a_file_that_is_not_there(path: Path) -> None:
    """The system says so."""
    with pytest.raises(FileNotFoundError, match=str(path)):
        load([path])
