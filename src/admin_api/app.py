"""The admin API as an aiohttp application, put together from what the node gives it."""

from __future__ import annotations

from typing import Final

import msgspec
from aiohttp import web

from admin_api import middlewares
from admin_api.auth import Authenticator, AuthMode, OpenDoor, WorkerSignature, is_open
from admin_api.openapi import DOCUMENT, describe
from admin_api.origin import POLICY, OriginPolicy
from admin_api.plane.certificates import Certificates
from admin_api.plane.dialect import Parts, plane
from admin_api.plane.domains import Domains
from admin_api.plane.inspection import Inspection
from admin_api.plane.projects import Projects
from admin_api.plane.routes import Routes
from admin_api.plane.system import Node, Sights, System
from admin_api.plane.traffic import Traffic
from admin_api.sse import StreamLimits, Streams
from admin_api.switchboard import SWITCHBOARD, Switchboard
from state.ports import Changes, Records, Views

STREAMS: Final = web.AppKey("streams", Streams)


class AdminSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the admin API answers.

    `auth_mode` "auto" asks for signatures in `cloud` mode and is open otherwise (contracts/plane.md decision 2);
    `worker_secret` is the text that signs. `admin_api.origin` explains `admin_hosts` and `trusted_origins`.
    """

    version: str
    worker_secret: str
    auth_mode: AuthMode = "auto"
    cloud: bool = False
    require_timestamp: bool = False
    admin_hosts: frozenset[str] = frozenset()
    trusted_origins: frozenset[str] = frozenset()
    max_body_bytes: int = 1024 * 1024
    stats_interval_s: float = 2.0
    streams: StreamLimits = StreamLimits()

    def __repr__(self) -> str:
        """Nothing that a log must not hold."""
        return f"AdminSettings(version={self.version!r}, auth_mode={self.auth_mode!r}, cloud={self.cloud!r})"


def build(changes: Changes, views: Views, records: Records, settings: AdminSettings, sights: Sights) -> web.Application:
    """The application.

    Raises ValueError when signatures are asked for and there is no secret.
    """
    opened = is_open(settings.auth_mode, cloud=settings.cloud)
    streams = Streams(settings.streams)
    node = Node(
        version=settings.version,
        observed=views.observed,
        journal=records.journal,
        sights=sights,
        stats_interval_s=settings.stats_interval_s,
    )
    authenticators = (_worker(settings, opened=opened),)
    parts = Parts(
        system=System(node, streams),
        routes=Routes(changes, views),
        traffic=Traffic(changes, views),
        inspection=Inspection(sights.inspections, streams),
        domains=Domains(changes, views, sights, streams),
        certificates=Certificates(views, sights, streams),
        projects=Projects(changes, views, sights),
    )
    dialects = (plane(parts, authenticators),)

    app = web.Application(
        client_max_size=settings.max_body_bytes,
        middlewares=(
            middlewares.number,
            middlewares.answer_errors,
            middlewares.answer_preflight,
            middlewares.check_origin,
            middlewares.authenticate,
        ),
    )
    app[STREAMS] = streams
    app[POLICY] = OriginPolicy(
        is_open=opened,
        admin_hosts=frozenset(map(str.lower, settings.admin_hosts)),
        trusted_origins=settings.trusted_origins,
    )
    app[SWITCHBOARD] = Switchboard(app.router, dialects)
    app[DOCUMENT] = describe(dialects, settings.version)
    app.on_response_prepare.append(middlewares.finish_head)
    app.on_shutdown.append(_end_streams)
    return app


def make_runner(app: web.Application, *, shutdown_s: float) -> web.AppRunner:
    """What serves the application; when it is told to end, answers under way have `shutdown_s`."""
    # A body is refused when it is packed (admin_api.body), and unpacking it first would be the client's to break.
    return web.AppRunner(app, access_log=None, auto_decompress=False, handle_signals=False, shutdown_timeout=shutdown_s)


def _worker(settings: AdminSettings, *, opened: bool) -> Authenticator:
    if opened:
        return OpenDoor()
    return WorkerSignature(settings.worker_secret, require_timestamp=settings.require_timestamp)


async def _end_streams(app: web.Application) -> None:
    app[STREAMS].close()
