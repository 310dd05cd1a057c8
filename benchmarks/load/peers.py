"""The other proxies: how each is configured to do the same work, and whether it is installed."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.load import nginx
from benchmarks.load.front import Front
from benchmarks.load.heads import GRPC_SITE, SITE
from benchmarks.load.process import Program

_HAPROXY = """
global
  nbthread 1
  # Two descriptors for each of them may be more than are allowed here; idle connections need one.
  no strict-limits
  maxconn 19000
  tune.maxaccept 100
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout server 60s
  timeout tunnel 1h
  timeout http-keep-alive 75s
  http-reuse always
frontend mesh
  bind 127.0.0.1:{port} backlog 4096
  bind 127.0.0.1:{tls_port} ssl crt {pem} alpn h2,http/1.1 backlog 4096
  option forwardfor
  http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
{rules}
{backends}
"""

_HAPROXY_SECOND = """
  server second 127.0.0.1:{port}
  option redispatch 1
  retry-on conn-failure empty-response
"""

_CADDY = """{{
  admin off
  auto_https off
  log {{
    output discard
  }}
  servers {{
    protocols h1 h2
  }}
}}
{sites}
"""

_CADDY_SITE = """{address} {{
  bind 127.0.0.1
  {tls}
  reverse_proxy {targets} {{
    {retries}
    transport http {{
      keepalive_idle_conns 256
      keepalive_idle_conns_per_host 256{versions}
    }}
  }}
}}
"""


def haproxy(front: Front) -> Program:
    """HAProxy with one thread."""
    names = [(site, f"target{index}", target) for index, (site, target) in enumerate(front.sites.items())]
    rules = "\n".join(f"  use_backend {name} if {{ req.hdr(host) -i {site} }}" for site, name, _ in names)
    backends = [
        f"backend {name}\n  server origin 127.0.0.1:{target}{' proto h2' if site == GRPC_SITE else ''}"
        for site, name, target in names
    ]
    if front.second:
        backends[0] += _HAPROXY_SECOND.format(port=front.second)
    config = _HAPROXY.format(
        port=front.port, tls_port=front.tls_port, pem=front.pem, rules=rules, backends="\n".join(backends)
    )
    return Program(
        name="haproxy",
        port=front.port,
        tls_port=front.tls_port,
        argv=("haproxy", "-db", "-f", "haproxy.cfg"),
        files={"haproxy.cfg": config},
    )


def caddy(front: Front) -> Program:
    """Caddy with one processor."""
    return Program(
        name="caddy",
        port=front.port,
        tls_port=front.tls_port,
        argv=("caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile"),
        env={"GOMAXPROCS": "1", "HOME": ".", "XDG_DATA_HOME": "./data", "XDG_CONFIG_HOME": "./config"},
        files={"Caddyfile": _CADDY.format(sites="".join(_caddy_site(front, site) for site in front.sites))},
    )


def _caddy_site(front: Front, site: str) -> str:
    speaks_h2c = site == GRPC_SITE
    targets = [f"{'h2c://' if speaks_h2c else ''}127.0.0.1:{front.sites[site]}"]
    if front.second and site == SITE:
        targets.append(f"127.0.0.1:{front.second}")
    addresses = {
        f"http://{site}:{front.port}": "",
        f"https://{site}:{front.tls_port}": f"tls {front.pem} {front.pem}",
    }
    return "".join(
        _CADDY_SITE.format(
            address=address,
            tls=tls,
            targets=" ".join(targets),
            retries="lb_try_duration 2s" if len(targets) > 1 else "",
            versions="\n      versions h2c" if speaks_h2c else "",
        )
        for address, tls in addresses.items()
    )


def aiohttp(front: Front) -> Program:
    """The plain aiohttp proxy of this folder, which serves no TLS."""
    routes = tuple(f"{site}=http://127.0.0.1:{target}" for site, target in front.sites.items())
    argv = (sys.executable, "-m", "benchmarks.load.aiohttp_proxy", str(front.port), *routes)
    return Program(name="aiohttp", port=front.port, argv=argv, env={"PYTHONPATH": str(Path.cwd())})


def nginx_silent(front: Front) -> Program:
    """The peer nginx without an access log."""
    return nginx.proxy("nginx", front)


def nginx_logging(front: Front) -> Program:
    """The peer nginx with an access log of JSON lines."""
    return nginx.proxy("nginx + log", front, access_log=True)


def nginx_buffering(front: Front) -> Program:
    """The peer nginx that buffers what it downloads in memory."""
    return nginx.proxy("nginx buffered", front, buffering=True)


PEERS: dict[str, Callable[[Front], Program]] = {
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
