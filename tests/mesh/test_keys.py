"""Which keys may verify mesh tokens, and which key is asked."""

from __future__ import annotations

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mesh.keys import MAX_KEYS, MAX_UNNAMED_KEYS, WELL_KNOWN_SECRET, Keyring, prepare
from mesh.routes import AccessKeys, VerifyKey
from mesh.tokens import read
from tests.support.tokens import (
    ABSENT,
    NOW,
    SECRET,
    access_keys,
    claims,
    encode,
    mint,
    public_jwk,
    public_pem,
    signing_input,
    verify_key,
)

# The small points of edwards25519: 1, -1, the square roots of -1, four points of order 8; and spellings of these.
SMALL_POINTS = (
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
)


def pem(key: PublicKeyTypes) -> bytes:
    """A public key in PEM form."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("kid", [None, "rsa-1", "ec-1", "ed-1"])
def test_each_kind_of_key_verifies_its_tokens(kid: str | None) -> None:
    """A token and the key that signed it belong together, and no other token does."""
    key = prepare(verify_key(kid))
    token = read(mint(claims(), kid), AccessKeys(), NOW)
    other = read(mint(claims(userId="user_2"), kid), AccessKeys(), NOW)
    assert key.verifies(token)
    assert not key.verifies(msgspec.structs.replace(token, signature=other.signature))


UNFIT = {
    "default": ("HS256", WELL_KNOWN_SECRET, "published default"),
    "default and a newline": ("HS256", WELL_KNOWN_SECRET + b"\n", "published default"),
    "empty secret": ("HS256", b"", "0 bytes"),
    "short secret": ("HS256", b"x" * 31, "31 bytes, HS256 needs at least 32"),
    "RSA key as a secret": ("HS256", public_pem("rsa-1"), "is a public key"),
    "Ed25519 key as a secret": ("HS256", public_pem("ed-1"), "is a public key"),
    "JWK as a secret": ("HS256", encode(public_jwk("ec-1")), "or a JWK"),
    "short RSA key": ("RS256", pem(rsa.generate_private_key(65537, 1024).public_key()), "2048 to 8192"),  # noqa: S505
    "EC key for RSA": ("RS256", public_pem("ec-1"), "RS256 needs an RSA key"),
    "secret for RSA": ("RS256", SECRET, "not a public key in PEM form"),
    "nothing for RSA": ("RS256", b"", "not a public key in PEM form"),
    "P-384": ("ES256", pem(ec.generate_private_key(ec.SECP384R1()).public_key()), "P-256"),
    "secp256k1": ("ES256", pem(ec.generate_private_key(ec.SECP256K1()).public_key()), "P-256"),
    "Ed25519 key for EC": ("ES256", public_pem("ed-1"), "P-256"),
    "Ed448": ("EdDSA", pem(ed448.Ed448PrivateKey.generate().public_key()), "Ed25519"),
    "RSA key for EdDSA": ("EdDSA", public_pem("rsa-1"), "Ed25519"),
    "PS256": ("PS256", public_pem("rsa-1"), "one of HS256, RS256, ES256, EdDSA"),
    "none": ("none", b"", "one of HS256"),
    "HS512": ("HS512", SECRET * 2, "one of HS256"),
}


@pytest.mark.parametrize(("algorithm", "material", "sentence"), UNFIT.values(), ids=UNFIT)
def test_keys_that_are_unfit(algorithm: str, material: bytes, sentence: str) -> None:
    """The operator is told in a sentence, which never quotes the secret."""
    with pytest.raises(ValueError, match=sentence) as refused:
        prepare(VerifyKey(algorithm=algorithm, material=material))
    assert not material or material.decode() not in str(refused.value)


@pytest.mark.parametrize("point", SMALL_POINTS)
def test_ed25519_keys_under_which_anyone_can_sign(point: str) -> None:
    """A key of small order verifies signatures that nobody made, so it is refused (attack 12)."""
    key = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(point))
    with pytest.raises(ValueError, match="small order"):
        prepare(VerifyKey(algorithm="EdDSA", material=pem(key)))


@pytest.mark.parametrize("kid", ["", "a/b", "a b", "k" * 129, "é", "kid\n"])
def test_kids_that_are_unfit(kid: str) -> None:
    """A kid that no token may name is no kid of a key."""
    with pytest.raises(ValueError, match="kid"):
        prepare(VerifyKey(algorithm="HS256", material=SECRET, kid=kid))


def test_a_kid_names_one_key_whatever_its_algorithm() -> None:
    """Otherwise the token would choose between them."""
    twin = VerifyKey(algorithm="HS256", material=SECRET, kid="rsa-1")
    with pytest.raises(ValueError, match="same kid"):
        Keyring((verify_key("rsa-1"), twin))


def test_the_number_of_keys_is_bounded() -> None:
    """A token may cost a few signature checks, not many."""
    unnamed = VerifyKey(algorithm="HS256", material=SECRET)
    with pytest.raises(ValueError, match="without a kid"):
        Keyring((unnamed,) * (MAX_UNNAMED_KEYS + 1))
    with pytest.raises(ValueError, match="more than"):
        Keyring((unnamed,) * (MAX_KEYS + 1))


def test_a_key_without_a_kid_verifies_tokens_that_name_one() -> None:
    """An issuer may name its keys although the operator did not; the signature still decides."""
    keyring = Keyring((VerifyKey(algorithm="RS256", material=public_pem("rsa-1")),))
    for header in ({}, {"kid": "whatever"}, {"kid": ABSENT}):
        assert keyring.verifies(read(mint(claims(), "rsa-1", **header), AccessKeys(), NOW))
    assert not keyring.verifies(read(mint(claims(), "rsa-2"), AccessKeys(), NOW))


def test_an_old_and_a_new_secret_verify_side_by_side() -> None:
    """A shared secret can be replaced without refusing anybody."""
    old = VerifyKey(algorithm="HS256", material=b"the secret that was used before this one")
    keyring = Keyring((old, verify_key(None)))
    assert keyring.verifies(read(mint(claims()), AccessKeys(), NOW))


def test_a_kid_leads_to_that_key_alone() -> None:
    """A token that names a key is not tried with others, of its algorithm or of another one."""
    keyring = Keyring(access_keys().keys)
    for kid in ("rsa-1", "ec-1", "ed-1"):
        assert keyring.knows(kid)
        assert not keyring.verifies(read(mint(claims(), kid=kid), AccessKeys(), NOW))
    assert not keyring.knows("rsa-2")


def test_no_key_verifies_nothing() -> None:
    """Before the first keys arrive, every token is refused."""
    assert not Keyring(()).verifies(read(mint(claims()), AccessKeys(), NOW))


def test_a_forged_signature_under_a_small_key_shows_why_it_is_refused() -> None:
    """The library accepts it: the signature with R = A = 1 and S = 0 holds for every message."""
    key = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(SMALL_POINTS[0]))
    key.verify(bytes.fromhex(SMALL_POINTS[0]) + bytes(32), signing_input({"alg": "EdDSA"}, claims()))
