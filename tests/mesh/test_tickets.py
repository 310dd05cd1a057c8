"""Session tickets: what one worker gave, another one takes."""

from __future__ import annotations

import ssl

import pytest

from mesh.tickets import period, prepare, share
from tests.support.authority import Authority

NAME = "shop.example.com"


def _shake(
    client: ssl.SSLContext, server: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[bool, ssl.SSLSession]:
    """A handshake in memory, and a byte that brings the ticket; whether the session was taken up, and the new one."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    visitor = client.wrap_bio(to_client, to_server, server_hostname=NAME, session=session)
    worker = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(3):
        for side in (visitor, worker):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    worker.write(b"x")
    assert visitor.read(1) == b"x"
    assert visitor.session is not None
    return visitor.session_reused, visitor.session


def _server(authority: Authority, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = authority.issue(NAME).server_context()
    context.maximum_version = version
    return context


@pytest.mark.skipif(not prepare(), reason="this Python has its OpenSSL built in: tickets cannot be shared")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_goes_on_at_another_worker(version: ssl.TLSVersion) -> None:
    """As long as both have the same secret, and the label is the same."""
    authority = Authority()
    one, other, stranger = (_server(authority, version) for _ in range(3))
    client = authority.visitor_context()
    assert share(one, b"s" * 32, b"1")
    assert share(other, b"s" * 32, b"1")
    assert share(stranger, b"s" * 32, b"2")
    _, session = _shake(client, one, None)
    assert _shake(client, other, session)[0]
    assert not _shake(client, stranger, session)[0]


def test_a_period_lasts_twelve_hours() -> None:
    """Then tickets are made with another key."""
    assert period(0) == period(43_199) == 0
    assert period(43_200) == 1
