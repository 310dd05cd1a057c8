"""Who has the right name and password, how seldom that is computed, and that wrong ones learn nothing."""

from __future__ import annotations

from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from mesh.credentials import KNOWN_S, REFUSED, REFUSED_S, Credentials, challenge
from mesh.policies import BasicAuth

NOW = 1000.0
MANY = 3000


def _encoded(password: str, salt: bytes = b"saltsalt") -> str:
    """A hash with parameters that only a test may use."""
    return Argon2id(salt=salt, length=16, iterations=1, lanes=1, memory_cost=8).derive_phc_encoded(password.encode())


AUTH = BasicAuth(
    users=(("anna", _encoded("secret")), ("jörg", _encoded("pass:wörd")), ("eve", _encoded("")), ("bad", "no hash"))
)


def _basic(name: str, password: str, scheme: bytes = b"Basic ") -> bytes:
    return scheme + b64encode(f"{name}:{password}".encode())


@pytest.fixture
def credentials() -> Credentials:
    """The users above, of whom nobody has come yet."""
    return Credentials(AUTH)


@pytest.mark.parametrize(
    ("authorization", "name"),
    [
        (_basic("anna", "secret"), "anna"),
        (_basic("anna", "secret", b"bAsIC "), "anna"),
        (_basic("anna", "secret", b"Basic   "), "anna"),
        (_basic("jörg", "pass:wörd"), "jörg"),
        (_basic("eve", ""), "eve"),
        (_basic("anna", "secret "), REFUSED),
        (_basic("anna", ""), REFUSED),
        (_basic("Anna", "secret"), REFUSED),
        (_basic("nobody", "secret"), REFUSED),
        (_basic("", "secret"), REFUSED),
        (_basic("bad", "no hash"), REFUSED),
        (b"Basic " + "jörg:pass:wörd".encode("latin-1").hex().encode(), REFUSED),
        (b"Basic " + b64encode("jörg:pass:wörd".encode("latin-1")), REFUSED),
        (b"Basic " + b64encode(b"anna"), REFUSED),
        (b"Basic YW5uYTpzZWNyZXQ", REFUSED),
        (b"Basic !!!!", REFUSED),
        (b"Basic", REFUSED),
        (b"", REFUSED),
        (b"Bearer " + b64encode(b"anna:secret"), REFUSED),
        (b"Basically " + b64encode(b"anna:secret"), REFUSED),
    ],
)
def test_a_name_and_a_password_are_right_or_not(credentials: Credentials, authorization: bytes, name: str) -> None:
    """In UTF-8, with the first colon between them."""
    assert credentials.check(authorization) == name


def test_a_route_without_users_lets_nobody_in() -> None:
    """Not even the empty name."""
    credentials = Credentials(BasicAuth(users=(("", _encoded("secret")),)))
    assert [credentials.check(_basic(name, "secret")) for name in ("", "anna")] == [REFUSED, REFUSED]


def test_a_name_that_is_unknown_is_judged_by_another_hash() -> None:
    """And takes as long; the password that fits there helps nobody."""
    credentials = Credentials(BasicAuth(users=(("anna", _encoded("secret")),)))
    assert credentials.check(_basic("nobody", "secret")) == REFUSED


@pytest.mark.parametrize(
    ("authorization", "lasts_s"), [(_basic("anna", "secret"), KNOWN_S), (_basic("anna", "wrong"), REFUSED_S)]
)
def test_what_was_found_is_known_for_a_while(credentials: Credentials, authorization: bytes, lasts_s: float) -> None:
    """Right and wrong ones alike."""
    assert credentials.known(authorization, NOW) is None
    found = credentials.check(authorization)
    credentials.remember(authorization, found, NOW)
    times = (NOW, NOW + lasts_s - 1, NOW + lasts_s)
    assert [credentials.known(authorization, now) for now in times] == [found, found, None]


def test_what_is_remembered_is_one_header_only(credentials: Credentials) -> None:
    """Another spelling of the scheme is the same header, another password is not."""
    credentials.remember(_basic("anna", "secret"), "anna", NOW)
    assert credentials.known(_basic("anna", "secret", b"BASIC  "), NOW) == "anna"
    assert credentials.known(_basic("anna", "secret2"), NOW) is None


@pytest.mark.parametrize("other", [b"", b"Bearer abc", b"Digest username=anna"])
def test_another_scheme_is_refused_at_once(credentials: Credentials, other: bytes) -> None:
    """There is nothing to compute, and nothing to remember."""
    assert credentials.known(other, NOW) == REFUSED
    credentials.remember(other, "anna", NOW)
    assert credentials.known(other, NOW) == REFUSED


def test_wrong_guesses_push_nobody_out(credentials: Credentials) -> None:
    """The memory of refusals is bounded, and apart from that of users."""
    credentials.remember(_basic("anna", "secret"), "anna", NOW)
    for number in range(MANY):
        credentials.remember(_basic("anna", f"guess {number}"), REFUSED, NOW)
    assert credentials.known(_basic("anna", "secret"), NOW) == "anna"
    guesses = [credentials.known(_basic("anna", f"guess {number}"), NOW) for number in range(MANY)]
    assert (guesses[0], guesses[-1]) == (None, REFUSED)
    assert guesses.count(REFUSED) < MANY


def test_what_was_found_last_counts(credentials: Credentials) -> None:
    """It moves to the end of the row as well."""
    first = _basic("anna", "secret")
    credentials.remember(first, "anna", NOW)
    for number in range(1023):
        credentials.remember(_basic("anna", f"{number}"), "anna", NOW)
    credentials.remember(first, "anna", NOW + 1)
    credentials.remember(_basic("anna", "one more"), "anna", NOW + 1)
    assert credentials.known(first, NOW + KNOWN_S) == "anna"
    assert credentials.known(_basic("anna", "0"), NOW + 1) is None


@pytest.mark.parametrize(
    ("realm", "value"),
    [
        ("Restricted", 'Basic realm="Restricted", charset="UTF-8"'),
        ('a "b" \\', 'Basic realm="a \\"b\\" \\\\", charset="UTF-8"'),
        ("Büro\r\nX: 1", 'Basic realm="B?ro??X: 1", charset="UTF-8"'),
    ],
)
def test_the_challenge_names_the_realm(realm: str, value: str) -> None:
    """As a quoted string that cannot end early."""
    assert challenge(realm) == value
