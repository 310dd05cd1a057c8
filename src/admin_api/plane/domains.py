"""The native domains: list, read, put, remove, check, and follow what becomes of them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import msgspec
from aiohttp import web

from admin_api.auth import PRINCIPAL
from admin_api.body import read_json, read_query
from admin_api.errors import ApiError, invalid
from admin_api.plane import names, one_route
from admin_api.plane.domain_schema import (
    Checked,
    DomainBody,
    DomainPage,
    DomainsQuery,
    DomainView,
    Ended,
    status_of,
    view_of,
)
from admin_api.plane.putting import put
from admin_api.plane.records import Home
from admin_api.plane.system import Sights, desk_of
from admin_api.plane.watching import changes_of
from admin_api.preconditions import etag, expectation
from admin_api.sse import Event, Streams
from state.domains import PutDomain, RemoveDomain
from state.model import Domain
from state.ports import Changes, Views
from state.refusal import Problem, Refused

END: Final = "end"

# 144 bits, which nobody guesses, in 24 characters, which fit anywhere.
_TOKEN_BYTES: Final = 18
# A domain keeps the time that the store gave it.
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Domains:
    """The handlers of `/domains`."""

    def __init__(self, changes: Changes, views: Views, sights: Sights, streams: Streams) -> None:
        """Domains are changed through `changes`, and what becomes of them is seen in `views`."""
        self._changes = changes
        self._views = views
        self._sights = sights
        self._streams = streams

    async def list_domains(self, request: web.Request) -> web.Response:
        """One page of domains, in the order of their names."""
        query = read_query(request, DomainsQuery)
        domains, facts = self._views.desired.value.domains, self._views.observed.value.certificates
        selection = names.NameSelection(
            limit=query.limit,
            after=names.decode_cursor(query.cursor) if query.cursor is not None else None,
            q=query.q.lower() if query.q is not None else None,
            is_wanted=lambda name: query.status in {None, status_of(domains[name], facts.get(name))},
        )
        page = await names.page(domains, len(domains), selection)
        home = self._sights.home()
        shown = DomainPage(
            domains=tuple(view_of(domains[name], facts.get(name), home) for name in page.names),
            next_cursor=names.encode_cursor(page.after) if page.after is not None else None,
        )
        return one_route.to_json(HTTPStatus.OK, shown)

    async def get_domain(self, request: web.Request) -> web.Response:
        """A domain and how its certificate does."""
        return self._answer(HTTPStatus.OK, self._find(names.named(request)))

    async def put_domain(self, request: web.Request) -> web.Response:
        """Create a domain (201) or replace it (200); its certificate comes later, and the answer says how it does."""
        body = await read_json(request, DomainBody, or_empty=True)
        wanted = _wanted(names.named(request), body.model_dump(include={"name", "serves", "certificate", "https"}))
        change = PutDomain(domain=wanted, token=new_token(wanted.name, self._sights.home()))
        try:
            after, is_new = await put(
                self._changes, request, change, lambda: self._views.desired.value.domains.get(wanted.name)
            )
        except Refused as refused:
            raise _other_status(refused, wanted) from None
        domain = after.domains[wanted.name]
        if not is_new:
            return self._answer(HTTPStatus.OK, domain)
        return self._answer(HTTPStatus.CREATED, domain, {"Location": f"/domains/{quote(domain.name, safe='*')}"})

    async def delete_domain(self, request: web.Request) -> web.Response:
        """Remove a domain (204)."""
        current = self._find(names.named(request))
        expect = expectation(request.headers, current.revision)
        change = RemoveDomain(name=current.name)
        await self._changes.submit(change, actor=request[PRINCIPAL].actor, expect=expect)
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def check_domain(self, request: web.Request) -> web.Response:
        """What the public records of a name say, whether it is a domain yet or not."""
        name = names.named(request)
        advice = tuple(await desk_of(self._sights).check(name))
        checked = Checked(name=name, is_blocked=any(each.is_blocking for each in advice), advice=advice)
        return one_route.to_json(HTTPStatus.OK, checked)

    async def follow_domain(self, request: web.Request) -> web.StreamResponse:
        """The domain as it is now, and again whenever something of it changes."""
        domain = self._find(names.named(request))
        return await self._streams.serve(request, self._events(domain.name))

    async def _events(self, name: str) -> AsyncGenerator[Event]:
        seen = b""
        async with aclosing(changes_of(self._views.desired, self._views.observed)) as changes:
            async for _change in changes:
                domain = self._views.desired.value.domains.get(name)
                if domain is None:
                    yield Event(msgspec.json.encode(Ended(name=name)), name=END)
                    return
                shown = msgspec.json.encode(self._view(domain))
                if shown != seen:
                    seen = shown
                    yield Event(shown)

    def _find(self, name: str) -> Domain:
        domain = self._views.desired.value.domains.get(name)
        if domain is None:
            raise ApiError(HTTPStatus.NOT_FOUND, f"There is no domain {name}.")
        return domain

    def _view(self, domain: Domain) -> DomainView:
        return view_of(domain, self._views.observed.value.certificates.get(domain.name), self._sights.home())

    def _answer(self, status: HTTPStatus, domain: Domain, headers: dict[str, str] | None = None) -> web.Response:
        # The tag is that of what operators want. What becomes of it changes without them, so no copy may be kept.
        fields = {"ETag": etag(domain.revision), "Cache-Control": "no-store", **(headers or {})}
        return one_route.to_json(status, self._view(domain), fields)


def new_token(name: str, home: Home) -> str:
    """A token for the proof of ownership, "" where none is asked for."""
    return secrets.token_urlsafe(_TOKEN_BYTES) if home.ownership and not home.has(name) else ""


def _wanted(name: str, fields: dict[str, str | None]) -> Domain:
    given = fields.pop("name")
    if given is not None and names.fold(given) != name:
        raise invalid([Problem("name", f"is not {name}, which the path names")])
    return msgspec.convert({**fields, "name": name, "created_at": _NEVER}, Domain)


def _other_status(refused: Refused, wanted: Domain) -> Exception:
    """What a PUT is refused with: a host that is not there is no 404, which would be about the domain."""
    if refused.kind == "missing" and refused.field == "serves":
        advice = f"put a route for {wanted.serves} first, or leave serves out"
        return ApiError(HTTPStatus.CONFLICT, f"{refused}; {advice}", refused.problems)
    return refused
