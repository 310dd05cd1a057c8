"""Which keys are taken from PEM files and from JWK Sets."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from mesh.access import Verifier
from node.keys import MAX_SET_KEYS, KeySetError, load_pem, parse_jwks
from tests.support.tokens import (
    ABSENT,
    NOW,
    access_keys,
    algorithm_of,
    bearer,
    claims,
    encode,
    mint,
    private_key,
    public_jwk,
    public_pem,
    route,
)

KIDS = ("rsa-1", "ec-1", "ed-1")


@pytest.mark.parametrize("kid", KIDS)
def test_a_pem_file(tmp_path: Path, kid: str) -> None:
    """The type of the key decides which algorithm it is bound to."""
    path = tmp_path / "key.pem"
    path.write_bytes(public_pem(kid))
    assert load_pem(path).algorithm == algorithm_of(kid)
    assert load_pem(path).kid is None
    verifier = Verifier(access_keys(keys=(load_pem(path, kid=kid),)))
    assert verifier.check(bearer(mint(claims(), kid)), route(), NOW).claims is not None


PRIVATE = private_key("ec-1").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
ED448 = ed448.Ed448PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
BAD_FILES = {
    "nothing": (b"", "no public key in PEM form"),
    "text": (b"not a key", "no public key in PEM form"),
    "private": (PRIVATE, "holds a private key"),
    "Ed448": (ED448, "none of RSA, P-256 and Ed25519"),
    "two": (public_pem("ec-1") + public_pem("ed-1"), "more than one key"),
    "broken": (public_pem("ec-1").replace(b"M", b"!"), "no public key in PEM form"),
}


@pytest.mark.parametrize(("content", "sentence"), BAD_FILES.values(), ids=BAD_FILES)
def test_pem_files_that_are_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    """The sentence names the file."""
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    with pytest.raises(KeySetError, match=sentence) as refused:
        load_pem(path)
    assert str(path) in str(refused.value)


def test_a_pem_file_with_an_unfit_key(tmp_path: Path) -> None:
    """The same rules hold as for keys from elsewhere."""
    path = tmp_path / "key.pem"
    path.write_bytes(public_pem("ec-1"))
    with pytest.raises(KeySetError, match=r"key\.pem: a kid"):
        load_pem(path, kid="a/b")


def test_a_missing_pem_file(tmp_path: Path) -> None:
    """The caller sees the error of the system."""
    with pytest.raises(FileNotFoundError):
        load_pem(tmp_path / "none.pem")


def test_a_set_of_every_kind() -> None:
    """RSA, P-256 and Ed25519 keys verify the tokens of their issuer."""
    found = parse_jwks(jwks(*(public_jwk(kid) for kid in KIDS)))
    assert [(key.kid, key.algorithm) for key in found.keys] == [(kid, algorithm_of(kid)) for kid in KIDS]
    assert found.skipped == ()
    verifier = Verifier(access_keys(keys=found.keys))
    for kid in KIDS:
        assert verifier.check(bearer(mint(claims(), kid)), route(), NOW).claims is not None


@pytest.mark.parametrize(
    "members",
    [
        {"alg": ABSENT, "use": ABSENT, "kid": ABSENT},
        {"key_ops": ["verify"]},
        {"key_ops": ["verify", "sign"], "use": ABSENT},
        {"x5t": "abc", "note": [1]},
    ],
    ids=["bare", "key_ops", "more key_ops", "unknown members"],
)
def test_members_that_may_be_there_or_not(members: dict[str, object]) -> None:
    """RFC 7517 section 4: only kty is required."""
    assert len(parse_jwks(jwks(public_jwk("rsa-1", **members))).keys) == 1


P384 = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()).public_key(), as_dict=True)
SHORT = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key(), as_dict=True)  # noqa: S505
SKIPPED = {
    "another kty": ({"kty": "AKP"}, "kty is none of"),
    "no kty": ({}, "kty is none of"),
    "kty list": ({"kty": ["RSA"]}, "kty is none of"),
    "for encryption": (public_jwk("rsa-2", use="enc"), "use is not sig"),
    "for signing only": (public_jwk("rsa-2", key_ops=["sign"]), "key_ops has no verify"),
    "key_ops text": (public_jwk("rsa-2", key_ops="verify"), "key_ops has no verify"),
    "use against key_ops": (public_jwk("rsa-2", use="sig", key_ops=["encrypt"]), "key_ops has no verify"),
    "key_ops against use": (public_jwk("rsa-2", use="enc", key_ops=["verify"]), "use is not sig"),
    "alg of another kty": (public_jwk("rsa-2", alg="ES256"), "alg is not RS256"),
    "alg HS256": (public_jwk("rsa-2", alg="HS256"), "alg is not RS256"),
    "alg PS256": (public_jwk("rsa-2", alg="PS256"), "alg is not RS256"),
    "alg none": (public_jwk("rsa-2", alg="none"), "alg is not RS256"),
    "alg null": (public_jwk("rsa-2", alg=None), "alg is not RS256"),
    "kty against members": (public_jwk("rsa-2", kty="EC"), "crv is not P-256"),
    "P-384": (P384, "crv is not P-256"),
    "X25519": (public_jwk("ed-2", crv="X25519"), "crv is not Ed25519"),
    "short RSA": (SHORT, "2048 to 8192"),
    "exponent 1": (public_jwk("rsa-2", e="AQ"), ""),
    "even exponent": (public_jwk("rsa-2", e="Ag"), ""),
    "no modulus": (public_jwk("rsa-2", n=ABSENT), "n is missing"),
    "number as text": (public_jwk("rsa-2", n=65537), "n is missing"),
    "huge modulus": (public_jwk("rsa-2", n="A" * 100_000), "n is missing, too long"),
    "padded": (public_jwk("rsa-2", e="AQAB===="), "base64url"),
    "off the curve": (public_jwk("ec-2", x=public_jwk("ec-3")["x"]), ""),
    "short Ed25519": (public_jwk("ed-2", x="AAAA"), ""),
    "small Ed25519": (public_jwk("ed-2", x=base64.urlsafe_b64encode(b"\1" + bytes(31)).decode()[:-1]), "small order"),
    "kid of strange characters": (public_jwk("ed-2", kid="a/b+c="), "a kid is"),
    "kid number": (public_jwk("ed-2", kid=1), "kid is not a string"),
}


@pytest.mark.parametrize(("member", "sentence"), SKIPPED.values(), ids=SKIPPED)
def test_keys_that_are_not_used(member: dict[str, object], sentence: str) -> None:
    """They are left out with a sentence, and do not keep the others from being used (RFC 7517 section 5)."""
    found = parse_jwks(jwks(member, public_jwk("ec-1")))
    assert [key.kid for key in found.keys] == ["ec-1"]
    assert len(found.skipped) == 1
    assert found.skipped[0].startswith("key 0: ")
    assert sentence in found.skipped[0]
    with pytest.raises(KeySetError, match="no usable key; key 0: "):
        parse_jwks(jwks(member))


OCT = {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}
REFUSED = {
    "nothing": (b"", "no JSON"),
    "HTML": (b"<!doctype html>", "no JSON"),
    "cut off": (encode({"keys": []})[:-1], "no JSON"),
    "UTF-16": (encode({"keys": []}).decode().encode("utf-16"), "no JSON"),
    "duplicate member": (b'{"keys":[],"keys":[]}', "no JSON: duplicate"),
    "deep": (b'{"keys":' + b"[" * 5000, "no JSON"),
    "list": (b"[]", "no JWK Set"),
    "number": (b"1", "no JWK Set"),
    "keys missing": (b"{}", "no JWK Set"),
    "keys null": (b'{"keys":null}', "no JWK Set"),
    "keys text": (b'{"keys":["a"]}', "no JWK Set"),
    "no keys": (b'{"keys":[]}', "no usable key"),
    "too many": (encode({"keys": [{"kty": "x"}] * (MAX_SET_KEYS + 1)}), "more than 64 keys"),
    "duplicate kid": (encode({"keys": [public_jwk("ec-1"), public_jwk("ec-2", kid="ec-1")]}), "same kid"),
    "duplicate kid of an unused key": (encode({"keys": [public_jwk("ec-1"), {"kty": "x", "kid": "ec-1"}]}), "same kid"),
    "symmetric": (encode({"keys": [public_jwk("ec-1"), OCT]}), "private or symmetric"),
    "symmetric by its member": (encode({"keys": [public_jwk("ec-1", k="c2VjcmV0")]}), "private or symmetric"),
    "private": (encode({"keys": [public_jwk("ec-1", d="AAAA")]}), "private or symmetric"),
}


@pytest.mark.parametrize(("document", "sentence"), REFUSED.values(), ids=REFUSED)
def test_sets_that_are_refused_as_a_whole(document: bytes, sentence: str) -> None:
    """What cannot be trusted in one place is not trusted in another."""
    with pytest.raises(KeySetError, match=sentence):
        parse_jwks(document)


def jwks(*members: dict[str, object]) -> bytes:
    """A JWK Set."""
    return encode({"keys": list(members)})
