"""What is known of a visitor's connection before the first request."""

from __future__ import annotations

import pytest

from mesh.arrival import TlsFacts


@pytest.mark.parametrize(
    ("host", "is_covered"),
    [
        (b"a.example.com", True),
        (b"b.a.example.com", False),
        (b"example.com", False),
        (b"shop.example.org", True),
        (b"example.org", False),
        (b"com", False),
        (b"192.0.2.1", True),
    ],
)
def test_a_certificate_covers_its_names(host: bytes, is_covered: bool) -> None:
    """A wildcard stands for one label (RFC 9525 section 6.3)."""
    names = frozenset({b"*.example.com", b"shop.example.org", b"192.0.2.1"})
    assert TlsFacts("TLSv1.3", "", "a.example.com", names).covers(host) is is_covered
