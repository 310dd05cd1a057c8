"""Pangolin: newt, or the pangolin command, which connects a site to the operator's own Pangolin server.

What is relied on here was read in newt 1.15.0. It never ends because its credentials are wrong, and it is often alive
without a connection, so that its figures and its health file are what is believed.
"""

from __future__ import annotations

import base64
import binascii
import re
import shlex
from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

from state.tunnels import TunnelSpec
from tunnels.providers.base import (
    LEAST_SECRET,
    NOTHING,
    Ending,
    FileProbe,
    Launch,
    Level,
    Line,
    Option,
    PageProbe,
    Place,
    Provider,
    Told,
    check_port,
    environment,
    one_of,
    program,
    public_url,
    split_server,
)
from tunnels.providers.prometheus import total

INSTALL: Final = "install newt, Pangolin's site connector, from its releases (https://docs.pangolin.net)"
PROGRAMS: Final = ("newt", "pangolin")
HEALTH_FILE: Final = "healthy"

_FORMS: Final = "https://ID:SECRET@host, or the command line that Pangolin shows for the site"
_LINE: Final = re.compile(
    r"(DEBUG|INFO|WARN|ERROR|FATAL): (?:[0-9]{4}/[0-9]{2}/[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} )?(.*)"
)
_LEVELS: Final[Mapping[str, Level]] = MappingProxyType(
    {"DEBUG": "debug", "INFO": "info", "WARN": "warning", "ERROR": "error", "FATAL": "error"}
)
_REFUSED: Final = re.compile(
    r"(?=.*token)(?:.*\bstatus(?: code)?:? *(?:401|403)\b|.*\bunauthori[sz]ed\b)", re.IGNORECASE
)
_BAD_CREDENTIALS: Final = "Pangolin refuses the credentials: the id or the secret of the site is wrong"
_EXITS: Final[Mapping[int, Ending]] = MappingProxyType({1: Ending(reason="newt could not start")})


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """The server, the id of a site there, and its secret; the first two may be shown."""

    endpoint: str
    id: str
    secret: str

    def __repr__(self) -> str:
        """What may be shown."""
        return f"Site({self.endpoint!r}, {self.id!r})"


def site(token: str) -> Site:
    """The site of a token, in any of its forms; raises ValueError with a reason that does not show it."""
    text = token.strip()
    if "--" in text:
        found = _from_command(text)
    elif "://" in text:
        found = _from_url(text)
    else:
        found = _from_json(text)
    for what, value in (("id", found.id), ("secret", found.secret)):
        if not re.fullmatch(r"[\x21-\x7e]+", value):
            raise ValueError(f"has no {what}, or one with spaces: give {_FORMS}")
    if len(found.secret) < LEAST_SECRET:
        raise ValueError(f"has a secret of less than {LEAST_SECRET} characters")
    return msgspec.structs.replace(found, endpoint=_endpoint(found.endpoint))


def identity(spec: TunnelSpec) -> str:
    """The site: two connectors with its id push one another out."""
    held = site(spec.token)
    return f"pangolin:{held.id}@{held.endpoint}"


def plan(spec: TunnelSpec, place: Place) -> Launch:
    """The spawn of newt for a site."""
    held = site(spec.token)
    path = program(PROGRAMS, place)
    return Launch(
        argv=(path, *_arguments(path)),
        env=_environment(spec, held, place),
        secrets=(held.secret,),
        edge=(FileProbe(path=place.path(HEALTH_FILE)),),
        pages=(PageProbe(url=place.page("/metrics"), read=read_metrics),),
        read_line=read_line,
        exits=_EXITS,
        grace_s=10.0,
        identity=identity(spec),
        url=public_url(spec),
    )


def read_metrics(status: int, body: bytes) -> Told:
    """Refused credentials, a site that is known to be off, and how long the way is.

    Where a request goes is decided at the server, which does not say: the routing stays unknown.
    """
    if status != 200:
        return NOTHING
    connected = total(body, "newt_websocket_connected")
    refused = total(body, "newt_connection_errors_total", error_type="auth_failed")
    if refused and not connected:
        return Told(edge=False, permanent=_BAD_CREDENTIALS)
    if connected == 0 and total(body, "newt_site_online") == 0:
        return Told(edge=False, reason="Pangolin does not see the site")
    count, spent = total(body, "newt_tunnel_latency_seconds_count"), total(body, "newt_tunnel_latency_seconds_sum")
    return Told(
        latency_ms=spent * 1000 / count if count and spent is not None else None,
        routing="unknown",
        routing_detail="the targets of the site are kept at the Pangolin server",
    )


def read_line(text: str) -> Line:
    """`INFO: 2026/11/21 17:00:00 Websocket connected`."""
    match = _LINE.fullmatch(text)
    if match is None:
        return Line(text=text)
    level, said = _LEVELS[match[1]], match[2]
    told = NOTHING
    if level in {"warning", "error"}:
        told = Told(permanent=_BAD_CREDENTIALS) if _REFUSED.match(said) else Told(reason=said[:200])
    return Line(text=said, level=level, told=told)


def _environment(spec: TunnelSpec, held: Site, place: Place) -> Mapping[str, str]:
    return environment(
        place,
        PANGOLIN_ENDPOINT=held.endpoint,
        # Both names: what was newt is to be called a site connector.
        NEWT_ID=held.id,
        NEWT_SECRET=held.secret,
        SITE_ID=held.id,
        SITE_SECRET=held.secret,
        # It is saved there by everyone's leave (0644), which is harmless in a private folder only.
        CONFIG_FILE=place.path("config.json"),
        HEALTH_FILE=place.path(HEALTH_FILE),
        NEWT_METRICS_PROMETHEUS_ENABLED="true",
        # Of its own, where every other one would take the same port.
        NEWT_ADMIN_ADDR=f"127.0.0.1:{place.metrics_port}",
        # It would replace its own program after two minutes, and let people in by SSH when it is root's.
        NEWT_SYSTEM_SUBSTRATE="CONTAINER",
        DISABLE_SSH="true",
        DISABLE_CLIENTS=spec.options.get("disable_clients", "true"),
        # DEBUG shows the session's token.
        LOG_LEVEL="INFO",
        **{_VARIABLES[name]: value for name, value in spec.options.items() if name in _VARIABLES},
    )


def _arguments(path: str) -> tuple[str, ...]:
    return ("up", "site") if path.rpartition("/")[2] == "pangolin" else ()


def _from_url(text: str) -> Site:
    parts = urlsplit(text)
    if parts.query or parts.fragment or parts.path not in {"", "/"}:
        raise ValueError(f"has more than a server behind the `@`: give {_FORMS}")
    endpoint = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return Site(endpoint=endpoint, id=unquote(parts.username or ""), secret=unquote(parts.password or ""))


def _from_command(text: str) -> Site:
    try:
        words = [part for word in shlex.split(text.replace("\\\n", " ")) for part in word.split("=", 1)]
    except ValueError:
        raise ValueError(f"is no command line: give {_FORMS}") from None
    found = {name.removeprefix("--"): value for name, value in pairwise(words) if name[:2] == "--"}
    return Site(endpoint=found.get("endpoint", ""), id=found.get("id", ""), secret=found.get("secret", ""))


def _from_json(text: str) -> Site:
    try:
        parts = msgspec.json.decode(base64.b64decode(text + "=" * (-len(text) % 4), validate=True), type=dict[str, Any])
        return Site(endpoint=str(parts["endpoint"]), id=str(parts["id"]), secret=str(parts["secret"]))
    except (binascii.Error, msgspec.DecodeError, UnicodeError, KeyError, ValueError):
        raise ValueError(f"is no token for Pangolin: give {_FORMS}") from None


def _endpoint(text: str) -> str:
    scheme, _, rest = text.rstrip("/").partition("://")
    if scheme not in {"https", "http"}:
        raise ValueError(f"has no server that begins with https://: give {_FORMS}")
    default = 443 if scheme == "https" else 80
    try:
        host, port = split_server(rest, default)
    except ValueError:
        raise ValueError(f"has no server: give {_FORMS}") from None
    return f"{scheme}://{host}" if port == default else f"{scheme}://{host}:{port}"


def _check_mtu(value: str) -> str:
    if not 576 <= int(check_port(value)) <= 9000:
        raise ValueError("must be 576 to 9000")
    return value


_VARIABLES: Final[Mapping[str, str]] = MappingProxyType({"mtu": "MTU", "skip_tls_verify": "SKIP_TLS_VERIFY"})

PROVIDER: Final = Provider(
    name="pangolin",
    title="Pangolin",
    programs=lambda _: PROGRAMS,
    install=INSTALL,
    credential="required",
    check_token=site,
    options=MappingProxyType(
        {
            "disable_clients": Option(what="only requests, no clients of Olm's", check=one_of("true", "false")),
            "skip_tls_verify": Option(what="do not verify the server", check=one_of("true", "false")),
            "mtu": Option(what="of WireGuard", check=_check_mtu),
        }
    ),
    identity=identity,
    plan=plan,
)
