"""Other paths for targets, and other places for visitors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from mesh.policies import Redirect
    from mesh.routes import Route

_PLACEHOLDER: Final = re.compile(r"\{(host|path|query)\}")
# What may stand in a URL as it is: everything visible but the backslash, which browsers read as a slash, and what
# RFC 3986 section 2 has no place for.
_VISIBLE: Final = "!#$%&'()*+,-./:;=?@[]_~"
_IN_QUERY: Final = "/-._~"


class Rewrite:
    """Takes the prefix of a route off the targets of its requests, or puts another in its place.

    Location and Content-Location of the answers are not changed in return: which of a target's URLs are meant for the
    visitor cannot be told from outside (bodies and cookies name them as well). Such a target has to be told its prefix.
    """

    __slots__ = ("_length", "_prefix", "_replacement")

    def __init__(self, route: Route) -> None:
        """A route with `strip_prefix` or a `rewrite_prefix`; the latter is stronger."""
        self._prefix = route.path_prefix.rstrip("/").encode()
        self._length = len(self._prefix)
        self._replacement = (route.rewrite_prefix or "").rstrip("/").encode()

    def apply(self, target: bytes) -> bytes:
        """The request target, in origin-form, for the target of the route.

        It begins with one slash, never with two: `//a` would be read as the host `a` by whoever resolves it.
        """
        rest = target[self._length :]
        # Matched by a route with this prefix, so what follows is nothing, a query, or another segment.
        if not target.startswith(self._prefix) or rest[:1] not in (b"", b"/", b"?") or target[:1] != b"/":
            return target
        return b"/" + (self._replacement + rest).lstrip(b"/")


def rewrite_of(route: Route) -> Rewrite | None:
    """How the paths of a route are rewritten, or None when they stay as they are."""
    return Rewrite(route) if route.strip_prefix or route.rewrite_prefix is not None else None


def location(redirect: Redirect, host: bytes, target: bytes, *, is_https: bool) -> str:
    r"""The value of Location for a request for `target`, in origin-form, at `host`, folded and without port.

    `{path}` begins with a slash and with one only, also where a slash stands before it, so that neither `//evil.net`
    nor `\evil.net` as a path leads to another host. `{query}` is what follows the question mark, which is added or
    taken away as it has to be: `{path}{query}`, `{path}?{query}` and `{path}?a=1&{query}` do what they look like. In
    the query of `to`, the path is quoted like any value. A `to` that begins with `//` gets the visitor's scheme.
    """
    path, _, query = target.decode("latin-1").partition("?")
    own = {"host": host.decode("latin-1"), "path": "/" + path.lstrip("/\\"), "query": query}
    filled, end = "", 0
    for match in _PLACEHOLDER.finditer(redirect.to):
        filled += redirect.to[end : match.start()]
        filled = _with(filled, match[1], own[match[1]])
        end = match.end()
    filled += redirect.to[end:]
    if filled.startswith("//"):
        filled = f"{'https' if is_https else 'http'}:{filled}"
    # Nothing that could end the line, whatever came in.
    return quote(filled, safe=_VISIBLE)


def _with(filled: str, name: str, value: str) -> str:
    """What is filled in so far, and one more value behind it."""
    if name == "host":
        return filled + value
    if name == "path":
        if "?" in filled:
            return filled + quote(value, safe=_IN_QUERY)
        return filled + (value[1:] if filled.endswith("/") else value)
    if not value:
        return filled[:-1] if filled.endswith(("?", "&")) else filled
    if filled.endswith(("?", "&", "=")):
        return filled + value
    return filled + ("&" if "?" in filled else "?") + value
