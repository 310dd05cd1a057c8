"""Which pages of other origins may use a route: the server's half of the CORS protocol (Fetch standard).

A preflight is answered here and never reaches the target, as it comes without credentials whatever the request will
have. What a target says itself in Access-Control-* is dropped: two answers are as good as none to a browser.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mesh.policies import Cors

_ANY: Final = "*"
_PREFIX: Final = b"access-control-"
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# Fetch, "CORS-safelisted method": what every page may send without asking.
_SAFE_METHODS: Final = (b"GET", b"HEAD", b"POST")
_VARY: Final = b"Vary: Origin\r\n"
_PREFLIGHT_VARY: Final = b"Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\r\n"


class CorsRules:
    """The CORS protocol of one route."""

    __slots__ = (
        "_any_header",
        "_any_method",
        "_any_origin",
        "_below",
        "_credentials",
        "_exposed",
        "_headers",
        "_listed",
        "_max_age",
        "_methods",
    )

    def __init__(self, cors: Cors) -> None:
        """`*` among origins, methods or headers stands for any, `https://*.example.com` for all hosts below that one.

        By Fetch ("CORS protocol and credentials") `*` fails for requests with credentials. To reflect any origin
        instead would let every page on the web read what the visitor may, so only origins that are listed get them.
        """
        self._credentials = b"Access-Control-Allow-Credentials: true\r\n" if cors.credentials else b""
        origins = _encoded(cors.origins)
        self._listed = frozenset(origin for origin in origins if b"//*." not in origin)
        stars = [
            re.escape(origin).replace(rb"//\*\.", rb"//(?:[a-z0-9_-]+\.)+") for origin in origins if b"//*." in origin
        ]
        self._below = re.compile(b"|".join(stars)) if stars else None
        self._any_origin = b"Access-Control-Allow-Origin: *\r\n" if _ANY in cors.origins else b""
        self._methods = _encoded(cors.methods)
        self._any_method = _ANY in cors.methods
        # Fetch, "CORS-preflight fetch": names of fields are compared without regard to case, methods are not.
        self._headers = frozenset(name.lower() for name in _encoded(cors.headers))
        self._any_header = _ANY in cors.headers
        exposed = b", ".join(_encoded(cors.expose)) or (b"*" if _ANY in cors.expose else b"")
        self._exposed = b"Access-Control-Expose-Headers: %b\r\n" % exposed if exposed else b""
        self._max_age = b"Access-Control-Max-Age: %d\r\n" % cors.max_age_s

    @staticmethod
    def is_preflight(method: bytes, origin: bytes, request_method: bytes) -> bool:
        """Whether a browser asks first (Fetch, "HTTP requests"); any other OPTIONS is a request like all others.

        The values are those of Origin and of Access-Control-Request-Method, empty where there is none.
        """
        return method == b"OPTIONS" and bool(origin) and bool(request_method)

    def preflight(self, origin: bytes, method: bytes, headers: bytes) -> bytes | None:
        """The lines of a 204 that lets `method` come from `origin` with the fields `headers`, or None: refuse it.

        `method` and `headers` are the values of Access-Control-Request-Method and -Headers. What was asked for is
        named in the answer, so that `*`, which means nothing beside credentials, is never sent in its place.
        """
        allowed = self._allowed(origin)
        names = [name.strip(b" \t").lower() for name in headers.split(b",") if name.strip(b" \t")]
        if not allowed or not self._lets_method(method) or not all(self._lets_header(name) for name in names):
            return None
        methods = self._methods if method in self._methods else (*self._methods, method)
        lines = b"%bAccess-Control-Allow-Methods: %b\r\n" % (allowed, b", ".join(methods))
        if names:
            lines += b"Access-Control-Allow-Headers: %b\r\n" % b", ".join(names)
        return lines + self._max_age + _PREFLIGHT_VARY

    def lines(self, origin: bytes) -> bytes:
        """The lines of any other answer to a request with this Origin; it is empty for a request without one.

        They differ by origin, which caches have to know even of an answer that allows nothing (Fetch, "CORS protocol
        and HTTP caches").
        """
        allowed = self._allowed(origin)
        if allowed:
            allowed += self._exposed
        return allowed + _VARY if self._listed or self._below is not None else allowed

    def edit(self, lines: bytes, origin: bytes) -> bytes:
        """The field lines of a target's answer, CRLF each, with these rules in place of its own."""
        if _PREFIX in lines.lower():
            kept = [line for line in lines.split(b"\r\n") if not self.drops(line.partition(b":")[0])]
            lines = b"\r\n".join(kept)
        return lines + self.lines(origin)

    def lets(self, origin: bytes) -> bool:
        """Whether pages of this origin may use the route at all."""
        return bool(self._allowed(origin))

    @staticmethod
    def drops(name: bytes) -> bool:
        """Whether a field of the target's answer goes no further."""
        return name[: len(_PREFIX)].lower() == _PREFIX

    def _allowed(self, origin: bytes) -> bytes:
        """The lines that let pages of this origin in, or nothing."""
        if origin in self._listed or (self._below is not None and self._below.fullmatch(origin)):
            return b"Access-Control-Allow-Origin: %b\r\n%b" % (origin, self._credentials)
        return self._any_origin

    def _lets_method(self, method: bytes) -> bool:
        if method in self._methods or method in _SAFE_METHODS:
            return True
        return self._any_method and _TOKEN.fullmatch(method) is not None

    def _lets_header(self, name: bytes) -> bool:
        if name in self._headers:
            return True
        # Fetch, "CORS non-wildcard request-header name": `*` does not cover it.
        return self._any_header and name != b"authorization" and _TOKEN.fullmatch(name) is not None


def _encoded(names: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(name.encode("latin-1") for name in names if name != _ANY)
