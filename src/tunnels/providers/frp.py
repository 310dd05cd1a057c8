"""frp: frpc, which connects to the operator's own frps.

What is relied on here was read in frp 0.6x. Its pages show its configuration with the token to whoever asks, so they
have a password that is made anew for each spawn.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import msgspec

from state.refusal import Problem
from state.tunnels import TunnelSpec
from tunnels.providers.base import (
    LEAST_SECRET,
    NOTHING,
    URL_OPTION,
    Ending,
    File,
    Launch,
    Level,
    Line,
    Option,
    PageProbe,
    Place,
    Provider,
    Told,
    bare,
    check_line,
    check_port,
    environment,
    one_of,
    program,
    public_url,
    split_server,
)

INSTALL: Final = "install frpc 0.52 or newer from the releases of frp (https://github.com/fatedier/frp)"
PROGRAMS: Final = ("frpc",)

_PORT: Final = 7000
_ADMIN: Final = "zexio"
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
# 2026-11-21 17:00:00.000 [I] [client/service.go:295] [0123456789abcdef] login to server success
_LINE: Final = re.compile(
    r"(?:[0-9]{4}[/-][0-9]{2}[/-][0-9]{2} [0-9:.]+ )?\[([TDIWE])\] \[[^\]]*\] (?:\[[0-9a-f]{8,32}\] )?(.*)"
)
_LEVELS: Final[Mapping[str, Level]] = MappingProxyType(
    {"T": "debug", "D": "debug", "I": "info", "W": "warning", "E": "error"}
)
_PERMANENT: Final = (
    (re.compile(r"token in login doesn't match|authorization failed|invalid token"), "frps refuses the token"),
    (re.compile(r"port not allowed"), "frps does not allow the remote port"),
    (re.compile(r"unsupported proxy type|(?:type|vhost) \S+ (?:is )?not support"), "frps does not offer this type"),
)
_EXITS: Final[Mapping[int, Ending]] = MappingProxyType({1: Ending(reason="frpc could not connect to frps")})


def check_token(token: str) -> None:
    """The token of the frps; raises ValueError."""
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise ValueError("must be printable ASCII without spaces")
    if len(token) < LEAST_SECRET:
        raise ValueError(f"must have {LEAST_SECRET} characters or more")


def identity(spec: TunnelSpec) -> str:
    """The server and the name of the proxy there, which it gives only once."""
    host, port = split_server(spec.options["server"], _PORT)
    return f"frp:{host}:{port}/{_proxy_name(spec)}"


def plan(spec: TunnelSpec, place: Place) -> Launch:
    """The spawn of frpc for one proxy."""
    name = _proxy_name(spec)
    password = base64.b64encode(f"{_ADMIN}:{place.nonce}".encode()).decode()
    kind = spec.options.get("type", "http")
    return Launch(
        argv=(program(PROGRAMS, place), "-c", place.path("frpc.json")),
        env=environment(place),
        files=(File(name="frpc.json", content=_template_safe(_configuration(spec, place))),),
        secrets=tuple(secret for secret in (spec.token, place.nonce) if secret),
        edge=(
            PageProbe(
                url=place.page("/api/status"),
                read=partial(read_status, name),
                headers={"Authorization": f"Basic {password}"},
            ),
        ),
        read_line=read_line,
        exits=_EXITS,
        grace_s=5.0,
        identity=identity(spec),
        url=public_url(spec, "https" if kind == "https" else "http") if kind != "tcp" else public_url(spec),
    )


def read_status(name: str, status: int, body: bytes) -> Told:
    """The state of the one proxy; its local port is what it was told, so that it leads here."""
    try:
        page = msgspec.json.decode(body, type=dict[str, Any]) if status == 200 else {}
    except (msgspec.DecodeError, UnicodeDecodeError):
        page = {}
    proxies = [
        proxy for group in page.values() if isinstance(group, list) for proxy in group if isinstance(proxy, dict)
    ]
    for proxy in proxies:
        if str(proxy.get("name", "")).rpartition(".")[2] != name:
            continue
        if proxy.get("status") == "running":
            return Told(edge=True, routing="yes")
        error = str(proxy.get("err") or "")
        return _failed(error) if error else Told(edge=False, reason="is not connected to frps")
    return Told(edge=False, reason="is not connected to frps")


def read_line(text: str) -> Line:
    """A line of frp's own logger, or one of those that come before there is one."""
    plain = _COLOUR.sub("", text)
    match = _LINE.fullmatch(plain)
    level = _LEVELS[match[1]] if match else "info"
    said = match[2] if match else plain
    told = NOTHING
    if level in {"warning", "error"} or "login to the server failed" in said:
        told = msgspec.structs.replace(_failed(said), edge=None)
    return Line(text=said, level=level, told=told)


def _failed(error: str) -> Told:
    for pattern, meaning in _PERMANENT:
        if pattern.search(error):
            return Told(edge=False, permanent=meaning)
    return Told(edge=False, reason=error[:200])


def _configuration(spec: TunnelSpec, place: Place) -> Mapping[str, Any]:
    host, port = split_server(spec.options["server"], _PORT)
    kind = spec.options.get("type", "http")
    proxy: dict[str, Any] = {
        "name": _proxy_name(spec),
        "type": kind,
        "localIP": "127.0.0.1",
        "localPort": place.local_port,
    }
    if kind == "tcp":
        proxy["remotePort"] = int(spec.options["remote_port"])
    elif subdomain := spec.options.get("subdomain"):
        proxy["subdomain"] = subdomain
    else:
        proxy["customDomains"] = [spec.hostname]
    return {
        "serverAddr": bare(host),
        "serverPort": port,
        # The first failure ends it with a reason, and how often it is tried is for the supervisor to say.
        "loginFailExit": True,
        "auth": {"method": "token", "token": spec.token} if spec.token else {},
        "transport": {"tls": {"enable": spec.options.get("tls", "yes") == "yes"}},
        "log": {"to": "console", "level": "info", "disablePrintColor": True},
        "webServer": {"addr": "127.0.0.1", "port": place.metrics_port, "user": _ADMIN, "password": place.nonce},
        "proxies": [proxy],
    }


def _template_safe(configuration: Mapping[str, Any]) -> bytes:
    # frpc takes the file for a template: what begins with two braces would be carried out.
    return msgspec.json.encode(configuration).replace(b"{{", b"{\\u007b") + b"\n"


def _proxy_name(spec: TunnelSpec) -> str:
    return spec.options.get("proxy_name") or f"zexio-{spec.name}"


def _check_server(value: str) -> object:
    return split_server(value, _PORT)


def _check_label(value: str) -> str:
    if not _LABEL.fullmatch(value):
        raise ValueError("must be a single label of letters, digits and hyphens")
    return value


def _check_proxy_name(value: str) -> str:
    if "." in value or " " in value:
        raise ValueError("must have no dots and no spaces")
    return check_line(value)


def _problems(spec: TunnelSpec) -> Iterator[Problem]:
    kind = spec.options.get("type", "http")
    if kind == "tcp":
        if not spec.options.get("remote_port"):
            yield Problem("options.remote_port", "is missing: the port of the server to listen on")
        return
    if spec.hostname is None and not spec.options.get("subdomain"):
        yield Problem("hostname", f"is missing: frps tells tunnels of type {kind} apart by it")


PROVIDER: Final = Provider(
    name="frp",
    title="frp",
    programs=lambda _: PROGRAMS,
    install=INSTALL,
    credential="optional",
    check_token=check_token,
    options=MappingProxyType(
        {
            "server": Option(
                what="host of the frps, with :port if it is not 7000", check=_check_server, is_required=True
            ),
            "type": Option(what="what frps listens for", check=one_of("http", "https", "tcp")),
            "subdomain": Option(what="a name under the frps's own domain", check=_check_label),
            "remote_port": Option(what="the port of the server, for type tcp", check=check_port),
            "proxy_name": Option(what="its name at the frps", check=_check_proxy_name),
            "tls": Option(what="whether to encrypt the way to the frps", check=one_of("yes", "no")),
            "url": URL_OPTION,
        }
    ),
    identity=identity,
    plan=plan,
    check_rest=_problems,
)
