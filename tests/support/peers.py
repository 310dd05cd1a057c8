"""nginx, HAProxy and Caddy with their defaults in front of one origin, so that the same cases can be put to them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

_NGINX: Final = """
daemon off; worker_processes 1; pid {home}/pid; error_log {home}/log crit;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
"""
_HAPROXY: Final = """
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend visitors
  bind 127.0.0.1:{port}
  option forwardfor
  default_backend origin
backend origin
  server origin 127.0.0.1:{origin}
"""
_CADDY: Final = """
{{
  admin off
  auto_https off
}}
http://:{port} {{
  bind 127.0.0.1
  reverse_proxy 127.0.0.1:{origin}
}}
"""


class Peer(msgspec.Struct, frozen=True):
    """Another proxy: its configuration file and the command that runs it in the foreground."""

    configuration: str
    command: tuple[str, ...]


PEERS: Final = MappingProxyType(
    {
        "nginx": Peer(_NGINX, ("nginx", "-p", "{home}", "-c", "{file}", "-g", "user root;")),
        "haproxy": Peer(_HAPROXY, ("haproxy", "-db", "-f", "{file}")),
        "caddy": Peer(_CADDY, ("caddy", "run", "--adapter", "caddyfile", "--config", "{file}")),
    }
)


class RunningPeer(msgspec.Struct, frozen=True):
    """Where the peer listens, and where its origin has to."""

    port: int
    origin_port: int


@contextmanager
def running(name: str, home: Path) -> Iterator[RunningPeer]:
    """Run the peer `name` with its files below `home` until the block ends."""
    peer = PEERS[name]
    where = RunningPeer(_free_port(), _free_port())
    file = home / "configuration"
    file.write_text(peer.configuration.format(home=home, port=where.port, origin=where.origin_port))
    search = os.environ.get("PATH", "") + ":/usr/sbin"
    program = shutil.which(peer.command[0], path=search) or peer.command[0]
    arguments = [part.format(home=home, file=file) for part in peer.command[1:]]
    environment = {"PATH": search, "HOME": str(home), "XDG_DATA_HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    output = subprocess.DEVNULL
    with subprocess.Popen([program, *arguments], env=environment, stdout=output, stderr=output) as process:
        try:
            _wait_until_listening(where.port)
            yield where
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _wait_until_listening(port: int, attempts: int = 250) -> None:
    for _ in range(attempts):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError(f"nothing listens on {port}")
