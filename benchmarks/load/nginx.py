"""nginx as we start it, as the origin and as a peer: one worker, in the foreground, in a folder of its own."""

from __future__ import annotations

import os

from benchmarks.load.front import Front
from benchmarks.load.heads import ECHO_SITE, GRPC_SITE, SITE, UNIQUE_PATH, UPLOAD_SITE
from benchmarks.load.process import Program

ANSWER = b"Hello, World!"
BIG_FILE = "big"
# More than any run sends: h2load does not come back when it is told to, and the limit is not what is measured.
REQUESTS_PER_CONNECTION = 1_000_000

_ARGV = ("nginx", "-p", "./", "-c", "nginx.conf", "-e", "stderr")

_FRAME = """
daemon off;
pid nginx.pid;
{user}
worker_processes {workers};
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
  keepalive_requests {requests};
  keepalive_timeout 75s;
  tcp_nodelay on;
  server_tokens off;
{settings}
{servers}
}}
"""

_ORIGIN = """
  sendfile on;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ return 200 "{answer}"; }}
    location {unique} {{ add_header ETag '"$request_id"'; return 200 "{answer}"; }}
    location /{big} {{ root .; }}
  }}
  server {{
    listen 127.0.0.1:{other_port} backlog=4096;
    location / {{ return 200 "{other_answer}"; }}
  }}
"""

_PROXY = """
  upstream site {{ server 127.0.0.1:{origin}; {second} keepalive 256; keepalive_requests {requests}; }}
  upstream upload {{ server 127.0.0.1:{sink}; keepalive 256; }}
  upstream echo {{ server 127.0.0.1:{echo}; }}
  upstream rpc {{ server 127.0.0.1:{rpc}; keepalive 256; keepalive_requests {requests}; }}
  ssl_certificate {pem};
  ssl_certificate_key {pem};
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_session_cache shared:site:4m;
  proxy_http_version 1.1;
  proxy_set_header Host $http_host;
  proxy_set_header Connection "";
  proxy_set_header X-Forwarded-For $remote_addr;
  proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Forwarded-Host $http_host;
  proxy_max_temp_file_size 0;
  server {{
    listen 127.0.0.1:{port} backlog=4096 default_server{reuseport};
    listen 127.0.0.1:{tls_port} ssl http2 backlog=4096 default_server{reuseport};
    return 404;
  }}
  server {{
    listen 127.0.0.1:{port};
    listen 127.0.0.1:{tls_port} ssl http2;
    server_name {site};
    location / {{ proxy_pass http://site; }}
    location /{big} {{ proxy_pass http://site; proxy_buffering {buffering}; }}
  }}
  server {{
    listen 127.0.0.1:{port};
    listen 127.0.0.1:{tls_port} ssl http2;
    server_name {upload_site};
    location / {{ proxy_pass http://upload; proxy_request_buffering off; }}
  }}
  server {{
    listen 127.0.0.1:{port};
    listen 127.0.0.1:{tls_port} ssl http2;
    server_name {echo_site};
    location / {{
      proxy_pass http://echo;
      proxy_set_header Connection upgrade;
      proxy_set_header Upgrade $http_upgrade;
    }}
  }}
  server {{
    listen 127.0.0.1:{tls_port} ssl http2;
    server_name {grpc_site};
    location / {{ grpc_pass grpc://rpc; }}
  }}
"""

_ACCESS_LOG = "access.log json buffer=64k flush=1s"


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
    return Program(name="origin", port=port, argv=_ARGV, files={"nginx.conf": _config(servers)})


def proxy(name: str, front: Front, *, access_log: bool = False, buffering: bool = False, settings: str = "") -> Program:
    """A peer in front of the sites; `settings` are lines for all of them."""
    servers = _PROXY.format(
        port=front.port,
        tls_port=front.tls_port,
        pem=front.pem,
        requests=REQUESTS_PER_CONNECTION,
        origin=front.sites[SITE],
        second=f"server 127.0.0.1:{front.second};" if front.second else "",
        sink=front.sites[UPLOAD_SITE],
        echo=front.sites[ECHO_SITE],
        rpc=front.sites[GRPC_SITE],
        site=SITE,
        upload_site=UPLOAD_SITE,
        echo_site=ECHO_SITE,
        grpc_site=GRPC_SITE,
        big=BIG_FILE,
        buffering="on" if buffering else "off",
        # One queue for all workers leaves most connections to whoever wakes up first.
        reuseport=" reuseport" if front.workers > 1 else "",
    )
    frame = {"access_log": _ACCESS_LOG if access_log else "off", "workers": str(front.workers), "settings": settings}
    config = _config(servers, **frame)
    return Program(name=name, port=front.port, tls_port=front.tls_port, argv=_ARGV, files={"nginx.conf": config})


def _config(servers: str, *, access_log: str = "off", workers: str = "1", settings: str = "") -> str:
    # Started by root, workers would become `nobody` and could not read the folder of the run.
    user = "user root root;" if os.geteuid() == 0 else ""
    return _FRAME.format(
        user=user,
        access_log=access_log,
        servers=servers,
        workers=workers,
        settings=settings,
        requests=REQUESTS_PER_CONNECTION,
    )
