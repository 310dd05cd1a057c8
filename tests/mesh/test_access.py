"""Decision 9 of contracts/plane.md, and the cache that makes it cheap."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.access import ANONYMOUS, APPLICATION, MAX_UNKNOWN_KIDS, REFUSAL_TTL_S, Verdict, Verifier
from mesh.errors import Failure
from mesh.keys import WELL_KNOWN_SECRET
from mesh.routes import AccessKeys, VerifyKey
from tests.support.tokens import (
    NOW,
    OWNER,
    STRANGER,
    access_keys,
    bearer,
    claims,
    mint,
    route,
    verify_key,
)

FOREIGN = mint(claims(iss="application"))


@pytest.fixture
def verifier() -> Verifier:
    """A verifier with an empty cache."""
    return Verifier(access_keys())


def test_a_verdict_has_the_claims_and_the_header_lines(verifier: Verifier) -> None:
    """The lines go into the forwarded head as they are."""
    verdict = verifier.check(bearer(mint(claims())), route(), NOW)
    assert verdict.claims is not None
    assert verdict.claims.org_id == OWNER
    assert not verdict.passthrough
    assert verdict.identity == b"X-Zexio-Org: org_a\r\nX-Zexio-User: user_1\r\nX-Zexio-Source: web\r\n"


def test_a_known_token_gets_the_same_object(verifier: Verifier) -> None:
    """Nothing is made for the second request."""
    token = bearer(mint(claims()))
    assert verifier.check(token, route(), NOW) is verifier.check(token, route("public"), NOW + 1)


OTHERS = {
    "none": (None, ANONYMOUS),
    "empty": (b"", APPLICATION),
    "basic": (b"Basic dXNlcjpwYXNzd29yZA==", APPLICATION),
    "digest": (b"Digest username=x", APPLICATION),
    "scheme of its own": (b"Bearers " + mint(claims()), APPLICATION),
    "bearer without a token": (b"Bearer", APPLICATION),
    "opaque": (b"Bearer opaque", APPLICATION),
    "words": (b"Bearer not a token", APPLICATION),
    "short parts": (b"Bearer a.b.c", APPLICATION),
    "another issuer": (b"bearer " + FOREIGN, APPLICATION),
    "another issuer, unsigned": (bearer(mint(claims(iss="application"), alg="none")), APPLICATION),
    "another issuer, expired": (bearer(mint(claims(iss="application", exp=1))), APPLICATION),
}


@pytest.mark.parametrize(("authorization", "verdict"), OTHERS.values(), ids=OTHERS)
def test_a_public_route_leaves_other_credentials_alone(
    verifier: Verifier, authorization: bytes | None, verdict: Verdict
) -> None:
    """They belong to the application; a tenant route asks for a token of ours instead."""
    for _ in range(2):
        assert verifier.check(authorization, route("public"), NOW) is verdict
        assert verifier.check(authorization, route("public", org_id=None), NOW) is verdict
        assert refusal(verifier, authorization, route()).status == 401


@pytest.mark.parametrize("access", ["public", "tenant"])
def test_a_mesh_token_is_checked_on_every_route(verifier: Verifier, access: Any) -> None:  # noqa: ANN401
    """One of another organization, or one that is not valid, is refused on a public route too."""
    assert verifier.check(bearer(mint(claims())), route(access), NOW).claims is not None
    assert refusal(verifier, bearer(mint(claims(orgId=STRANGER))), route(access)).status == 403
    assert refusal(verifier, bearer(mint(claims(exp=NOW - 3600))), route(access)).status == 401


@pytest.mark.parametrize("access", ["public", "tenant"])
def test_a_route_without_organization_admits_no_token(verifier: Verifier, access: Any) -> None:  # noqa: ANN401
    """Not even a guest's."""
    assert refusal(verifier, bearer(mint(claims())), route(access, org_id=None, tenants=(OWNER,))).status == 403


def test_guests_are_admitted_besides_the_owner(verifier: Verifier) -> None:
    """contracts/plane.md decision 17."""
    token = bearer(mint(claims(orgId=STRANGER)))
    for _ in range(2):
        assert verifier.check(token, route(tenants=("org_c", STRANGER)), NOW).claims is not None
        assert refusal(verifier, token, route(tenants=("org_c",))).status == 403


@pytest.mark.parametrize(
    ("authorization", "error"),
    [
        (None, ""),
        (b"Basic dXNlcjpwYXNzd29yZA==", ""),
        (b"Bearer", ""),
        (b"Bearer opaque", ', error="invalid_token"'),
        (b"Bearer a, Bearer b", ', error="invalid_token"'),
        (bearer(FOREIGN), ', error="invalid_token"'),
        (bearer(mint(claims(exp=1))), ', error="invalid_token"'),
    ],
    ids=["none", "basic", "empty", "opaque", "two", "foreign", "expired"],
)
def test_the_challenge(verifier: Verifier, authorization: bytes | None, error: str) -> None:
    """RFC 6750 section 3: an error code only when a token was sent."""
    assert refusal(verifier, authorization).headers == (("WWW-Authenticate", f'Bearer realm="zexio"{error}'),)


def test_the_visitor_is_not_told_what_is_wrong(verifier: Verifier) -> None:
    """The reason is a note for the log; the answer is the same for every bad token, cached or not."""
    bad = [claims(exp=1), claims(orgId=""), claims(nbf=NOW + 99)]
    failures = [refusal(verifier, bearer(mint(payload))) for payload in bad + bad]
    assert len({(failure.status, failure.detail, failure.headers, failure.cause) for failure in failures}) == 1
    reasons = [failure.__notes__ for failure in failures]
    assert reasons[:3] == reasons[3:]
    assert reasons[0] == ["expired"]
    assert not hasattr(refusal(verifier, bearer(mint(claims(orgId=STRANGER)))), "__notes__")


def test_a_cached_token_ends_with_its_exp(verifier: Verifier) -> None:
    """The cache never outlives the token; the leeway belongs to its life."""
    token = bearer(mint(claims(exp=NOW + 10)))
    for offset in (0, 39.9):
        assert verifier.check(token, route(), NOW + offset).claims is not None
    assert refusal(verifier, token, now=NOW + 40).status == 401


def test_a_clock_that_jumps(verifier: Verifier) -> None:
    """Attack 72: after a jump a token is judged by the new time, whatever the cache holds."""
    token = bearer(mint(claims(nbf=NOW)))
    assert verifier.check(token, route(), NOW).claims is not None
    assert refusal(verifier, token, now=NOW - 3600).status == 401
    assert refusal(verifier, token, now=NOW + 7200).status == 401
    assert verifier.check(token, route(), NOW + 1).claims is not None


def test_a_token_that_was_not_valid_yet_is_looked_at_again(verifier: Verifier) -> None:
    """A client whose clock is a little ahead is not locked out for longer than that."""
    token = bearer(mint(claims(nbf=NOW + 31)))
    assert refusal(verifier, token).status == 401
    assert verifier.check(token, route(), NOW + 1).claims is not None


def test_a_verified_token_is_verified_again_after_a_while(counted: Counted) -> None:
    """`cache_ttl_s` bounds how long a signature check is believed."""
    token = bearer(mint(claims()))
    for offset in (0, 1, 59.9, 60.1, 61):
        counted.verifier.check(token, route(), NOW + offset)
    assert counted.signature_checks == 2


def test_a_refused_token_costs_one_signature_check_in_a_while(counted: Counted) -> None:
    """Repeating a forged token does not exhaust the processor."""
    token = bearer(mint(claims(), "rsa-2", kid="rsa-1"))
    for offset in (0, 1, REFUSAL_TTL_S - 0.1, REFUSAL_TTL_S, REFUSAL_TTL_S + 1):
        assert refusal(counted.verifier, token, now=NOW + offset).status == 401
    assert counted.signature_checks == 2


def test_claims_are_checked_before_the_signature(counted: Counted) -> None:
    """What can be refused cheaply is."""
    for payload in (claims(exp=1), claims(iss="x"), claims(orgId=1), claims(nbf=NOW + 99)):
        refusal(counted.verifier, bearer(mint(payload, "ed-1")))
    assert counted.signature_checks == 0


def test_spellings_of_one_token_share_an_entry(counted: Counted) -> None:
    """The case of the scheme does not buy another signature check."""
    token = mint(claims())
    for prefix in (b"bearer ", b"Bearer ", b"BEARER "):
        counted.verifier.check(prefix + token, route(), NOW)
    assert counted.signature_checks == 1


def test_the_cache_is_bounded() -> None:
    """The oldest entries go first, refused tokens never push out verified ones."""
    counted = Counted(cache_size=2)
    tokens = [bearer(mint(claims(userId=f"user_{number}"))) for number in range(3)]
    for token in tokens:
        counted.verifier.check(token, route(), NOW)
    for number in range(5):
        refusal(counted.verifier, bearer(mint(claims(userId=f"user_{number}"), "ed-2")))
    checks = counted.signature_checks
    counted.verifier.check(tokens[2], route(), NOW)
    counted.verifier.check(tokens[1], route(), NOW)
    assert counted.signature_checks == checks
    counted.verifier.check(tokens[0], route(), NOW)
    assert counted.signature_checks == checks + 1


def test_unknown_kids_are_collected(verifier: Verifier) -> None:
    """So that the keys can be fetched anew; each once, only those of tokens that look right, and not too many."""
    for kid in ("rsa-7", "rsa-8", "rsa-7", "rsa-1"):
        refusal(verifier, bearer(mint(claims(), "rsa-9", kid=kid)))
    refusal(verifier, bearer(mint(claims(exp=1), "rsa-9")))
    refusal(verifier, bearer(mint(claims(iss="application"), "rsa-9")))
    refusal(verifier, bearer(mint(claims(), "rsa-9", kid="ec-1")))
    assert verifier.take_unknown_kids() == {"rsa-7", "rsa-8"}
    assert verifier.take_unknown_kids() == frozenset()
    for number in range(2 * MAX_UNKNOWN_KIDS):
        refusal(verifier, bearer(mint(claims(), kid=f"unknown-{number}", alg="ES256")))
    assert len(verifier.take_unknown_kids()) == MAX_UNKNOWN_KIDS


def test_new_keys_are_a_new_verifier() -> None:
    """A key that was removed stops verifying at once, a new one starts at once; the generation tells which is which."""
    before, after = access_keys(keys=(verify_key("ec-1"),)), access_keys(keys=(verify_key("ec-2"),), generation=7)
    old, new = bearer(mint(claims(), "ec-1")), bearer(mint(claims(), "ec-2"))
    assert Verifier(before).check(old, route(), NOW).claims is not None
    assert refusal(Verifier(before), new).status == 401
    assert refusal(Verifier(after), old).status == 401
    assert Verifier(after).check(new, route(), NOW).claims is not None
    assert Verifier(after).generation == 7


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ({"leeway_s": -1.0}, "leeway"),
        ({"leeway_s": 61.0}, "leeway"),
        ({"leeway_s": float("nan")}, "leeway"),
        ({"issuer": ""}, "issuer"),
        ({"keys": (VerifyKey(algorithm="HS256", material=WELL_KNOWN_SECRET),)}, "published default"),
        ({"keys": (VerifyKey(algorithm="HS256", material=b"short"),)}, "5 bytes"),
    ],
)
def test_settings_that_are_refused(rules: dict[str, Any], sentence: str) -> None:
    """A node that could be fooled does not start."""
    with pytest.raises(ValueError, match=sentence):
        Verifier(access_keys(**rules))


def test_without_keys_every_token_is_refused() -> None:
    """Fail closed while the first keys are on their way; routes without a token work."""
    verifier = Verifier(AccessKeys())
    assert refusal(verifier, bearer(mint(claims()))).status == 401
    assert verifier.check(None, route("public"), NOW) is ANONYMOUS


@given(st.binary(max_size=200) | st.binary(max_size=200).map(bearer), st.booleans())
def test_any_octets_get_an_answer(authorization: bytes, is_public: bool) -> None:
    """Whatever is sent, there is a verdict or a Failure."""
    assert answer(authorization, is_public=is_public) == (APPLICATION if is_public else 401)


@given(st.data(), st.sampled_from([None, "rsa-1", "ec-1", "ed-1"]), st.booleans())
def test_a_token_that_was_changed_anywhere_is_refused(data: st.DataObject, kid: str | None, is_public: bool) -> None:
    """No octet of a token can be replaced, inserted or removed."""
    token = honest_token(kid)
    at = data.draw(st.integers(0, len(token) - 1))
    inserted = data.draw(st.binary(max_size=3))
    removed = data.draw(st.integers(0, 3))
    changed = token[:at] + inserted + token[at + removed :]
    verdict = answer(bearer(changed), is_public=is_public)
    assert changed == token or verdict in {APPLICATION, 401}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["iss", "exp", "nbf", "iat", "aud", "orgId", "userId", "sourceService", "workerId"]), JSON, JSON)
def test_any_claim_may_hold_anything(name: str, value: object, parameter: object) -> None:
    """Signed by the right key, a strange claim is still an answer and never an accident."""
    answer(bearer(mint(claims(**{name: value}))), is_public=False)
    answer(bearer(mint(claims(**{name: value}), x=parameter)), is_public=True)
    for member in ("alg", "kid", "typ"):
        answer(bearer(mint(claims(), **{member: parameter})), is_public=False)


def answer(authorization: bytes, *, is_public: bool) -> Verdict | int:
    """The verdict, or the status of the failure."""
    try:
        return shared_verifier().check(authorization, route("public" if is_public else "tenant"), NOW)
    except Failure as failure:
        return failure.status


def refusal(verifier: Verifier, authorization: bytes | None, asked: Any = None, now: float = NOW) -> Failure:  # noqa: ANN401
    """How a request fails, on a tenant route unless another is given."""
    with pytest.raises(Failure) as caught:
        verifier.check(authorization, asked or route(), now)
    return caught.value


class Counted:
    """A verifier whose signature checks are counted."""

    def __init__(self, cache_size: int = 10) -> None:
        self.verifier = Verifier(access_keys(), cache_size=cache_size)
        self.signature_checks = 0
        keyring = self.verifier._keyring

        class Counting:
            def verifies(inner, token: Any) -> bool:  # noqa: ANN401, N805
                self.signature_checks += 1
                return keyring.verifies(token)

            def knows(inner, kid: str) -> bool:  # noqa: N805
                return keyring.knows(kid)

        self.verifier._keyring = Counting()  # type: ignore[assignment]


@pytest.fixture
def counted() -> Counted:
    """A verifier with a cache of ten."""
    return Counted()


@functools.cache
def shared_verifier() -> Verifier:
    """One for all examples."""
    return Verifier(access_keys())


@functools.cache
def honest_token(kid: str | None) -> bytes:
    """A valid token, the same for all examples."""
    return mint(claims(), kid)
