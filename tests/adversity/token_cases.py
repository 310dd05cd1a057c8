"""Attacks on mesh tokens, by the numbers under which they are known in `docs/`: what is sent, and what becomes of it.

Every one is refused on a tenant route. On a public route it is refused too, unless no reading of it finds our issuer:
then it is a credential of the application (contracts/plane.md decision 9).
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from tests.support.tokens import (
    ABSENT,
    ISSUER,
    OWNER,
    STRANGER,
    base64url,
    bearer,
    claims,
    encode,
    mint,
    private_key,
    public_jwk,
    public_pem,
    sign,
    signed_with,
    signing_input,
)

KIDS: Final = (None, "rsa-1", "ec-1", "ed-1")
WELL_KNOWN_SECRETS: Final = (
    b"",
    b"secret",
    b"zexio-mesh-secret-key",
    b"your-256-bit-secret",
    b"changeme",
    b"supersecret",
    b"jwt_secret",
    b"\x00" * 32,
)
P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Attack(msgspec.Struct, frozen=True):
    """One value of an Authorization field and the status it earns on a tenant route of `org_a`."""

    number: int
    name: str
    authorization: bytes
    status: int = 401
    is_foreign: bool = False

    def __str__(self) -> str:
        """The name in the test report."""
        return f"{self.number}-{self.name}"


def attacks(now: float) -> tuple[Attack, ...]:
    """The whole table, with claims that are valid at `now` in Unix seconds unless the attack is about time."""
    parts = (_algorithms, _signatures, _forms, _kids, _headers, _times, _issuers, _organizations, _transport, _texts)
    return tuple(attack for part in parts for attack in part(now))


def _algorithms(now: float) -> Iterator[Attack]:
    payload = claims(now)
    spellings = ((1, "none"), (2, "None"), (2, "nOnE"), (2, "NONE"), (3, ""), (4, ABSENT), (5, ["HS256"]), (5, None))
    for number, algorithm in spellings:
        yield _token(number, f"alg {algorithm!r} signed", mint(payload, alg=algorithm))
    for algorithm in ("none", "NONE", "HS256"):
        unsigned = signing_input({"alg": algorithm, "typ": "JWT"}, payload)
        yield _token(1, f"alg {algorithm} with an empty signature", unsigned + b".")
    for number, kid in ((6, "rsa-1"), (7, "ec-1"), (7, "ed-1")):
        yield from _confused(number, kid, payload)
    for secret in WELL_KNOWN_SECRETS:
        yield _token(8, f"secret {secret!r}", _hmac(secret, payload))
    for algorithm in ("PS256", "RS512"):
        signed = signing_input({"alg": algorithm, "kid": "rsa-1"}, payload)
        signature = signed_with(algorithm, private_key("rsa-1"), signed)
        yield _token(9, f"{algorithm} by the RS256 key", signed + b"." + base64url(signature))
    signed = signing_input({"alg": "RS256", "kid": "rsa-1"}, payload)
    signature = signed_with("PS256", private_key("rsa-1"), signed)
    yield _token(9, "PS256 signature called RS256", signed + b"." + base64url(signature))


def _confused(number: int, kid: str, payload: dict[str, object]) -> Iterator[Attack]:
    pem = public_pem(kid)
    der = load_pem_public_key(pem).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    forms = {"PEM": pem, "stripped PEM": pem.strip(), "DER": der, "JWK": encode(public_jwk(kid))}
    for form, secret in forms.items():
        yield _token(number, f"HS256 with the {form} of {kid}", _hmac(secret, payload, kid=kid))
        yield _token(number, f"HS256 with the {form} of {kid}, no kid", _hmac(secret, payload))


def _signatures(now: float) -> Iterator[Attack]:
    payload = claims(now)
    ec_input = signing_input({"alg": "ES256", "kid": "ec-1"}, payload)
    genuine = sign("ec-1", ec_input)
    pairs = ((0, 0), (0, 1), (1, 0), (P256_ORDER, 1), (1, P256_ORDER), (P256_ORDER, P256_ORDER))
    for r, s in pairs:
        yield _signed(10, f"r={r % 1000} s={s % 1000}", ec_input, r.to_bytes(32) + s.to_bytes(32))
    der = encode_dss_signature(int.from_bytes(genuine[:32]), int.from_bytes(genuine[32:]))
    for name, signature in {"DER": der, "63 octets": genuine[:63], "65 octets": genuine + b"\0"}.items():
        yield _signed(11, name, ec_input, signature)
    ed_input = signing_input({"alg": "EdDSA", "kid": "ed-1"}, payload)
    identity = b"\x01" + bytes(31)
    for name, signature in {"zeros": bytes(64), "identity": identity + bytes(32), "empty point": bytes(32)}.items():
        yield _signed(12, name, ed_input, signature)
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the point
    rsa_input = signing_input({"alg": "RS256", "kid": "rsa-1"}, payload)
    yield _signed(13, "weak RSA key", rsa_input, signed_with("RS256", weak, rsa_input))
    for kid in KIDS:
        token = mint(payload, kid)
        signed, _dot, signature = token.rpartition(b".")
        yield _token(14, f"stripped signature of {kid}", signed + b".")
        yield _token(14, f"two parts of {kid}", signed)
        other = mint(claims(now, userId="user_2"), kid).rpartition(b".")[2]
        yield _token(15, f"another token's signature by {kid}", signed + b"." + other)
        yield _token(16, f"unused bits set in the signature by {kid}", signed + b"." + _unused_bits_set(signature))


def _forms(now: float) -> Iterator[Attack]:
    token = mint(claims(now))
    header, payload, signature = token.decode().split(".")
    jwe = base64url(encode({"alg": "dir", "enc": "A256GCM"})) + b"..AAAA.AAAAAAAA.AAAA"
    yield _token(17, "JWE", jwe, is_foreign=True)
    yield _token(17, "five parts around ours", token + b".AAAA.AAAA")
    flattened = {"protected": header, "payload": payload, "signature": signature}
    yield _token(18, "JSON serialisation", encode(flattened), is_foreign=True)
    yield _token(19, "nested", mint(token), is_foreign=True)
    yield _token(19, "nested with cty", mint(token, cty="JWT"), is_foreign=True)


def _kids(now: float) -> Iterator[Attack]:
    payload = claims(now)
    malformed = {
        20: ("../../../../dev/null", "/dev/null", "file:///dev/null"),
        21: ("x' UNION SELECT 'secret", "key|cat", "$(id)", "a\nb", "clé"),
        23: ("k" * 129, "k" * 5000),
        24: (1, None, ["rsa-1"], {"kid": "rsa-1"}, True, ""),
    }
    for number, kids in malformed.items():
        for kid in kids:
            yield _token(number, f"kid {str(kid)[:30]!r} {type(kid).__name__} {len(str(kid))}", mint(payload, kid=kid))
    yield _token(20, "kid of a path, empty secret", _hmac(b"", payload, kid="..dev.null"))
    for kid, other in (("rsa-1", "ec-1"), ("rsa-1", "ed-1"), ("ec-1", "rsa-1"), ("ed-1", "rsa-1"), ("rsa-2", "rsa-1")):
        yield _token(22, f"kid {other} on a token by {kid}", mint(payload, kid, kid=other))
    for kid in ("rsa-1", "ec-1", "ed-1"):
        yield _token(22, f"kid {kid} on a token by the secret", mint(payload, kid=kid))
        yield _token(22, f"no kid on a token by {kid}", mint(payload, kid, kid=ABSENT))
    yield _token(25, "unknown kid", mint(payload, "rsa-9"))


def _headers(now: float) -> Iterator[Attack]:
    payload = claims(now)
    attacker = public_jwk("rsa-9")
    sources: tuple[tuple[int, dict[str, object]], ...] = (
        (26, {"jku": "http://127.0.0.1/keys"}),
        (27, {"x5u": "http://127.0.0.1/chain"}),
        (28, {"jwk": attacker}),
        (29, {"x5c": [base64.b64encode(b"certificate").decode()]}),
    )
    for number, source in sources:
        yield _token(number, "with the attacker's key", mint(payload, "rsa-9", **{**source, "kid": "rsa-1"}))
        yield _token(number, "with a genuine signature", mint(payload, **source))
    parameters: tuple[tuple[int, dict[str, object]], ...] = (
        (30, {"crit": ["exp"]}),
        (30, {"crit": []}),
        (31, {"b64": False, "crit": ["b64"]}),
        (31, {"b64": False}),
        (32, {"zip": "DEF"}),
        (33, {"typ": "refresh"}),
        (33, {"typ": "JWT "}),
        (33, {"typ": None}),
        (33, {"typ": ["JWT"]}),
        (33, {"typ": "id+jwt"}),
        (33, {"cty": "JWT"}),
        (33, {"cty": "text/plain"}),
    )
    for number, parameter in parameters:
        yield _token(number, f"{parameter}", mint(payload, **parameter))
    bomb = mint(zlib.compress(b"[" * 100_000), zip="DEF")
    yield _token(32, "zip bomb", bomb, is_foreign=True)
    for text in (
        '{"alg":"HS256","alg":"none"}',
        '{"alg":"none","alg":"HS256"}',
        '{"alg":"HS256","typ":"JWT","typ":"JWT"}',
    ):
        yield _by_secret(34, text, text.encode(), encode(payload))


def _times(now: float) -> Iterator[Attack]:
    leeway = 30
    yield _claim(35, now, exp=int(now) - 3600)
    yield _claim(36, now, exp=int(now) - leeway)
    yield _claim(36, now, exp=int(now) - leeway - 1)
    yield _claim(37, now, exp=ABSENT)
    for value in (
        str(int(now) + 3600),
        True,
        None,
        -1,
        [int(now) + 3600],
        {"at": int(now) + 3600},
        10**18,
        10**400,
        1e300,
    ):
        yield _claim(38, now, exp=value)
    for text in ("1e400", "-1e400", "NaN", "Infinity", "-Infinity", "1800003600x", "0x7fffffff", "+1", "1" * 5000):
        yield _raw_claim(38, now, "exp", text)
    yield _claim(39, now, nbf=int(now) + leeway + 1)
    yield _claim(39, now, nbf=str(int(now)))
    yield _claim(39, now, nbf=None)
    yield _raw_claim(39, now, "nbf", "NaN")
    yield _claim(40, now, iat=int(now) + leeway + 1)
    yield _claim(40, now, iat=True)
    yield _raw_claim(40, now, "iat", "1e999")


def _issuers(now: float) -> Iterator[Attack]:
    others = (
        ISSUER[:-1],
        f"{ISSUER}2",
        ISSUER.upper(),
        f"{ISSUER}/",
        f" {ISSUER}",
        f"{ISSUER}\0",
        "application",
        [ISSUER],
        None,
        ABSENT,
        1,
    )
    for issuer in others:
        yield _token(41, f"iss {issuer!r}"[:40], mint(claims(now, iss=issuer)), is_foreign=True)
    for text in (f'"{ISSUER}","iss":"application"', f'"application","iss":"{ISSUER}"'):
        yield _raw_claim(41, now, "iss", text)


def _organizations(now: float) -> Iterator[Attack]:
    values: dict[int, tuple[object, ...]] = {
        43: (ABSENT,),
        44: (None,),
        45: ("",),
        46: (1, True, {}, {"orgId": OWNER}, 0, 1.5),
        47: ([OWNER], [OWNER, STRANGER]),
        48: (f" {OWNER}", f"{OWNER} ", f"{OWNER}\0", f"{OWNER}\n", "org_\u0430", "\uff4frg_a", "org_a\u200b", "\ud800"),
    }
    for number, listed in values.items():
        for value in listed:
            yield _claim(number, now, orgId=value)
    for value in (OWNER.upper(), OWNER.title(), f"{OWNER}.", OWNER[:-1], f"{OWNER}{OWNER}", "*", "org_a,org_b"):
        yield msgspec.structs.replace(_claim(48, now, orgId=value), status=403)
    for first, last in ((OWNER, STRANGER), (STRANGER, OWNER), (OWNER, OWNER)):
        yield _raw_claim(49, now, "orgId", f'"{first}","orgId":"{last}"')
        yield _raw_claim(49, now, "orgId", f'"{first}","org\\u0049d":"{last}"')
    for alias in ("org_id", "orgid", "OrgId", "orgId ", "organization"):
        yield _token(50, f"alias {alias!r}", mint(claims(now, orgId=ABSENT, **{alias: OWNER})))
    for kid in KIDS:
        yield _token(51, f"token of another organization by {kid}", mint(claims(now, orgId=STRANGER), kid), status=403)
    for name in ("userId", "sourceService", "targetService"):
        for value in (ABSENT, None, "", 1, ["x"], "a\r\nX-Zexio-Org: org_b", "a\0", "a b", "é", "x" * 257):
            yield _token(46, f"{name} {value!r}"[:50], mint(claims(now, **{name: value})))
    for value in (1, "", "a\r\nb", ["x"]):
        yield _claim(46, now, workerId=value)


def _transport(now: float) -> Iterator[Attack]:
    token = mint(claims(now))
    stranger = mint(claims(now, orgId=STRANGER))
    shapes = {
        59: (
            b"Bearer %b, Bearer %b" % (token, token),
            b"Bearer %b,%b" % (token, stranger),
            b"Bearer %b %b" % (token, token),
            b"Bearer application, Bearer %b" % stranger,
            b'Bearer token="%b"' % token,
        ),
        60: (
            b"Bearer\t" + token,
            b"Bearer  " + token,
            b"Bearer \t" + token,
            b"Bearer\n" + token,
            b"Bearer " + token + b"\tx",
            b"Bearer," + token,
            b"Bearer=" + token,
            b"Bearer\xa0" + token,
            b"Bearer\0" + token,
        ),
    }
    for number, values in shapes.items():
        for index, value in enumerate(values):
            yield Attack(number, f"shape {index}", value)
    for value in (b"", b"Bearer", b"Bearer ", b"Bearer" + token, b"Basic dTpw", b"Token " + token):
        yield Attack(60, f"no bearer token {value[:8]!r}", value, is_foreign=True)
    padded = mint(claims(now, padding="x" * 6200))
    assert len(padded) > 8192
    yield _token(63, "just too large", padded)
    yield _token(63, "64 KiB", b"A" * 65_536)
    yield _token(63, "64 KiB of dots", b"." * 65_536)
    yield _token(63, "1 MiB of ours", mint(claims(now, padding="x" * 1_048_576)))
    yield _token(23, "kid of 1 MB", mint(claims(now), kid="k" * 1_000_000))


def _texts(now: float) -> Iterator[Attack]:
    header, payload, signature = mint(claims(now)).split(b".")
    spellings = {
        "padding": b".".join((header, payload + b"=", signature)),
        "padding at the end": b".".join((header, payload, signature)) + b"=",
        "newline inside": b".".join((header, payload[:9] + b"\n" + payload[9:], signature)),
        "space inside": b".".join((header, payload[:9] + b" " + payload[9:], signature)),
        "percent": b".".join((header, payload + b"%3D", signature)),
        "dot more": b".".join((header, payload, signature, b"")),
        "dot before": b".".join((b"", header, payload, signature)),
        "high octet": b".".join((header, payload + b"\xff", signature)),
        "unused bits in the payload": b".".join((header, _unused_bits_set(payload), signature)),
    }
    for name, token in spellings.items():
        yield _token(64, name, token)
    standard = encode(claims(now, sub=">>>???>>>???"))
    loose = base64.b64encode(standard).rstrip(b"=")
    assert b"+" in loose or b"/" in loose
    signed = header + b"." + loose
    yield _signed(64, "standard alphabet", signed, sign(None, signed))
    text = encode(claims(now)).decode()
    yield _by_secret(65, "UTF-16", _HEADER, text.encode("utf-16"), is_foreign=True)
    yield _by_secret(65, "UTF-32", _HEADER, text.encode("utf-32"), is_foreign=True)
    yield _by_secret(65, "byte order mark", _HEADER, text.encode("utf-8-sig"))
    yield _by_secret(65, "invalid UTF-8", _HEADER, text.encode().replace(b"user_1", b"user_\xff"))
    yield _by_secret(65, "overlong UTF-8", _HEADER, text.encode().replace(b"user_1", b"user_\xc0\xaf"))
    yield _by_secret(65, "UTF-16 header", _HEADER.decode().encode("utf-16"), text.encode())
    for depth in (33, 2_000):
        nested = f'{text[:-1]},"x":{"[" * depth}{"]" * depth}}}'
        yield _by_secret(66, f"depth {depth}", _HEADER, nested.encode())
    yield _by_secret(66, "depth without end", _HEADER, f'{text[:-1]},"x":{"[" * 5_000}'.encode())
    yield _by_secret(66, "quotes without end", _HEADER, f'{text[:-1]},"{"[" * 40}"{chr(92)}"{chr(92)}"'.encode())
    yield _by_secret(66, "depth in the header", b'{"x":' * 900 + b"{}" + b"}" * 900, text.encode())
    for other in ([claims(now)], "text", 1, None, True, [["iss", ISSUER]]):
        yield _by_secret(67, f"payload {other!r}"[:30], _HEADER, encode(other), is_foreign=True)
    for other_header in (b"[]", b"null", b'"HS256"', b"1", b"", b"{", b"\0"):
        yield _by_secret(67, f"header {other_header!r}", other_header, text.encode())


_HEADER: Final = b'{"alg":"HS256","typ":"JWT"}'


def _token(number: int, name: str, token: bytes, status: int = 401, *, is_foreign: bool = False) -> Attack:
    return Attack(number, name, bearer(token), status, is_foreign)


def _signed(number: int, name: str, signed: bytes, signature: bytes) -> Attack:
    return _token(number, name, signed + b"." + base64url(signature))


def _by_secret(number: int, name: str, header: bytes, payload: bytes, *, is_foreign: bool = False) -> Attack:
    signed = signing_input(header, payload)
    return _token(number, name, signed + b"." + base64url(sign(None, signed)), is_foreign=is_foreign)


def _claim(number: int, now: float, **change: object) -> Attack:
    name, value = next(iter(change.items()))
    # Names of tests have to be the same in every process, whenever it started.
    shown = f"{value!r}".replace(str(int(now) + 3600), "now+3600")[:40]
    if type(value) is int and abs(value - now) < 1e6:
        shown = f"now{value - int(now):+}"
    return _token(number, f"{name} {shown}", mint(claims(now, **change)))


def _raw_claim(number: int, now: float, name: str, text: str) -> Attack:
    payload = json.dumps(claims(now, **{name: "@"})).replace('"@"', text)
    return _by_secret(number, f"{name} {text[:40]}", _HEADER, payload.encode())


def _hmac(secret: bytes, payload: dict[str, object], **header: object) -> bytes:
    signed = signing_input({"alg": "HS256", "typ": "JWT", **header}, payload)
    return signed + b"." + base64url(signed_with("HS256", secret, signed))


def _unused_bits_set(segment: bytes) -> bytes:
    """Another spelling of the same octets: the last character with its unused bits set."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    if len(segment) % 4 == 0:
        return segment + b"A"
    return segment[:-1] + alphabet[alphabet.index(segment[-1]) + 1 :][:1]
