"""The sticky cookie: it names a target without saying where it is, and is only set when it has to be."""

from __future__ import annotations

import pytest

from mesh.affinity import Affinity
from mesh.policies import Sticky
from mesh.routes import Route

ADDRESSES = [f"http://10.0.0.{index}:8080" for index in range(20)]


class _Asks:
    """A visitor with a cookie, or with another one than ours."""

    def __init__(self, value: bytes = b"", *, is_secure: bool = False) -> None:
        self.address = b"192.0.2.1"
        self.is_secure = is_secure
        self._value = value

    def draw(self) -> float:
        return 0.0

    def field(self, name: bytes) -> bytes:
        return b""

    def cookie(self, name: bytes) -> bytes:
        return self._value if name == b"zexio_target" else b""


def _affinity(path_prefix: str = "/", host: str = "a", max_age_s: int = 0) -> Affinity:
    route = Route(host=host, targets=(), path_prefix=path_prefix, sticky=Sticky(max_age_s=max_age_s))
    return Affinity(route, ADDRESSES)


def _value(line: bytes) -> bytes:
    return line.partition(b"=")[2].partition(b";")[0]


def test_every_target_is_found_by_its_own_cookie() -> None:
    """What one worker said, every other worker understands."""
    told = [_value(_affinity().line(address, _Asks())) for address in ADDRESSES]
    assert [_affinity().find(_Asks(value)) for value in told] == list(range(20))


def test_the_cookie_does_not_say_where_the_target_is() -> None:
    """It is short, and differs from route to route."""
    values = {_value(_affinity(host=host).line(ADDRESSES[0], _Asks())) for host in ("a", "b", "c")}
    assert len(values) == 3
    assert {len(value) for value in values} == {6}


@pytest.mark.parametrize("value", [b"", b"nonsense", b"00"])
def test_other_cookies_name_nobody(value: bytes) -> None:
    """Visitors send what they like."""
    assert _affinity().find(_Asks(value)) is None


def test_a_visitor_who_knows_the_target_is_not_told_again() -> None:
    """A new target is told."""
    affinity = _affinity()
    known = _Asks(_value(affinity.line(ADDRESSES[3], _Asks())))
    assert affinity.line(ADDRESSES[3], known) == b""
    assert affinity.line(ADDRESSES[4], known) != b""


@pytest.mark.parametrize(
    ("path_prefix", "is_secure", "max_age_s", "attributes"),
    [
        ("/", False, 0, b"Path=/; HttpOnly; SameSite=Lax"),
        ("/api", True, 0, b"Path=/api; HttpOnly; SameSite=Lax; Secure"),
        ("/", True, 600, b"Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=600"),
        ("/a;b", False, 600, b"Path=/; HttpOnly; SameSite=Lax; Max-Age=600"),
        ("/z\u00fcrich", False, 0, b"Path=/; HttpOnly; SameSite=Lax"),
    ],
)
def test_the_attributes_of_the_cookie(path_prefix: str, is_secure: bool, max_age_s: int, attributes: bytes) -> None:
    """It is sent for the route alone, where a cookie can say so, and over TLS alone when it came that way."""
    line = _affinity(path_prefix, max_age_s=max_age_s).line(ADDRESSES[0], _Asks(is_secure=is_secure))
    assert line == b"Set-Cookie: zexio_target=%b; %b\r\n" % (_value(line), attributes)
