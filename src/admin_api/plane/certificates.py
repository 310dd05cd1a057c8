"""The native certificates: list, read, follow, renew, revoke, import and export."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import msgspec
from aiohttp import web

from admin_api.auth import PRINCIPAL
from admin_api.body import read_json, read_query
from admin_api.errors import ApiError, invalid, unauthorized
from admin_api.models import model_of
from admin_api.plane import names, one_route
from admin_api.plane.domain_schema import (
    CertificateDetail,
    CertificatePage,
    CertificatesQuery,
    Ended,
    PemWish,
    Revocation,
)
from admin_api.plane.domains import END
from admin_api.plane.pem import CHAIN_TYPE, PEM_TYPE, links_of, read_pem
from admin_api.plane.system import Sights, desk_of
from admin_api.plane.watching import changes_of
from admin_api.sse import Event, Streams
from state.observed import CertificateFact
from state.ports import Views
from state.refusal import Problem, Refused

# What is reported of a certificate comes a moment after it was imported.
_REPORT_S: Final = 2.0

_LOG: Final = logging.getLogger(__name__)


class Certificates:
    """The handlers of `/certificates`."""

    def __init__(self, views: Views, sights: Sights, streams: Streams) -> None:
        """What is known of certificates is in `views`; the desk of `sights` has the certificates themselves."""
        self._views = views
        self._sights = sights
        self._streams = streams

    async def list_certificates(self, request: web.Request) -> web.Response:
        """One page of certificates, in the order of the names that they are for."""
        query = read_query(request, CertificatesQuery)
        facts = self._views.observed.value.certificates
        selection = names.NameSelection(
            limit=query.limit,
            after=names.decode_cursor(query.cursor) if query.cursor is not None else None,
            q=query.q.lower() if query.q is not None else None,
            is_wanted=lambda name: query.status in {None, facts[name].status},
        )
        page = await names.page(facts, len(facts), selection)
        shown = CertificatePage(
            certificates=tuple(facts[name] for name in page.names),
            next_cursor=names.encode_cursor(page.after) if page.after is not None else None,
        )
        return one_route.to_json(HTTPStatus.OK, shown)

    async def get_certificate(self, request: web.Request) -> web.Response:
        """How the certificate for a name does, with its chain."""
        return await self._shown(HTTPStatus.OK, self._find(self._named(request)))

    async def follow_certificate(self, request: web.Request) -> web.StreamResponse:
        """How the certificate for a name does now, and again whenever that changes."""
        fact = self._find(self._named(request))
        return await self._streams.serve(request, self._events(fact.name))

    async def renew(self, request: web.Request) -> web.Response:
        """Obtain a new certificate now (202)."""
        name = self._named(request)
        await desk_of(self._sights).renew(name)
        return await self._shown(HTTPStatus.ACCEPTED, self._fact(name))

    async def revoke(self, request: web.Request) -> web.Response:
        """Have the issuer revoke the certificate (200)."""
        name = self._named(request)
        body = await read_json(request, model_of(Revocation), or_empty=True)
        reason = msgspec.convert(body.model_dump(), Revocation).reason
        await desk_of(self._sights).revoke(name, reason)
        return await self._shown(HTTPStatus.OK, self._fact(name))

    async def import_pem(self, request: web.Request) -> web.Response:
        """Serve a certificate that was obtained elsewhere (201)."""
        desk = desk_of(self._sights)
        name = await desk.import_pem(await read_pem(request))
        fact = await self._reported(name, await desk.export_pem(name, with_key=False))
        return await self._shown(HTTPStatus.CREATED, fact, {"Location": f"/certificates/{quote(name, safe='*')}"})

    async def export_chain(self, request: web.Request) -> web.Response:
        """The chain."""
        name = self._named(request)
        return _pem(await desk_of(self._sights).export_pem(name, with_key=False), _file(name), CHAIN_TYPE)

    async def export_pem(self, request: web.Request) -> web.Response:
        """The chain, and the key behind it when that is asked for."""
        principal, name = request[PRINCIPAL], self._named(request)
        if principal.kind == "worker" and "X-Timestamp" not in request.headers:
            # A signature is for a body alone, and without a time it is good for ever: whoever saw one would have keys.
            raise unauthorized()
        body = await read_json(request, model_of(PemWish))
        wish = msgspec.convert(body.model_dump(), PemWish)
        if name not in {wish.name, names.fold(wish.name)}:
            raise invalid([Problem("name", f"is not {name}, which the path names")])
        pem = await desk_of(self._sights).export_pem(name, with_key=wish.with_key)
        if wish.with_key:
            actor = principal.actor
            _LOG.warning("the key of the certificate for %s was given to %s at %s", name, actor.name, actor.address)
        return _pem(pem, _file(name), PEM_TYPE if wish.with_key else CHAIN_TYPE)

    async def remove(self, request: web.Request) -> web.Response:
        """Serve an imported certificate no more (204)."""
        await desk_of(self._sights).remove(self._named(request))
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def root_pem(self, request: web.Request) -> web.Response:
        """The root of the internal authority."""
        return _pem(await desk_of(self._sights).root_pem(), "zexio-root.pem", CHAIN_TYPE)

    async def _events(self, name: str) -> AsyncGenerator[Event]:
        seen: CertificateFact | None = None
        async with aclosing(changes_of(self._views.observed)) as changes:
            async for _change in changes:
                fact = self._reported_of(name)
                if fact is None:
                    yield Event(msgspec.json.encode(Ended(name=name)), name=END)
                    return
                if fact != seen:
                    seen = fact
                    yield Event(msgspec.json.encode(fact))

    def _named(self, request: web.Request) -> str:
        """The name in the path; certificates of files may go by names that no domain can have, which are not folded."""
        text = request.match_info["name"]
        return text if text in self._views.observed.value.certificates else names.fold(text)

    def _fact(self, name: str) -> CertificateFact:
        """What is known of a name, even if nothing was reported yet."""
        return self._views.observed.value.certificates.get(name) or CertificateFact(name=name)

    def _reported_of(self, name: str) -> CertificateFact | None:
        """What was reported of a name; of a domain that was just added it comes a moment later."""
        domain = self._views.desired.value.domains.get(name)
        is_wanted = domain is not None and domain.certificate == "auto"
        return self._views.observed.value.certificates.get(name) or (CertificateFact(name=name) if is_wanted else None)

    def _find(self, name: str) -> CertificateFact:
        fact = self._reported_of(name)
        if fact is None:
            raise ApiError(HTTPStatus.NOT_FOUND, f"There is no certificate for {name}, and none is wanted.")
        return fact

    async def _reported(self, name: str, chain: bytes) -> CertificateFact:
        """What is reported of a certificate, as soon as it is."""
        fingerprint = next((link.fingerprint for link in links_of(chain)), None)
        try:
            async with asyncio.timeout(_REPORT_S), aclosing(changes_of(self._views.observed)) as changes:
                async for _change in changes:
                    if self._fact(name).fingerprint == fingerprint:
                        break
        except TimeoutError:
            pass
        return self._fact(name)

    async def _shown(
        self, status: HTTPStatus, fact: CertificateFact, headers: dict[str, str] | None = None
    ) -> web.Response:
        detail = CertificateDetail(**msgspec.structs.asdict(fact), chain=links_of(await self._chain(fact)))
        return one_route.to_json(status, detail, {"Cache-Control": "no-store", **(headers or {})})

    async def _chain(self, fact: CertificateFact) -> bytes:
        if self._sights.desk is None or fact.fingerprint is None:
            return b""
        try:
            return await self._sights.desk.export_pem(fact.name, with_key=False)
        except Refused:
            # One that a file brings, or another name's that covers this one: the desk has none of that name.
            return b""


def _file(name: str) -> str:
    return f"{name.replace('*', '_')}.pem"


def _pem(pem: bytes, filename: str, media: str) -> web.Response:
    headers = {"Cache-Control": "no-store", "Content-Disposition": f'attachment; filename="{filename}"'}
    return web.Response(body=pem, content_type=media, headers=headers)
