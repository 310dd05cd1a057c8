"""The attacks on mesh tokens, put to the verifier itself: what each is told, on tenant and on public routes."""

from __future__ import annotations

import functools

import pytest

from mesh.access import APPLICATION, Verifier
from mesh.errors import Failure
from mesh.routes import Route
from tests.adversity.token_cases import Attack, attacks
from tests.support.tokens import NOW, OWNER, SECRET, STRANGER, access_keys, bearer, claims, mint, route

ATTACKS = attacks(NOW)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_attack_on_a_tenant_route(attack: Attack) -> None:
    """Refused with the status of the table, the second time as well, when the answer comes from the cache."""
    for _ in range(2):
        assert status(attack.authorization, route("tenant")) == attack.status


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_attack_on_a_public_route(attack: Attack) -> None:
    """A public route is no way around: only what cannot be a mesh token goes through, to the application."""
    for _ in range(2):
        assert status(attack.authorization, route("public")) == (200 if attack.is_foreign else attack.status)


def test_every_attack_that_can_be_put_to_the_verifier_is_in_the_table() -> None:
    """The others are about the settings (42), about requests (52, 56 to 58, 61, 62) and about routes (53 to 55)."""
    elsewhere = {42, *range(52, 59), 61, 62}
    assert {attack.number for attack in ATTACKS} == {*range(1, 68)} - elsewhere


@pytest.mark.parametrize(
    "audience", ["api", "other", "", None, [], ["other"], [["mesh"]], {"mesh": 1}, ["mesh", 1], "Mesh"]
)
def test_42_another_audience(audience: object) -> None:
    """With an audience in the settings, `aud` has to be it or to list it."""
    verifier = Verifier(access_keys(audience="mesh"))
    for payload in (claims(aud=audience), claims()):
        assert status(bearer(mint(payload)), route(), verifier) == 401


@pytest.mark.parametrize("audience", ["mesh", ["mesh"], ["other", "mesh"]])
def test_42_the_right_audience(audience: object) -> None:
    """One of several audiences is enough."""
    assert status(bearer(mint(claims(aud=audience))), route(), Verifier(access_keys(audience="mesh"))) == 200


def test_53_another_organization_on_a_custom_domain() -> None:
    """Whatever the host, the route's organization decides."""
    stranger = bearer(mint(claims(orgId=STRANGER)))
    assert status(stranger, route("public")) == 403


def test_54_and_55_a_route_that_changes_hands() -> None:
    """A verified token is compared with the route of each request: nothing about the route is cached."""
    verifier = Verifier(access_keys())
    token = bearer(mint(claims()))
    owners = (OWNER, STRANGER, OWNER, None, "", OWNER)
    assert [status(token, route(org_id=owner), verifier) for owner in owners] == [200, 403, 200, 403, 403, 200]


def test_56_and_57_a_request_without_a_token_after_one_with() -> None:
    """Nothing is remembered of a connection."""
    verifier = Verifier(access_keys())
    token = bearer(mint(claims()))
    assert [status(value, route(), verifier) for value in (token, None, token, b"")] == [200, 401, 200, 401]


def test_61_the_scheme_in_any_case() -> None:
    """RFC 9110 section 11.1: schemes are case-insensitive."""
    token = mint(claims())
    for prefix in (b"Bearer ", b"bearer ", b"BEARER ", b"bEaReR "):
        assert status(prefix + token, route()) == 200


def test_the_honest_token_passes() -> None:
    """The table is worth something only because this one, from which it is made, is accepted."""
    assert SECRET not in mint(claims())
    for kid in (None, "rsa-1", "ec-1", "ed-1"):
        assert status(bearer(mint(claims(), kid)), route()) == 200


def status(authorization: bytes | None, asked: Route, verifier: Verifier | None = None) -> int:
    """What the verifier says: 200 when the request may go on, and a token in the application's hands is not ours."""
    try:
        verdict = (verifier or shared_verifier()).check(authorization, asked, NOW)
    except Failure as failure:
        return failure.status
    assert verdict.claims is not None or verdict is APPLICATION
    return 200


@functools.cache
def shared_verifier() -> Verifier:
    """One verifier for the whole table, so that the answers to one attack cannot come from the cache of another."""
    return Verifier(access_keys())
