"""Cloudflare Tunnel by a token: cloudflared, whose routes are kept at Cloudflare.

What is relied on here was measured with cloudflared 2026.8.2.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import uuid
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from state.tunnels import TunnelSpec
from tunnels.providers.base import (
    NOTHING,
    Ending,
    File,
    Launch,
    Level,
    Line,
    Option,
    PageProbe,
    Place,
    Provider,
    RoutingAnswer,
    Told,
    environment,
    one_of,
    program,
)
from tunnels.providers.prometheus import samples

INSTALL: Final = (
    "install cloudflared 2025.4.0 or newer from Cloudflare's package repository"
    " (https://pkg.cloudflare.com) or its releases"
)
PROGRAMS: Final = ("cloudflared",)
# Requests under way get this long; more would keep a restart waiting for those that hang.
GRACE_S: Final = 10.0

_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_LEVELS: Final[Mapping[str, Level]] = MappingProxyType(
    {
        "debug": "debug",
        "info": "info",
        "warn": "warning",
        "warning": "warning",
        "error": "error",
        "fatal": "error",
        "panic": "error",
    }
)
_REFUSED: Final = re.compile(r"Unauthorized: (?:Invalid tunnel secret|Tunnel not found|Failed to get tunnel)")

_NOT_ACCEPTED: Final = "cloudflared does not accept the token: copy it again from the page of the tunnel"
_EXITS: Final[Mapping[int, Ending]] = MappingProxyType({255: Ending(reason=_NOT_ACCEPTED, is_permanent=True)})


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a token holds: the account, the tunnel's id, which may be shown, and the secret."""

    account: str
    tunnel: str
    secret: str

    def __repr__(self) -> str:
        """The id only."""
        return f"Credentials({self.tunnel!r})"


def token_of(text: str) -> str:
    """The token itself, from a token or from the command that Cloudflare shows to be copied."""
    words = text.split()
    return words[-1].removeprefix("--token=") if words else ""


def credentials(text: str) -> Credentials:
    """What a token holds; raises ValueError with a reason that does not show it."""
    token = token_of(text)
    if not _BASE64.fullmatch(token):
        raise ValueError("is no token of Cloudflare's: it has characters that no token has")
    try:
        parts = msgspec.json.decode(base64.b64decode(token, validate=True), type=dict[str, Any])
        account, tunnel, secret = str(parts["a"]), str(uuid.UUID(str(parts["t"]))), str(parts["s"])
        base64.b64decode(secret, validate=True)
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError, KeyError, ValueError):
        raise ValueError("is no token of Cloudflare's, or only a part of one: copy all of it") from None
    if not account or not secret:
        raise ValueError("is a token of Cloudflare's that lacks its account or its secret")
    return Credentials(account=account, tunnel=tunnel, secret=secret)


def identity(spec: TunnelSpec) -> str:
    """The id of the tunnel at Cloudflare: a second connector with it would get a share of the requests."""
    return f"cloudflare:{credentials(spec.token).tunnel}"


def plan(spec: TunnelSpec, place: Place) -> Launch:
    """The spawn of cloudflared for a tunnel that Cloudflare knows."""
    held = credentials(spec.token)
    token = token_of(spec.token)
    return Launch(
        # What comes before `run` belongs to the tunnel, and is not understood behind it.
        argv=(*command(spec, place), "run"),
        env=environment(
            place, TUNNEL_TOKEN_FILE=place.path("token"), NO_AUTOUPDATE="true", TUNNEL_MANAGEMENT_DIAGNOSTICS="false"
        ),
        files=(CONFIG, File(name="token", content=token.encode())),
        secrets=(token, held.secret),
        edge=(ready_page(place),),
        pages=(
            PageProbe(url=place.page("/config"), read=partial(read_config, place.local_port, spec.hostname)),
            latency_page(place),
        ),
        read_line=read_line,
        exits=_EXITS,
        grace_s=GRACE_S,
        identity=f"cloudflare:{held.tunnel}",
        url=f"https://{spec.hostname}" if spec.hostname else None,
    )


# Without one of its own it would read those that stand in /etc/cloudflared, and be somebody else's tunnel.
CONFIG: Final = File(name="config.yml", content=b"no-autoupdate: true\n")


def command(spec: TunnelSpec, place: Place) -> tuple[str, ...]:
    """The arguments that every tunnel of cloudflared's has."""
    optional = (
        f"--{name.replace('_', '-')}={value}" for name in OPTIONS if (value := spec.options.get(name)) is not None
    )
    return (
        program(PROGRAMS, place),
        "tunnel",
        "--config",
        place.path(CONFIG.name),
        "--no-autoupdate",
        "--metrics",
        f"127.0.0.1:{place.metrics_port}",
        "--output",
        "json",
        "--loglevel",
        "info",
        "--grace-period",
        f"{GRACE_S:.0f}s",
        *optional,
        # In force until Cloudflare sends its own, and for good with a tunnel that has none there.
        "--url",
        f"http://127.0.0.1:{place.local_port}",
    )


def ready_page(place: Place) -> PageProbe:
    """The page that tells the truth: the metric of connections says 1 while there is none."""
    return PageProbe(url=place.page("/ready"), read=read_ready)


def latency_page(place: Place) -> PageProbe:
    """Where the time to Cloudflare and back stands, with QUIC."""
    return PageProbe(url=place.page("/metrics"), read=read_latency)


def read_ready(status: int, _body: bytes) -> Told:
    """200 with one connection or more."""
    return Told(edge=True) if status == 200 else Told(edge=False, reason="has no connection to Cloudflare")


def read_latency(status: int, body: bytes) -> Told:
    """The shortest way of those that are open, in milliseconds."""
    found = [sample.value for sample in samples(body, "quic_client_smoothed_rtt") if sample.value > 0]
    return Told(latency_ms=min(found)) if status == 200 and found else NOTHING


def read_config(local_port: int, hostname: str | None, status: int, body: bytes) -> Told:
    """Whether the rules that are in force lead to the local port, and the name that they have for it."""
    try:
        page = msgspec.json.decode(body, type=_ConfigPage)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return NOTHING
    rules = page.config.ingress or []
    if status != 200 or not rules:
        return NOTHING
    if hostname is None:
        return _any_rule(rules, local_port, is_local=page.version < 0)
    rule = next((rule for rule in rules if _covers(rule.hostname, hostname)), None)
    if rule is None:
        return Told(routing="no", routing_detail=f"Cloudflare has no rule for {hostname} in this tunnel")
    answer = _leads_to(rule.service, local_port)
    detail = "" if answer == "yes" else f"Cloudflare sends {hostname} to {rule.service}, not to port {local_port}"
    return Told(routing=answer, routing_detail=detail)


def read_line(text: str) -> Line:
    """A line of JSON, or one of the few that come before there is a logger."""
    try:
        record = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeEncodeError):
        return Line(text=text, level="error" if _told_plainly(text) != NOTHING else "info", told=_told_plainly(text))
    message = str(record.get("message") or "")
    error = str(record.get("error") or "")
    said = f"{message}: {error}" if error else message
    details = " ".join(f"{key}={record[key]}" for key in ("connIndex", "location", "protocol", "ip") if key in record)
    level = _LEVELS.get(str(record.get("level")), "info")
    return Line(text=f"{said} ({details})" if details else said, level=level, told=_told(said, level))


def _told(said: str, level: Level) -> Told:
    if match := _REFUSED.search(said):
        return Told(edge=False, permanent=f"Cloudflare refuses the tunnel: {match[0].removeprefix('Unauthorized: ')}")
    return Told(reason=said[:200]) if level == "error" and said else NOTHING


def _told_plainly(text: str) -> Told:
    if "Tunnel token is not valid" in text:
        return Told(permanent=_NOT_ACCEPTED)
    if "requires the ID or name of the tunnel" in text:
        return Told(permanent=f"cloudflared reads no token files; {INSTALL}")
    if "address already in use" in text:
        return Told(reason="the port for its own pages was taken in the meantime")
    return NOTHING


class _Rule(msgspec.Struct, frozen=True):
    service: str = ""
    hostname: str = ""


class _Config(msgspec.Struct, frozen=True):
    ingress: list[_Rule] | None = None


class _ConfigPage(msgspec.Struct, frozen=True):
    # -1 is what was given to the program; Cloudflare counts from 0.
    version: int = -1
    config: _Config = _Config()


def _any_rule(rules: list[_Rule], local_port: int, *, is_local: bool) -> Told:
    answers = [_leads_to(rule.service, local_port) for rule in rules]
    if "yes" in answers:
        host = rules[answers.index("yes")].hostname
        url = f"https://{host}" if host and "*" not in host else None
        return Told(routing="yes", url=url)
    if "unknown" in answers or is_local:
        return Told(routing="unknown", routing_detail="the rules of the tunnel lead to addresses that may be elsewhere")
    services = ", ".join(sorted({rule.service for rule in rules}))
    return Told(routing="no", routing_detail=f"Cloudflare sends requests to {services}, none to port {local_port}")


def _covers(pattern: str, hostname: str) -> bool:
    if pattern.startswith("*."):
        return hostname.endswith(pattern[1:].lower())
    return pattern in {"", "*"} or pattern.lower() == hostname


def _leads_to(service: str, local_port: int) -> RoutingAnswer:
    parts = urlsplit(service)
    if parts.scheme not in {"http", "https", "tcp", "ws", "wss"}:
        return "no"
    try:
        port = parts.port or {"http": 80, "ws": 80, "https": 443, "wss": 443}.get(parts.scheme, 0)
    except ValueError:
        return "unknown"
    if port != local_port:
        return "no"
    return "yes" if _is_loopback(parts.hostname or "") else "unknown"


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


OPTIONS: Final[Mapping[str, Option]] = MappingProxyType(
    {
        "protocol": Option(what="how it connects", check=one_of("auto", "quic", "http2")),
        "edge_ip_version": Option(what="which addresses it connects to", check=one_of("auto", "4", "6")),
        "region": Option(what="where it connects to", check=one_of("us")),
    }
)

PROVIDER: Final = Provider(
    name="cloudflare",
    title="Cloudflare Tunnel",
    programs=lambda _: PROGRAMS,
    install=INSTALL,
    credential="required",
    check_token=credentials,
    options=OPTIONS,
    identity=identity,
    plan=plan,
)
