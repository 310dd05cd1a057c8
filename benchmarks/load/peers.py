"""The other proxies: how each is configured to do the same work, and whether it is installed."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.load import nginx
from benchmarks.load.process import Program

Sites = dict[str, int]

_HAPROXY = """
global
  nbthread 1
  # Two descriptors for each of them may be more than are allowed here; idle connections need one.
  no strict-limits
  maxconn 19000
  tune.maxaccept 100
defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout server 60s
  timeout http-keep-alive 75s
  http-reuse always
frontend mesh
  bind 127.0.0.1:{port} backlog 4096
  option forwardfor
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
{rules}
{backends}
"""

_CADDY = """{{
  admin off
  auto_https off
  log {{
    output discard
  }}
}}
{sites}
"""

_CADDY_SITE = """http://{site}:{port} {{
  bind 127.0.0.1
  reverse_proxy 127.0.0.1:{target} {{
    transport http {{
      keepalive_idle_conns 256
      keepalive_idle_conns_per_host 256
    }}
  }}
}}
"""


def haproxy(port: int, sites: Sites) -> Program:
    """HAProxy with one thread."""
    names = [(site, f"target{index}", target) for index, (site, target) in enumerate(sites.items())]
    rules = "\n".join(f"  use_backend {name} if {{ req.hdr(host) -i {site} }}" for site, name, _ in names)
    backends = "\n".join(f"backend {name}\n  server origin 127.0.0.1:{target}" for _, name, target in names)
    config = _HAPROXY.format(port=port, rules=rules, backends=backends)
    return Program(
        name="haproxy", port=port, argv=("haproxy", "-db", "-f", "haproxy.cfg"), files={"haproxy.cfg": config}
    )


def caddy(port: int, sites: Sites) -> Program:
    """Caddy with one processor."""
    blocks = "".join(_CADDY_SITE.format(site=site, port=port, target=target) for site, target in sites.items())
    return Program(
        name="caddy",
        port=port,
        argv=("caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile"),
        env={"GOMAXPROCS": "1", "HOME": ".", "XDG_DATA_HOME": "./data", "XDG_CONFIG_HOME": "./config"},
        files={"Caddyfile": _CADDY.format(sites=blocks)},
    )


def aiohttp(port: int, sites: Sites) -> Program:
    """The plain aiohttp proxy of this folder."""
    routes = tuple(f"{site}=http://127.0.0.1:{target}" for site, target in sites.items())
    argv = (sys.executable, "-m", "benchmarks.load.aiohttp_proxy", str(port), *routes)
    return Program(name="aiohttp", port=port, argv=argv, env={"PYTHONPATH": str(Path.cwd())})


def nginx_silent(port: int, sites: Sites) -> Program:
    """The peer nginx without an access log."""
    return nginx.proxy("nginx", port, sites)


def nginx_logging(port: int, sites: Sites) -> Program:
    """The peer nginx with an access log of JSON lines."""
    return nginx.proxy("nginx + log", port, sites, access_log=True)


def nginx_buffering(port: int, sites: Sites) -> Program:
    """The peer nginx that buffers what it downloads in memory."""
    return nginx.proxy("nginx buffered", port, sites, buffering=True)


PEERS: dict[str, Callable[[int, Sites], Program]] = {
    "nginx": nginx_silent,
    "nginx + log": nginx_logging,
    "nginx buffered": nginx_buffering,
    "haproxy": haproxy,
    "caddy": caddy,
    "aiohttp": aiohttp,
}


def is_installed(peer: str) -> bool:
    """Whether the program of a peer can be found; the aiohttp proxy always can."""
    return peer == "aiohttp" or shutil.which(peer.partition(" ")[0]) is not None
