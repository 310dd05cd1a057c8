"""The admin API's listener: bound before anything is started, served when everything is."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from typing import Final

import msgspec
from aiohttp import web

from admin_api.app import AdminSettings, build, make_runner
from admin_api.plane.records import Home
from admin_api.plane.system import Sights
from node.data import worker_secret
from node.issuance import internal_suffixes
from node.settings import CannotStart, Settings
from node.values import Address
from node.version import version
from state.store import Store

_BACKLOG: Final = 128
# Streams of logs and figures have ended by then (admin_api.sse); what is left is an ordinary answer.
_SHUTDOWN_S: Final = 2.0


def bind(setting: str, address: Address) -> socket.socket:
    """A socket that has the address and does not listen yet; raises CannotStart."""
    try:
        family, kind, protocol, _name, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise cannot_listen(setting, address, error) from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(place)
    except OSError as error:
        bound.close()
        raise cannot_listen(setting, address, error) from None
    return bound


def cannot_listen(setting: str, address: str, error: OSError) -> CannotStart:
    """The line for an operator whose address cannot be had."""
    reasons = {
        errno.EADDRINUSE: "is already in use",
        errno.EACCES: "may not be used by this user (ports below 1024 need more rights)",
        errno.EADDRNOTAVAIL: "is no address of this machine",
    }
    reason = reasons.get(error.errno or 0) or f"cannot be used: {error.strerror or os.strerror(error.errno or 0)}"
    return CannotStart(f"{setting}: {address} {reason}")


async def serve(store: Store, settings: AdminSettings, bound: socket.socket, sights: Sights) -> web.AppRunner:
    """Answer requests on a bound socket; the runner's `cleanup` ends it."""
    runner = make_runner(build(store, store, store, settings, sights), shutdown_s=_SHUTDOWN_S)
    await runner.setup()
    await web.SockSite(runner, bound, backlog=_BACKLOG).start()
    return runner


def home_of(settings: Settings, tls_listen: Sequence[str]) -> Home:
    """Where visitors reach this node, for whoever adds a domain; `tls_listen` are the addresses as they are bound."""
    certs, suffixes = settings.certs, settings.mesh.project_suffixes
    home = Home(
        public_name=None if certs.public_name is None else str(certs.public_name),
        public_addresses=tuple(map(str, certs.public_addresses)),
        ownership=certs.ownership,
        internal_suffixes=internal_suffixes(settings),
        tls_listen=tuple(tls_listen),
    )
    return msgspec.structs.replace(home, project_suffix=str(suffixes[0])) if suffixes else home


def admin_settings(settings: Settings) -> AdminSettings:
    """What the admin API needs of the settings, with the worker secret; raises CannotStart when that is unfit."""
    return AdminSettings(
        version=version(),
        worker_secret=worker_secret(settings),
        auth_mode=settings.auth.mode,
        cloud=settings.is_cloud,
        require_timestamp=settings.auth.require_timestamp,
        admin_hosts=frozenset({*settings.admin.hosts, settings.admin.listen.host}),
        trusted_origins=frozenset(settings.admin.trusted_origins),
    )
