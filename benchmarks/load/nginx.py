"""nginx as we start it, as the origin and as a peer: one worker, in the foreground, in a folder of its own."""

from __future__ import annotations

import os

from benchmarks.load.heads import UNIQUE_PATH
from benchmarks.load.process import Program

ANSWER = b"Hello, World!"
BIG_FILE = "big"

_FRAME = """
daemon off;
pid nginx.pid;
{user}
worker_processes 1;
worker_rlimit_nofile 20000;
error_log stderr error;
events {{ worker_connections 19000; multi_accept on; }}
http {{
  log_format json escape=json '{{"time":"$time_iso8601","remote":"$remote_addr","host":"$host",'
    '"method":"$request_method","target":"$request_uri","status":$status,"bytes":$body_bytes_sent,"duration_s":$request_time,'
    '"upstream":"$upstream_addr","agent":"$http_user_agent","referer":"$http_referer"}}';
  access_log {access_log};
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  client_max_body_size 0;
  keepalive_requests 10000;
  keepalive_timeout 75s;
  tcp_nodelay on;
  server_tokens off;
{servers}
}}
"""

_ORIGIN = """
  sendfile on;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    keepalive_requests 1000000;
    location / {{ return 200 "{answer}"; }}
    location {unique} {{ add_header ETag '"$request_id"'; return 200 "{answer}"; }}
    location /{big} {{ root .; }}
  }}
  server {{
    listen 127.0.0.1:{other_port} backlog=4096;
    keepalive_requests 1000000;
    location / {{ return 200 "{other_answer}"; }}
  }}
"""

_PROXY = """
  upstream site {{ server 127.0.0.1:{origin}; keepalive 256; keepalive_requests 1000000; }}
  upstream upload {{ server 127.0.0.1:{sink}; keepalive 256; }}
  proxy_http_version 1.1;
  proxy_set_header Host $http_host;
  proxy_set_header Connection "";
  proxy_set_header X-Forwarded-For $remote_addr;
  proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Forwarded-Host $http_host;
  proxy_max_temp_file_size 0;
  server {{ listen 127.0.0.1:{port} backlog=4096 default_server; return 404; }}
  server {{
    listen 127.0.0.1:{port};
    server_name {site};
    location / {{ proxy_pass http://site; }}
    location /{big} {{ proxy_pass http://site; proxy_buffering {buffering}; }}
  }}
  server {{
    listen 127.0.0.1:{port};
    server_name {upload_site};
    location / {{ proxy_pass http://upload; proxy_request_buffering off; }}
  }}
"""


def origin(port: int, other_port: int, other_answer: str) -> Program:
    """The origin behind every proxy: two ports with two short answers, answers that never repeat, and a big file."""
    servers = _ORIGIN.format(
        port=port,
        other_port=other_port,
        answer=ANSWER.decode(),
        other_answer=other_answer,
        unique=UNIQUE_PATH,
        big=BIG_FILE,
    )
    return _program("origin", port, servers, "off")


def proxy(name: str, port: int, sites: dict[str, int], *, access_log: bool = False, buffering: bool = False) -> Program:
    """A peer in front of two sites (name to origin port): the first for everything, the second for uploads."""
    (site, target), (upload_site, sink) = sites.items()
    servers = _PROXY.format(
        port=port,
        origin=target,
        sink=sink,
        site=site,
        upload_site=upload_site,
        big=BIG_FILE,
        buffering="on" if buffering else "off",
    )
    return _program(name, port, servers, "access.log json buffer=64k flush=1s" if access_log else "off")


def _program(name: str, port: int, servers: str, access_log: str) -> Program:
    # Started by root, workers would become `nobody` and could not read the folder of the run.
    user = "user root root;" if os.geteuid() == 0 else ""
    return Program(
        name=name,
        port=port,
        argv=("nginx", "-p", "./", "-c", "nginx.conf", "-e", "stderr"),
        files={"nginx.conf": _FRAME.format(user=user, access_log=access_log, servers=servers)},
    )
