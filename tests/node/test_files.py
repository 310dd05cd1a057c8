"""Files that settings name: read as a whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from node.files import MAX_PAGE_BYTES, Files, read_files
from node.settings import CannotStart, Settings, load
from tests.state.samples import NOON


def settings(tmp_path: Path, **environ: str) -> Settings:
    """Settings with these variables."""
    return load(None, {name.upper(): text for name, text in environ.items()}, {"--data": str(tmp_path)})


def certificate(path: Path, name: str) -> Path:
    """A file with a certificate for `name`, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([])
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(NOON)
        .not_valid_after(NOON.replace(year=2040))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
        .sign(key, hashes.SHA256())
    )
    pkcs8 = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(*pkcs8))
    return path


def test_nothing_is_read_where_nothing_is_named(tmp_path: Path) -> None:
    """A node needs no file."""
    assert read_files(settings(tmp_path)) == Files()


def test_files_are_given_by_content(tmp_path: Path) -> None:
    """The data plane reads none itself."""
    pem = certificate(tmp_path / "a.pem", "*.a.example")
    (tmp_path / "error.html").write_text("<p>{status} für</p>")
    wanted = settings(
        tmp_path,
        zexio_tls_certificates=str(pem),
        zexio_tls_default="shop.a.example",
        zexio_mesh_error_page=str(tmp_path / "error.html"),
    )
    files = read_files(wanted)
    assert [each.names for each in files.certificates] == [("*.a.example",)]
    assert files.error_page == "<p>{status} für</p>"


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("tls_certificates", "absent.pem", "tls.certificates: {folder}/absent.pem cannot be read"),
        ("tls_certificates", "wrong", "tls.certificates: {folder}/wrong"),
        ("mesh_error_page", "absent.html", "mesh.error_page: {folder}/absent.html cannot be read"),
        ("mesh_error_page", "latin", "mesh.error_page: {folder}/latin is no text in UTF-8"),
        ("mesh_error_page", "large", "mesh.error_page: {folder}/large is larger than"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, name: str, text: str, reason: str) -> None:
    """The setting and the file."""
    (tmp_path / "wrong").write_text("no certificate, PRIVATE KEY")
    (tmp_path / "latin").write_bytes(b"f\xfcr")
    (tmp_path / "large").write_bytes(b" " * (MAX_PAGE_BYTES + 1))
    with pytest.raises(CannotStart) as caught:
        read_files(settings(tmp_path, **{f"zexio_{name}": str(tmp_path / text)}))
    assert str(caught.value).startswith(reason.format(folder=tmp_path))


def test_the_default_is_a_name_that_is_covered(tmp_path: Path) -> None:
    """Otherwise visitors would get no certificate, and nobody would know why."""
    pem = certificate(tmp_path / "a.pem", "a.example")
    with pytest.raises(CannotStart, match=r"tls\.default: b\.example is in no certificate"):
        read_files(settings(tmp_path, zexio_tls_certificates=str(pem), zexio_tls_default="b.example"))


def test_the_default_may_be_a_name_whose_certificate_is_to_come(tmp_path: Path) -> None:
    """The node obtains it itself."""
    read_files(settings(tmp_path, zexio_certs_names="b.example", zexio_tls_default="B.example"))
