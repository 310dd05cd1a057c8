"""Keeps the web pages that an operator has open from using the admin API on the operator's behalf.

A protected endpoint of a signed node asks for a signature, and no page can make one; a read of a public endpoint gives
nothing away. For both, any origin may call and read, as contracts/plane.md says. What is left has only *ambient*
authority: that the caller can reach the listener. A standalone node is open to everyone on its loopback address, and a
browser on that machine is there too, running pages that anybody wrote. So ambient requests are refused

- from another origin (403), known by `Sec-Fetch-Site`, which pages cannot set, or else by `Origin`. Another port of the
  same host is another origin: it may be a tenant's application. A preflight for them gets no permission.
- under a name that is not ours (421): a page on a name that its owner points at 127.0.0.1 (DNS rebinding) is
  same-origin to the browser, but its `Host` is that name. IP addresses and `localhost` cannot be rebound; further
  names of the listener are a setting.

Programs that are not browsers send neither `Origin` nor `Sec-Fetch-Site` and notice nothing of this.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

import msgspec
from aiohttp import web

from admin_api.dialect import Endpoint
from admin_api.errors import ApiError

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_AUTHORITY: Final = re.compile(r"\[([^\[\]]+)\](?::\d*)?|([^:\[\]]+)(?::\d*)?")
_OWN_PAGES: Final = frozenset({"same-origin", "none"})
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_ANYONE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": "*",
    }
)
# `*` does not stand for Authorization (Fetch standard, section 4.9), so it is named.
_PREFLIGHT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Access-Control-Allow-Methods": "*",
        "Access-Control-Allow-Headers": "*, Authorization",
        "Access-Control-Max-Age": "600",
    }
)


class OriginPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Which pages may call: `is_open` says that protected endpoints ask for no proof.

    `admin_hosts` are names of the listener besides IP addresses and `localhost`; `trusted_origins` are origins such as
    `http://localhost:3000` whose pages may do what the operator may do.
    """

    is_open: bool
    admin_hosts: frozenset[str] = frozenset()
    trusted_origins: frozenset[str] = frozenset()

    def check(self, request: web.Request, endpoint: Endpoint | None) -> None:
        """Raise ApiError 421 or 403 when a page of somebody else is behind an ambient request."""
        if not self._is_ambient(request.method, endpoint):
            return
        host = request.headers.get("Host", "")
        if host and not self._is_ours(host):
            raise ApiError(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"This node is not known as {host!r}: use its IP address or localhost, or set admin.hosts.",
            )
        if self._is_foreign(request.headers, host):
            raise ApiError(
                HTTPStatus.FORBIDDEN, "Pages of other origins may not do this on a node that asks for no proof."
            )

    def grants(self, request: web.Request, endpoint: Endpoint | None) -> Mapping[str, str]:
        """The headers that let the page behind `request` read the answer."""
        if not self._is_ambient(request.method, endpoint):
            return _ANYONE
        return self._grants_to(request.headers.get("Origin"))

    def preflight(self, request: web.Request, endpoint: Endpoint | None) -> Mapping[str, str]:
        """The headers that answer the question whether the page may send a request to `endpoint`."""
        method = request.headers.get("Access-Control-Request-Method", "")
        if not self._is_ambient(method, endpoint):
            return {**_ANYONE, **_PREFLIGHT}
        grants = self._grants_to(request.headers.get("Origin"))
        return {**grants, **_PREFLIGHT} if grants else _NOTHING

    def _is_ambient(self, method: str, endpoint: Endpoint | None) -> bool:
        if endpoint is None:
            return False
        if endpoint.access == "protected":
            return self.is_open
        return method not in _SAFE_METHODS

    def _is_ours(self, host: str) -> bool:
        authority = _AUTHORITY.fullmatch(host.lower())
        if authority is None:
            return False
        name = authority[1] or authority[2].removesuffix(".")
        return name == "localhost" or name in self.admin_hosts or _is_address(name)

    def _is_foreign(self, headers: Mapping[str, str], host: str) -> bool:
        origin = headers.get("Origin")
        if origin in self.trusted_origins:
            return False
        if headers.get("Sec-Fetch-Site", "none") not in _OWN_PAGES:
            return True
        return origin is not None and origin.partition("://")[2] != host.lower()

    def _grants_to(self, origin: str | None) -> Mapping[str, str]:
        if origin is None or origin not in self.trusted_origins:
            return _NOTHING
        return {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": "*", "Vary": "Origin"}


POLICY: Final = web.AppKey("policy", OriginPolicy)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
