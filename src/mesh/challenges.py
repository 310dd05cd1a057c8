"""What authorities ask for over HTTP while they validate a name (HTTP-01, RFC 8555 section 8.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from mesh.errors import METHOD_REFUSED, Failure, Reply

if TYPE_CHECKING:
    from mesh.routes import Route

PREFIX: Final = b"/.well-known/acme-challenge/"

_METHODS: Final = frozenset({b"GET", b"HEAD"})
_LINES: Final = b"Content-Type: text/plain\r\nCache-Control: no-store\r\n"

Match = Callable[[bytes, bytes], "Route | None"]


class Challenged(Exception):
    """A request is for a token that an authority gave us, so it is not for any route."""

    def __init__(self, authorization: bytes) -> None:
        """`authorization` is the key authorization of the token."""
        super().__init__()
        self._authorization = authorization

    def answer(self, method: bytes) -> Reply | Failure:
        """What to answer to a request with this method."""
        if method not in _METHODS:
            return Failure(METHOD_REFUSED, headers=(("Allow", "GET, HEAD"),))
        return Reply(200, _LINES, self._authorization)


def answering_first(tokens: Iterable[tuple[str, str]], match: Match) -> Match:
    """`match`, or while there are tokens a function that raises Challenged for them, on any host, and asks it then.

    `tokens` are pairs of a token and its key authorization, both ASCII. Unknown tokens are for routes: an application
    may have certificates of its own.
    """
    answers = {PREFIX + token.encode("ascii"): authorization.encode("ascii") for token, authorization in tokens}
    if not answers:
        return match

    def match_after(host: bytes, target: bytes) -> Route | None:
        if target.startswith(PREFIX) and target in answers:
            raise Challenged(answers[target])
        return match(host, target)

    return match_after
