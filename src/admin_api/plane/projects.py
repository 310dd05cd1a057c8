"""Plane's custom domains of a project: rows 12 and 13 of contracts/plane.md."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from admin_api.auth import PRINCIPAL
from admin_api.body import read_json
from admin_api.errors import ApiError
from admin_api.models import model_of
from admin_api.plane import names
from admin_api.plane.domain_schema import ProjectDomain
from admin_api.plane.domains import new_token
from admin_api.plane.system import Sights
from state.change import Absent, Change, IfMatch
from state.domains import PutDomain, RemoveDomain
from state.index import members
from state.model import Domain
from state.ports import Changes, Views
from state.refusal import Refused

_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)


class Projects:
    """The handlers of `/projects/{id}/domains`. A project is known by the routes of its host."""

    def __init__(self, changes: Changes, views: Views, sights: Sights) -> None:
        """Whatever is done twice has the same answer as the first time."""
        self._changes = changes
        self._views = views
        self._sights = sights

    async def add_domain(self, request: web.Request) -> web.Response:
        """Have a domain answer as the project does."""
        host = self._host(request)
        name = names.fold(await _domain(request), "domain")
        if self._sights.home().owns(name):
            raise ApiError(HTTPStatus.CONFLICT, f"{name} is a name of this node: give a domain of the project's own.")
        while True:
            current = self._views.desired.value.domains.get(name)
            if current is not None and current.serves not in {None, host}:
                raise ApiError(HTTPStatus.CONFLICT, f"{name} is a domain that answers as {current.serves} does.")
            change = PutDomain(domain=_served(name, host, current), token=new_token(name, self._sights.home()))
            is_ours = current is not None and current.serves == host
            if is_ours or await self._submit(request, change, current):
                return web.Response(text="Domain added")

    async def remove_domain(self, request: web.Request) -> web.Response:
        """Have a domain answer as the project no more; one of another project stays as it is."""
        host = self._host(request)
        name = names.fold(await _domain(request), "domain")
        while True:
            current = self._views.desired.value.domains.get(name)
            is_ours = current is not None and current.serves == host
            if not is_ours or await self._submit(request, RemoveDomain(name=name), current):
                return web.Response(text="Domain removed")

    async def _submit(self, request: web.Request, change: Change, current: Domain | None) -> bool:
        """Whether the change was made; not when somebody else changed the domain first."""
        expect = Absent() if current is None else IfMatch(current.revision)
        try:
            await self._changes.submit(change, actor=request[PRINCIPAL].actor, expect=expect)
        except Refused as refused:
            if refused.kind != "precondition":
                raise
            return False
        return True

    def _host(self, request: web.Request) -> str:
        """The host of the project that the path names; raises ApiError 404 when there is none."""
        project = request.match_info["id"]
        host = f"{project}.{self._sights.home().project_suffix}"
        desired = self._views.desired.value
        # One whose routes are gone is known as long as there are domains to take from it.
        is_known = members(desired.prefixes, host) or members(desired.aliases, host)
        if not _ID.fullmatch(project) or not is_known:
            raise ApiError(HTTPStatus.NOT_FOUND, f"There is no project {project[:80]!r}.")
        return host


def _served(name: str, host: str, current: Domain | None) -> Domain:
    if current is not None:
        return msgspec.structs.replace(current, serves=host)
    return Domain(name=name, serves=host, created_at=datetime.now(UTC))


async def _domain(request: web.Request) -> str:
    domain: str = (await read_json(request, model_of(ProjectDomain))).model_dump()["domain"]
    return domain
