"""Names and passwords of visitors: the Basic scheme (RFC 7617), with argon2id made bearable by a memory.

Judging a password costs some 50 ms and 64 MiB by design, so it is done once for each header that comes, in a thread,
and what was found is remembered by the SHA-256 of the header. A look-up by a digest tells an observer of its duration
nothing: to learn how much of one fits, one would have to choose its octets.
"""

from __future__ import annotations

import binascii
import hashlib
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidKey, UnsupportedAlgorithm
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

if TYPE_CHECKING:
    from mesh.policies import BasicAuth

KNOWN_S: Final = 300.0
REFUSED_S: Final = 60.0
# What `known` and `check` give for a header that is no valid name and password; no user can have this name.
REFUSED: Final = ""

_MAX_REMEMBERED: Final = 1024


class Memory:
    """What was found of headers, for a while; the oldest go first when there are too many."""

    __slots__ = ("_entries", "_lasts_s")

    def __init__(self, lasts_s: float) -> None:
        """Remember each for `lasts_s` seconds."""
        self._entries: dict[bytes, tuple[float, str]] = {}
        self._lasts_s = lasts_s

    def get(self, digest: bytes, now: float) -> str | None:
        """What was found, or None when that is unknown or too long ago."""
        entry = self._entries.get(digest)
        return entry[1] if entry is not None and now < entry[0] else None

    def keep(self, digest: bytes, name: str, now: float) -> None:
        """Remember what was found at `now`."""
        # Out and in again, so that the order is that of the times.
        self._entries.pop(digest, None)
        if len(self._entries) >= _MAX_REMEMBERED:
            del self._entries[next(iter(self._entries))]
        self._entries[digest] = (now + self._lasts_s, name)


class Credentials:
    """The users of one route.

    Ask `known` first. Only when it cannot tell, run `check` in a thread, a few at a time, and tell `remember` in the
    loop what came out. Refusals are remembered apart: any number of wrong guesses pushes nobody out who is known.
    """

    __slots__ = ("_decoy", "_known", "_refused", "_users")

    def __init__(self, auth: BasicAuth) -> None:
        """Users with argon2id hashes in PHC form, as the API lets them in."""
        self._users = {name.encode(): encoded for name, encoded in auth.users if name}
        # Who asks for a user who is not there waits for the password of one who is.
        self._decoy = next(iter(self._users.values()), "")
        self._known = Memory(KNOWN_S)
        self._refused = Memory(REFUSED_S)

    def known(self, authorization: bytes, now: float) -> str | None:
        """The user whose header this was lately, REFUSED for a wrong one, or None: `check` has to find out.

        `now` is in seconds of a monotonic clock.
        """
        token = _token(authorization)
        if token is None:
            return REFUSED
        digest = hashlib.sha256(token).digest()
        name = self._known.get(digest, now)
        return self._refused.get(digest, now) if name is None else name

    def check(self, authorization: bytes) -> str:
        """The user whose name and password this header has, or REFUSED. Slow, and safe to run in a thread.

        A name that is unknown costs as much time as a password that is wrong (if all hashes were made alike).
        """
        token = _token(authorization)
        pair = None if token is None else _decoded(token)
        if pair is None:
            return REFUSED
        name, password = pair
        encoded = self._users.get(name)
        is_right = _fits(password, encoded or self._decoy)
        return name.decode() if encoded is not None and is_right else REFUSED

    def remember(self, authorization: bytes, name: str, now: float) -> None:
        """Keep what `check` gave for this header."""
        token = _token(authorization)
        if token is not None:
            memory = self._refused if name == REFUSED else self._known
            memory.keep(hashlib.sha256(token).digest(), name, now)


def challenge(realm: str) -> str:
    """The value of WWW-Authenticate that asks for a name and a password (RFC 7617 section 2)."""
    printable = "".join(character if " " <= character <= "~" else "?" for character in realm)
    quoted = printable.replace("\\", "\\\\").replace('"', '\\"')
    return f'Basic realm="{quoted}", charset="UTF-8"'


def _token(authorization: bytes) -> bytes | None:
    """What stands behind the scheme, or None when that is another one (its case does not matter: RFC 9110 11.1)."""
    scheme, _, token = authorization.partition(b" ")
    return token.strip(b" ") if scheme.lower() == b"basic" else None


def _decoded(token: bytes) -> tuple[bytes, bytes] | None:
    """Name and password; a name has no colon (RFC 7617 section 2)."""
    try:
        pair = binascii.a2b_base64(token, strict_mode=True)
    except binascii.Error:
        return None
    name, colon, password = pair.partition(b":")
    return (name, password) if colon else None


def _fits(password: bytes, encoded: str) -> bool:
    try:
        Argon2id.verify_phc_encoded(password, encoded)
    except (InvalidKey, UnsupportedAlgorithm, ValueError):
        return False
    return True
