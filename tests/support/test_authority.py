"""What the authority signs holds against OpenSSL, and nothing else does."""

from __future__ import annotations

import ssl

import pytest

from tests.support.authority import Authority, Issued


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends of a handshake in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends


def test_a_certificate_is_trusted_for_its_names_by_who_trusts_the_authority() -> None:
    """Through an intermediate authority as well, and for RSA keys."""
    root = Authority()
    middle = Authority("Test Intermediate", root)
    for issued in (root.issue("a.example.com"), middle.issue("a.example.com", is_rsa=True)):
        client, _ = shake_hands(issued.server_context(), root.visitor_context("http/1.1"), "a.example.com")
        assert client.getpeercert(binary_form=True) == issued.der


@pytest.mark.parametrize("issued", [Authority().issue("b.example.com"), Authority("Other").issue("a.example.com")])
def test_another_name_and_another_authority_are_not_trusted(issued: Issued) -> None:
    """The visitor's context checks both."""
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(issued.server_context(), Authority().visitor_context(), "a.example.com")


def test_one_that_has_expired() -> None:
    """Days may be negative."""
    root = Authority()
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake_hands(root.issue("127.0.0.1", days=-1).server_context(), root.visitor_context(), "127.0.0.1")


def test_a_visitor_with_a_certificate() -> None:
    """It is shown to servers that ask."""
    root = Authority()
    mine = root.issue(common_name="me", for_client=True)
    server = root.issue("a.example.com").server_context()
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(cadata=root.pem)
    _, end = shake_hands(server, root.visitor_context(client=mine), "a.example.com")
    assert end.getpeercert(binary_form=True) == mine.der


def test_as_the_data_plane_is_told() -> None:
    """The fingerprint is that of the certificate, and the key is not shown."""
    certificate = Authority().issue("a.example.com").certificate
    assert certificate.names == ("a.example.com",)
    assert len(certificate.fingerprint) == 64
    assert "PRIVATE" not in repr(certificate)
