"""What is read from a token, and from what is none; the attacks are in tests/adversity/token_cases.py."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.routes import AccessKeys
from mesh.tokens import MAX_JSON_DEPTH, Claims, TokenRefused, names_issuer, read, strict_base64url, strict_json
from tests.support.tokens import ISSUER, NOW, STRANGER, access_keys, base64url, claims, encode, mint, signing_input

RULES = access_keys()


def test_a_token_is_read() -> None:
    """Header and claims come out as values, with the window in which they hold."""
    token = mint(claims(nbf=NOW - 10, workerId="worker-1"), "rsa-1")
    parts = read(token, RULES, NOW)
    assert (parts.algorithm, parts.kid) == ("RS256", "rsa-1")
    assert parts.claims == Claims("org_a", "user_1", "web", "api", "worker-1", NOW + 3600)
    assert (parts.valid_from, parts.valid_until) == (NOW - 30, NOW + 3630)
    assert parts.signing_input + b"." + base64url(parts.signature) == token


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "AT+JWT"])
def test_types_of_tokens(kind: str) -> None:
    """RFC 7515 section 4.1.9: types are compared without case."""
    assert read(mint(claims(), typ=kind), RULES, NOW).kid is None


@pytest.mark.parametrize(
    ("change", "now", "is_accepted"),
    [
        ({"exp": NOW}, NOW + 29.9, True),
        ({"exp": NOW}, NOW + 30, False),
        ({"exp": NOW + 0.5}, NOW + 30.4, True),
        ({"nbf": NOW}, NOW - 30, True),
        ({"nbf": NOW}, NOW - 30.1, False),
        ({"iat": NOW + 30}, NOW, True),
        ({"iat": NOW + 30.1}, NOW, False),
        ({"exp": 253_402_300_799}, NOW, True),
        ({"exp": 253_402_300_800}, NOW, False),
        ({"iat": 0, "nbf": 0}, NOW, True),
    ],
)
def test_edges_of_time(change: dict[str, object], now: float, *, is_accepted: bool) -> None:
    """`exp` has to lie after now and `nbf` not after it, both with the leeway (RFC 7519 section 4.1)."""
    assert accepts(mint(claims(NOW - 100, exp=NOW + 100) | change), now) == is_accepted


def test_only_a_token_that_is_not_valid_yet_may_become_acceptable() -> None:
    """Other refusals can be remembered."""
    for change, is_lasting in (({"nbf": NOW + 60}, False), ({"iat": NOW + 60}, False), ({"exp": NOW - 60}, True)):
        with pytest.raises(TokenRefused) as refused:
            read(mint(claims() | change), RULES, NOW)
        assert refused.value.lasting == is_lasting


@pytest.mark.parametrize(("iat", "is_accepted"), [(NOW - 1, True), (NOW - 3600, False), (None, False)])
def test_a_lifetime_can_be_limited(iat: int | None, *, is_accepted: bool) -> None:
    """With a limit, `iat` says when the life began, so it is needed."""
    rules = msgspec.structs.replace(RULES, max_lifetime_s=3600.0)
    payload = claims(exp=NOW + 3599)
    del payload["iat"]
    token = mint(payload if iat is None else payload | {"iat": iat})
    assert accepts(token, NOW, rules) == is_accepted


def test_what_is_not_ours_to_judge_is_ignored() -> None:
    """Unknown claims and header parameters carry no meaning here (RFC 7515 section 4, RFC 7519 section 4)."""
    token = mint(claims(sub="1", scope=["a"], act={"iss": "x"}, aud="api", workerId=None), x5t="abc", note=1)
    assert read(token, RULES, NOW).claims.worker_id is None


def test_nesting_up_to_the_limit() -> None:
    """Brackets within strings are no nesting."""
    deep = b"[" * MAX_JSON_DEPTH + b"]" * MAX_JSON_DEPTH
    assert strict_json(deep) is not None
    assert strict_json(encode(["[{" * 50, '\\"[' * 50, [[]] * 50])) is not None
    with pytest.raises(TokenRefused, match="deep"):
        strict_json(b"[" + deep + b"]")


@given(st.binary(max_size=40))
def test_octets_have_one_spelling(octets: bytes) -> None:
    """Strict base64url reads what it wrote, and refuses every other last character."""
    segment = base64url(octets)
    assert strict_base64url(segment) == octets
    for last in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/":
        try:
            assert base64url(strict_base64url(segment[:-1] + bytes([last]))) == segment[:-1] + bytes([last])
        except TokenRefused:
            continue


WHOSE = {
    "nothing": (b"", False),
    "opaque": (b"opaque", False),
    "short parts": (b"a.b.c", False),
    "dots": (b"." * 8000, False),
    "no JSON": (b"x." + b"A" * 8000, False),
    "ours further in": (mint(claims(iss="application", act={"iss": ISSUER})), False),
    "valid": (mint(claims()), True),
    "of a stranger": (mint(claims(orgId=STRANGER)), True),
    "unsigned": (mint(claims(), alg="none"), True),
    "second of two": (b"Bearer x, Bearer " + mint(claims()), True),
    "escaped and indented": (b"x." + base64url(b' \n{"\\u0069ss":"zexio-service-mesh"}') + b".", True),
    "cut off": (b"x." + base64url(b'{"iss":"zexio-service-mesh","a":1'), True),
    "too deep": (b"x." + base64url(b'{"iss":"zexio-service-mesh","a":' + b"[" * 5000), True),
    "many parts": (b".".join([b"x" * 40] * 17), False),
    "too many parts": (b".".join([b"x" * 40] * 18), True),
}


@pytest.mark.parametrize(("credentials", "is_ours"), WHOSE.values(), ids=WHOSE)
def test_whose_token_it_is(credentials: bytes, *, is_ours: bool) -> None:
    """Whatever can be read as claims of our issuer is ours, and so is what would take too long to look through."""
    assert names_issuer(credentials, ISSUER) == is_ours


def test_an_issuer_beyond_ascii() -> None:
    """An issuer is any string."""
    issuer = "évident \u2603"
    assert names_issuer(signing_input({}, encode({"iss": issuer})), issuer)
    assert names_issuer(b"x." + base64url(f'{{"iss":"{issuer}"}}'.encode()), issuer)


def test_the_size_is_limited_before_anything_is_decoded() -> None:
    """Whoever calls it."""
    token = mint(claims())
    assert accepts(token, NOW, msgspec.structs.replace(RULES, max_token_bytes=len(token)))
    assert not accepts(token, NOW, msgspec.structs.replace(RULES, max_token_bytes=len(token) - 1))


def accepts(token: bytes, now: float, rules: AccessKeys = RULES) -> bool:
    """Whether the token can be read."""
    try:
        read(token, rules, now)
    except TokenRefused:
        return False
    return True
