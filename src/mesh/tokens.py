"""Reads a mesh token strictly, header and claims, without believing any of it: that takes a key (mesh.access)."""

from __future__ import annotations

import base64
import json
import re
from typing import Final, NoReturn

import msgspec

from mesh.routes import AccessKeys

ALGORITHMS: Final = ("HS256", "RS256", "ES256", "EdDSA")
MAX_JSON_DEPTH: Final = 32
MAX_SEGMENTS: Final = 16
MAX_INSTANT: Final = 253_402_300_799  # 9999-12-31T23:59:59Z

KID: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
# Claims become header values of the forwarded request, so nothing that a header value could be split by gets in.
_NAME = re.compile(r"[\x21-\x7e]{1,256}")
# RFC 7515 section 2: no padding; RFC 4648 section 3.5: the unused bits of the last character are zero, so that
# one signature has one spelling.
_BASE64URL = r"(?:[A-Za-z0-9_-]{4})*+(?:[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048]|[A-Za-z0-9_-][AQgw])?"
_SEGMENT = re.compile(_BASE64URL.encode())
_COMPACT = re.compile(rf"({_BASE64URL})\.({_BASE64URL})\.({_BASE64URL})".encode())
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9_-]")
# The closing quote is optional, so that an unclosed string is passed over once and not once per quote in it.
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_BRACKET = re.compile(r"[][{}]")

# A key carried or named by the token itself (RFC 8725 section 3.10), extensions that must be understood, payloads that
# are not plain claims: none of these is ever needed, so none is ever read.
_REFUSED_HEADERS = frozenset({"b64", "crit", "cty", "enc", "jku", "jwk", "x5c", "x5u", "zip"})
_TYPES = frozenset({"jwt", "at+jwt"})


class TokenRefused(ValueError):
    """The token is not acceptable; the text says why, for the log only.

    `lasting` is False when the same token may become acceptable without any change of keys.
    """

    def __init__(self, reason: str, *, lasting: bool = True) -> None:
        """See the class."""
        self.lasting = lasting
        super().__init__(reason)


class Claims(msgspec.Struct, frozen=True):
    """Who a token speaks for (contracts/plane.md, Auth); `expires_at` in Unix seconds, without leeway."""

    org_id: str
    user_id: str
    source: str
    target: str
    worker_id: str | None
    expires_at: float


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token that is valid from `valid_from` until before `valid_until`, leeway included, if its signature is."""

    algorithm: str
    kid: str | None
    signing_input: bytes
    signature: bytes
    claims: Claims
    valid_from: float
    valid_until: float


def read(token: bytes, rules: AccessKeys, now: float) -> Token:
    """The parts of a compact JWS whose header and claims keep every rule; raises TokenRefused.

    `now` is in Unix seconds. Sources: RFC 7515, RFC 7519, RFC 8725, contracts/plane.md decision 9.
    """
    if len(token) > rules.max_token_bytes:
        raise TokenRefused("the token is too large")
    parts = _COMPACT.fullmatch(token)
    if parts is None:
        raise TokenRefused("not a JWS in compact form")
    header = _object(parts[1], "header")
    algorithm, kid = _check_header(header)
    payload = _object(parts[2], "payload")
    if payload.get("iss") != rules.issuer:
        raise TokenRefused("another issuer")
    valid_from, valid_until = _window(payload, rules, now)
    _check_audience(payload, rules.audience)
    return Token(
        algorithm=algorithm,
        kid=kid,
        signing_input=token[: parts.end(2)],
        signature=_decode(parts[3]),
        claims=_claims(payload),
        valid_from=valid_from,
        valid_until=valid_until,
    )


def names_issuer(credentials: bytes, issuer: str) -> bool:
    """Whether some reading of `credentials`, however sloppy, finds claims issued by `issuer` in them.

    Decides whether a bearer token is ours or the application's (contracts/plane.md decision 9). It errs towards ours,
    so that a mesh token mangled to slip through is refused instead of reaching an application that reads it loosely.
    """
    shortest = len(f'{{"iss":"{issuer}"}}'.encode()) * 4 // 3
    segments = [segment for segment in credentials.split(b".")[1:] if len(segment) >= shortest]
    return len(segments) > MAX_SEGMENTS or any(_loosely_names(segment, issuer) for segment in segments)


def strict_json(raw: bytes) -> object:
    """The JSON value in `raw`; raises TokenRefused for bad UTF-8, duplicate keys, NaN, infinity and deep nesting."""
    try:
        text = raw.decode()
        _check_depth(text)
        value: object = _STRICT.decode(text)
    except TokenRefused:
        raise
    except ValueError:
        raise TokenRefused("malformed JSON") from None
    return value


def strict_base64url(segment: bytes) -> bytes:
    """The bytes that `segment` stands for; raises TokenRefused unless it is their one unpadded spelling."""
    if _SEGMENT.fullmatch(segment) is None:
        raise TokenRefused("malformed base64url")
    return _decode(segment)


def _decode(segment: bytes) -> bytes:
    return base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))


def _object(segment: bytes, what: str) -> dict[str, object]:
    value = strict_json(_decode(segment))
    if not isinstance(value, dict):
        raise TokenRefused(f"the {what} is not a JSON object")
    return value


def _check_header(header: dict[str, object]) -> tuple[str, str | None]:
    if not _REFUSED_HEADERS.isdisjoint(header):
        raise TokenRefused("a header parameter that is never accepted")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenRefused("an algorithm that is not accepted")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise TokenRefused("another type of token")
    if "kid" not in header:
        return algorithm, None
    kid = header["kid"]
    if not isinstance(kid, str) or KID.fullmatch(kid) is None:
        raise TokenRefused("a malformed kid")
    return algorithm, kid


def _window(payload: dict[str, object], rules: AccessKeys, now: float) -> tuple[float, float]:
    expires = _instant(payload, "exp")
    if expires is None:
        raise TokenRefused("exp is missing")
    issued = _instant(payload, "iat")
    not_before = _instant(payload, "nbf")
    if rules.max_lifetime_s is not None and (issued is None or expires - issued > rules.max_lifetime_s):
        raise TokenRefused("valid for longer than allowed")
    valid_from = max(issued or 0.0, not_before or 0.0) - rules.leeway_s
    valid_until = expires + rules.leeway_s
    if now >= valid_until:
        raise TokenRefused("expired")
    if now < valid_from:
        raise TokenRefused("not valid yet", lasting=False)
    return valid_from, valid_until


def _instant(payload: dict[str, object], name: str) -> float | None:
    if name not in payload:
        return None
    value = payload[name]
    # bool is an int in Python, and a number in no other JSON library.
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= MAX_INSTANT:
        raise TokenRefused(f"{name} is not a time")
    return float(value)


def _check_audience(payload: dict[str, object], wanted: str | None) -> None:
    if wanted is None:
        return
    audience = payload.get("aud")
    members = audience if isinstance(audience, list) else [audience]
    if not all(isinstance(member, str) for member in members) or wanted not in members:
        raise TokenRefused("another audience")


def _claims(payload: dict[str, object]) -> Claims:
    worker_id = None if payload.get("workerId") is None else _name(payload, "workerId")
    return Claims(
        org_id=_name(payload, "orgId"),
        user_id=_name(payload, "userId"),
        source=_name(payload, "sourceService"),
        target=_name(payload, "targetService"),
        worker_id=worker_id,
        expires_at=_instant(payload, "exp") or 0.0,
    )


def _name(payload: dict[str, object], name: str) -> str:
    value = payload.get(name)
    if not isinstance(value, str) or _NAME.fullmatch(value) is None:
        raise TokenRefused(f"{name} is not 1 to 256 visible ASCII characters")
    return value


def _check_depth(text: str) -> None:
    if text.count("{") + text.count("[") <= MAX_JSON_DEPTH:
        return
    depth = 0
    for bracket in _BRACKET.findall(_JSON_STRING.sub("", text)):
        depth += 1 if bracket in "{[" else -1
        if depth > MAX_JSON_DEPTH:
            raise TokenRefused("JSON nested too deeply")


def _loosely_names(segment: bytes, issuer: str) -> bool:
    digits = _NOT_BASE64.sub(b"", segment.replace(b"+", b"-").replace(b"/", b"_"))
    if len(digits) % 4 == 1:
        digits = digits[:-1]
    text = _decode(digits).decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if not text.startswith("{"):
        return False
    try:
        _check_depth(text)
        members = _LOOSE.decode(text)
    except ValueError:
        return issuer in text
    return any(name == "iss" and value == issuer for name, value in members)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise TokenRefused("duplicate JSON keys")
    return members


def _refuse_constant(_text: str) -> NoReturn:
    raise TokenRefused("a number that is not finite")


_STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)
_LOOSE = json.JSONDecoder(object_pairs_hook=list, strict=False)
