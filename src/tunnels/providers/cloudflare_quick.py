"""A tunnel of Cloudflare's without an account: a name that is made up at each start, for as long as it runs."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final

import msgspec

from state.tunnels import TunnelSpec
from tunnels.providers import cloudflare
from tunnels.providers.base import NOTHING, Launch, Line, PageProbe, Place, Provider, Told, environment

# A name under this suffix is the tunnel's; the address of the service that makes them up is not.
_URL: Final = re.compile(r"https://(?!api\.)([a-z0-9-]+(?:\.[a-z0-9-]+)*\.trycloudflare\.com)")
_HOST: Final = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*")
_NAME_KNOWN_S: Final = 30.0


def plan(spec: TunnelSpec, place: Place) -> Launch:
    """The spawn of cloudflared for a tunnel that nobody knows yet."""
    return Launch(
        argv=cloudflare.command(spec, place),
        env=environment(place, NO_AUTOUPDATE="true", TUNNEL_MANAGEMENT_DIAGNOSTICS="false"),
        # With a configuration that has anything in it, quick tunnels are refused or lead elsewhere.
        files=(cloudflare.CONFIG,),
        edge=(cloudflare.ready_page(place),),
        pages=(
            PageProbe(url=place.page("/quicktunnel"), read=read_name),
            cloudflare.latency_page(place),
        ),
        read_line=read_line,
        grace_s=cloudflare.GRACE_S,
        identity=identity(spec),
        visit_s=_NAME_KNOWN_S,
    )


def identity(spec: TunnelSpec) -> str:
    """The tunnel's own name: every start makes another one at Cloudflare."""
    return f"cloudflare-quick:{spec.name}"


def read_name(status: int, body: bytes) -> Told:
    """The name that was given, which is there before there is a connection; routing is what the program was told."""
    try:
        host = msgspec.json.decode(body, type=dict[str, str]).get("hostname", "") if status == 200 else ""
    except (msgspec.DecodeError, UnicodeDecodeError):
        return NOTHING
    return Told(url=f"https://{host}", routing="yes") if _HOST.fullmatch(host) else NOTHING


def read_line(text: str) -> Line:
    """As of every cloudflared, and the name where it stands in its box."""
    line = cloudflare.read_line(text)
    match = _URL.search(line.text)
    if match is None:
        return line
    return msgspec.structs.replace(line, told=msgspec.structs.replace(line.told, url=f"https://{match[1]}"))


PROVIDER: Final = Provider(
    name="cloudflare-quick",
    title="Cloudflare's quick tunnel",
    programs=lambda _: cloudflare.PROGRAMS,
    install=cloudflare.INSTALL,
    credential="none",
    check_token=str,
    options=MappingProxyType({"edge_ip_version": cloudflare.OPTIONS["edge_ip_version"]}),
    identity=identity,
    plan=plan,
)
