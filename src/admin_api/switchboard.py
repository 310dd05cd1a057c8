"""Which dialect a request speaks, and which of its endpoints it asks for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from aiohttp import web

from admin_api.dialect import Dialect, Endpoint


class Switchboard:
    """The dialects of an application and the endpoints behind the routes of its router."""

    def __init__(self, router: web.UrlDispatcher, dialects: Iterable[Dialect]) -> None:
        """Put every endpoint on `router`; where several dialects claim a path, the longest prefix gets it."""
        self.dialects = tuple(sorted(dialects, key=lambda dialect: -len(dialect.prefix)))
        self._endpoints: dict[web.AbstractRoute, Endpoint] = {}
        for dialect in self.dialects:
            for endpoint in dialect.endpoints:
                self._add(router, endpoint)

    def dialect(self, request: web.Request) -> Dialect:
        """The dialect of the path."""
        return next(dialect for dialect in self.dialects if dialect.claims(request.path))

    def endpoint(self, match: web.UrlMappingMatchInfo | None) -> Endpoint | None:
        """The endpoint that was found for a request, None when it asks for nothing that there is."""
        return self._endpoints.get(match.route) if match is not None else None

    def _add(self, router: web.UrlDispatcher, endpoint: Endpoint) -> None:
        # A HEAD of a stream would have to say how an endless answer ends.
        methods = (
            ("GET", "HEAD") if endpoint.method == "GET" and not endpoint.operation.is_stream else (endpoint.method,)
        )
        for method in methods:
            self._endpoints[router.add_route(method, endpoint.path, endpoint.handler)] = endpoint


SWITCHBOARD: Final = web.AppKey("switchboard", Switchboard)
