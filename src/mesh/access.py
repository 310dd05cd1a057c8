"""Who may use a route: from an Authorization field to a verdict, with a cache of the tokens that were verified."""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from typing import Final, Generic, TypeVar

import msgspec

from mesh.errors import TOKEN_INVALID, TOKEN_MISSING, WRONG_TENANT, Failure
from mesh.keys import Keyring
from mesh.routes import AccessKeys, Route
from mesh.tokens import Claims, TokenRefused, names_issuer, read

MAX_LEEWAY_S: Final = 60.0
MAX_UNKNOWN_KIDS: Final = 16
REFUSAL_TTL_S: Final = 5.0

# RFC 6750 section 3: at least one parameter, and no error code when there was no token.
_CHALLENGE = (("WWW-Authenticate", 'Bearer realm="zexio"'),)
_CHALLENGE_INVALID = (("WWW-Authenticate", 'Bearer realm="zexio", error="invalid_token"'),)

# RFC 6750 section 2.1: the scheme in any case, one token68. RFC 9110 section 11.4 would allow more than the one space
# that everybody sends; whoever sends more is trying how far the readers of this field agree.
_CREDENTIALS = re.compile(rb"bearer ([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)
_BEARER = re.compile(rb"bearer(?![!#$%&'*+.^_`|~0-9a-z-])", re.IGNORECASE)

K = TypeVar("K")
V = TypeVar("V")


class Verdict(msgspec.Struct, frozen=True):
    """What a request may do, and as whom.

    `claims` are those of a verified mesh token, whose Authorization field is removed unless the route forwards it.
    `passthrough`: the credentials belong to the application, so the field stays. `identity` is the header lines to
    forward, each ended by CRLF, or nothing.
    """

    claims: Claims | None
    passthrough: bool
    identity: bytes = b""


ANONYMOUS: Final = Verdict(None, passthrough=False)
APPLICATION: Final = Verdict(None, passthrough=True)


class Verifier:
    """Checks mesh tokens against one set of keys; another set is another Verifier, so no answer outlives its key."""

    __slots__ = ("_cache_ttl_s", "_keyring", "_refused", "_rules", "_unknown_kids", "_verified")

    def __init__(self, keys: AccessKeys, *, cache_size: int = 10_000, cache_ttl_s: float = 60.0) -> None:
        """Parse every key; raises ValueError, with a sentence for the operator, when something in `keys` is unfit.

        `cache_size` bounds the verified tokens and, separately, the refused ones; a verified one is believed for
        `cache_ttl_s` seconds at most, and never past its `exp`.
        """
        if not 0 <= keys.leeway_s <= MAX_LEEWAY_S:
            raise ValueError(f"the leeway for mesh tokens is 0 to {MAX_LEEWAY_S:.0f} seconds")
        if not keys.issuer:
            raise ValueError("the issuer of mesh tokens is empty")
        self._rules = keys
        self._keyring = Keyring(keys.keys)
        self._cache_ttl_s = cache_ttl_s
        self._verified: _Bounded[bytes, _Verified] = _Bounded(cache_size)
        self._refused: _Bounded[bytes, _Refusal] = _Bounded(cache_size)
        self._unknown_kids: set[str] = set()

    @property
    def generation(self) -> int:
        """The generation of the keys."""
        return self._rules.generation

    def check(self, authorization: bytes | None, route: Route, now: float) -> Verdict:
        """The verdict on a request for `route` (contracts/plane.md decision 9).

        `authorization` is the value of the one Authorization field, without the white space around it; `now` is in
        Unix seconds. Raises Failure: 401 without a valid token where one is needed or sent, 403 when the token is of
        an organization that the route does not admit. The visitor is not told what is wrong with a token; the reason
        is a note on the exception, for the log.
        """
        if authorization is None:
            if route.access == "public":
                return ANONYMOUS
            raise Failure(TOKEN_MISSING, headers=_CHALLENGE)
        known = self._verified.get(authorization)
        if known is not None and known.valid_from <= now < known.valid_until:
            if known.org_id == route.org_id:
                return known.verdict
            return _admit(known, route)
        return self._check_unknown(authorization, route, now)

    def take_unknown_kids(self) -> frozenset[str]:
        """The kids that tokens have named since the last call and no key has, 16 at most; nobody vouches for them."""
        kids = frozenset(self._unknown_kids)
        self._unknown_kids.clear()
        return kids

    def _check_unknown(self, authorization: bytes, route: Route, now: float) -> Verdict:
        outcome = self._judge(authorization, now)
        if isinstance(outcome, _Verified):
            return _admit(outcome, route)
        if route.access == "public" and not outcome.is_ours:
            return APPLICATION
        raise _unauthorized(outcome)

    def _judge(self, authorization: bytes, now: float) -> _Verified | _Refusal:
        if _BEARER.match(authorization) is None or len(authorization) == len(b"Bearer"):
            return _NO_TOKEN
        if len(authorization) > self._rules.max_token_bytes + len(b"Bearer "):
            return _TOO_LARGE
        digest = hashlib.sha256(authorization).digest()
        refusal = self._refused.get(digest)
        if refusal is not None and refusal.since <= now < refusal.until:
            return refusal
        try:
            return self._verified_token(authorization, now)
        except TokenRefused as refused:
            refusal = self._refusal(authorization, refused, now)
            if refused.lasting:
                self._refused.put(digest, refusal)
            return refusal

    def _verified_token(self, authorization: bytes, now: float) -> _Verified:
        found = _CREDENTIALS.fullmatch(authorization)
        if found is None:
            raise TokenRefused("malformed credentials")
        canonical = b"Bearer " + found[1]
        known = self._verified.get(canonical)
        if known is None or not known.valid_from <= now < known.valid_until:
            known = self._verify(found[1], now)
            self._verified.put(canonical, known)
        return known

    def _verify(self, token: bytes, now: float) -> _Verified:
        parts = read(token, self._rules, now)
        if not self._keyring.verifies(parts):
            self._note_kid(parts.kid)
            raise TokenRefused("no key verifies the signature")
        verdict = Verdict(parts.claims, passthrough=False, identity=_identity(parts.claims))
        valid_until = min(parts.valid_until, now + self._cache_ttl_s)
        return _Verified(verdict, parts.claims.org_id, parts.valid_from, valid_until)

    def _note_kid(self, kid: str | None) -> None:
        if kid is not None and len(self._unknown_kids) < MAX_UNKNOWN_KIDS and not self._keyring.knows(kid):
            self._unknown_kids.add(kid)

    def _refusal(self, authorization: bytes, refused: TokenRefused, now: float) -> _Refusal:
        is_ours = names_issuer(authorization, self._rules.issuer)
        ttl_s = REFUSAL_TTL_S if is_ours else self._cache_ttl_s
        return _Refusal(str(refused), is_ours, since=now, until=now + ttl_s)


class _Verified(msgspec.Struct, frozen=True):
    verdict: Verdict
    org_id: str
    valid_from: float
    valid_until: float


class _Refusal(msgspec.Struct, frozen=True):
    reason: str
    is_ours: bool
    since: float
    until: float


_NO_TOKEN = _Refusal("no bearer token", is_ours=False, since=0.0, until=0.0)
# Whose it is can only be told by decoding it, which its size forbids: it is refused as if it were ours.
_TOO_LARGE = _Refusal("the credentials are too large", is_ours=True, since=0.0, until=0.0)


class _Bounded(OrderedDict[K, V], Generic[K, V]):
    """A dictionary that forgets its oldest entry when it is full, in constant time."""

    __slots__ = ("_size",)

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def put(self, key: K, value: V) -> None:
        """Add an entry, or renew one."""
        self.pop(key, None)
        if len(self) >= self._size:
            self.popitem(last=False)
        self[key] = value


def _admit(known: _Verified, route: Route) -> Verdict:
    # contracts/plane.md decision 9: a route without organization admits no token; decision 17: `tenants` are guests.
    if route.org_id is not None and (known.org_id == route.org_id or known.org_id in route.tenants):
        return known.verdict
    raise Failure(WRONG_TENANT)


def _unauthorized(refusal: _Refusal) -> Failure:
    if refusal is _NO_TOKEN:
        return Failure(TOKEN_MISSING, headers=_CHALLENGE)
    failure = Failure(TOKEN_INVALID, headers=_CHALLENGE_INVALID)
    failure.add_note(refusal.reason)
    return failure


def _identity(claims: Claims) -> bytes:
    lines = f"X-Zexio-Org: {claims.org_id}\r\nX-Zexio-User: {claims.user_id}\r\nX-Zexio-Source: {claims.source}\r\n"
    return lines.encode("ascii")
