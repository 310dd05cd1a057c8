"""A double of cloudflared 2026.8.2: its arguments, token check, lines, pages and ends, as they were measured.

Beside the switches of `tests.support.doubles`:

FAKE_RULES           JSON list of rules that Cloudflare sends once it is connected: [{"hostname": ..., "service": ...}]
FAKE_HOSTNAME        the name of a quick tunnel; "" is a refusal
FAKE_REFUSED         Cloudflare does not know the tunnel
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.support.doubles import Double, serve

VERSION: Final = "cloudflared version 2026.8.2 (built 2026-08-20T10:00:00Z)"
BAD_TOKEN: Final = "Provided Tunnel token is not valid.\nSee 'cloudflared tunnel run --help'."
NO_TUNNEL: Final = (
    '"cloudflared tunnel run" requires the ID or name of the tunnel to run as the last command line argument'
    " or in the configuration file.\nSee 'cloudflared tunnel run --help'."
)

_WITH_VALUE: Final = frozenset(
    {
        *("--config", "--metrics", "--output", "--loglevel", "--grace-period", "--protocol", "--url", "--region"),
        *("--edge-ip-version", "--retries", "--edge", "--quick-service", "--cacert"),
    }
)
_FLAGS: Final = frozenset({"--no-autoupdate", "--no-prechecks"})
_RUN_WITH_VALUE: Final = frozenset({"--token", "--token-file", "--protocol"})


class UsageError(Exception):
    """Arguments that the program does not understand."""


def main(argv: Sequence[str], switches: Mapping[str, str] | None = None) -> int:
    """The exit status, when it ends by itself or is asked to."""
    if list(argv) == ["--version"]:
        sys.stdout.write(f"{VERSION}\n")
        return 0
    double = Double({**os.environ, **(switches or {})}, fd=2)
    try:
        flags, is_run = parsed(argv)
    except UsageError as error:
        sys.stdout.write(f"Incorrect Usage: {error}\n\nNAME:\n   cloudflared tunnel\n")
        return 1
    return Cloudflared(double, flags, is_run=is_run).run()


def parsed(argv: Sequence[str]) -> tuple[dict[str, str], bool]:
    """The flags by their names, and whether it is `tunnel run`; raises UsageError."""
    words = list(argv)
    if not words or words.pop(0) != "tunnel":
        raise UsageError("only tunnels are known here")
    flags: dict[str, str] = {}
    is_run = False
    while words:
        name, has_value, value = words.pop(0).partition("=")
        if name == "run" and not is_run:
            is_run = True
        elif name in _FLAGS and not is_run:
            flags[name] = "true"
        elif name in (_RUN_WITH_VALUE if is_run else _WITH_VALUE):
            if not has_value and not words:
                raise UsageError(f"flag needs an argument: {name[1:]}")
            flags[name] = value if has_value else words.pop(0)
        else:
            raise UsageError(f"flag provided but not defined: {name[1:]}")
    return flags, is_run


class Cloudflared:
    """One run."""

    def __init__(self, double: Double, flags: Mapping[str, str], *, is_run: bool) -> None:
        """With flags by their names."""
        self._double = double
        self._flags = flags
        self._is_run = is_run
        self._was_connected = False
        self._hostname = ""

    def run(self) -> int:
        """From the first line to the status."""
        token = self._token()
        if self._is_run and not _is_token(token):
            self._double.say(BAD_TOKEN if token else NO_TUNNEL)
            return 255
        if not self._double.has_dns():
            self._log(
                "error",
                "Failed to initialize DNS local resolver",
                error="lookup region1.v2.argotunnel.com: i/o timeout",
            )
            self._double.say(
                "edge discovery: error looking up Cloudflare edge IPs: lookup _v2-origintunneld._tcp: no such host"
            )
            return 1
        if not self._is_run and not self._made_up_a_name():
            return 1
        try:
            port = serve(self._flags.get("--metrics", "127.0.0.1:0"), self._page)
        except OSError:
            error = f"listen tcp {self._flags['--metrics']}: bind: address already in use"
            self._log("error", "Error opening metrics server listener", error=error)
            self._double.say(f"Error opening metrics server listener: {error}")
            return 1
        self._log("info", f"Starting metrics server on 127.0.0.1:{port}/metrics")
        self._double.on_term()
        self._double.go_wrong(token)
        return self._until_the_end()

    def _until_the_end(self) -> int:
        while not self._double.wait():
            if self._double.switches.get("FAKE_REFUSED"):
                self._log(
                    "error",
                    "Register tunnel error from server side",
                    error="Unauthorized: Tunnel not found",
                    connIndex=0,
                )
                return 1
            if self._double.is_connected and not self._was_connected:
                self._connected()
        # Where nobody reads its lines it stays here, and SIGTERM does not end it.
        self._log("info", "Initiating graceful shutdown due to signal terminated ...")
        return 0

    def _connected(self) -> None:
        self._was_connected = True
        where: dict[str, Any] = {
            "connIndex": 0,
            "event": 0,
            "ip": "198.41.200.1",
            "location": "fra01",
            "protocol": "quic",
        }
        self._log("info", "Registered tunnel connection", **where)
        if "FAKE_RULES" in self._double.switches:
            self._log("info", "Updated to new configuration", version=0)
        if path := os.environ.get("NOTIFY_SOCKET"):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                notify.sendto(b"READY=1", path)

    def _made_up_a_name(self) -> bool:
        self._log("info", "Requesting new quick Tunnel on trycloudflare.com...")
        self._hostname = self._double.switches.get("FAKE_HOSTNAME", "made-up-name.trycloudflare.com")
        if not self._hostname:
            self._double.say("failed to unmarshal quick Tunnel: invalid character 'e' looking for beginning of value")
            return False
        self._log(
            "info", "|  Your quick Tunnel has been created! Visit it at (it may take some time to be reachable):  |"
        )
        self._log("info", f"|  https://{self._hostname}  |")
        return True

    def _token(self) -> str:
        # What is given itself wins over a file.
        given = self._flags.get("--token") or os.environ.get("TUNNEL_TOKEN")
        if given:
            return given
        path = self._flags.get("--token-file") or os.environ.get("TUNNEL_TOKEN_FILE")
        return Path(path).read_text().strip() if path else ""

    def _page(self, path: str) -> tuple[int, str]:
        connections = int(self._double.is_connected)
        match path:
            case "/ready":
                status = 200 if connections else 503
                page = {
                    "status": status,
                    "readyConnections": connections,
                    "connectorId": "7d2c0d7e-0000-4000-8000-000000000000",
                }
                return status, json.dumps(page)
            case "/healthcheck":
                return 200, "OK\n"
            case "/config":
                return 200, json.dumps(self._config())
            case "/quicktunnel":
                return 200, json.dumps({"hostname": self._hostname})
            case "/metrics":
                return 200, _metrics(connections)
            case "/debug/pprof/cmdline":
                return 403, "Forbidden\n"
            case _:
                return 404, "404 page not found\n"

    def _config(self) -> dict[str, Any]:
        rules, version = [{"hostname": "", "path": None, "service": "http_status:503"}], -1
        if url := self._flags.get("--url"):
            rules = [{"hostname": "", "path": None, "service": url}]
        if self._was_connected and (text := self._double.switches.get("FAKE_RULES")):
            rules, version = [*json.loads(text), {"hostname": "", "path": None, "service": "http_status:404"}], 0
        return {"version": version, "config": {"ingress": rules, "warp-routing": {}, "originRequest": {}}}

    def _log(self, level: str, message: str, **fields: Any) -> None:  # noqa: ANN401
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._flags.get("--output") == "json":
            self._double.say(json.dumps({"level": level, **fields, "time": at, "message": message}))
            return
        details = " ".join(f"{name}={value}" for name, value in fields.items())
        self._double.say(f"{at} {level[:3].upper()} {message} {details}".rstrip())


def _is_token(token: str) -> bool:
    try:
        parts = json.loads(base64.b64decode(token, validate=True))
    except (binascii.Error, ValueError):
        return False
    return isinstance(parts, dict) and all(parts.get(name) for name in "ats")


def _metrics(connections: int) -> str:
    lines = [
        # 1 with none at all: it lies.
        "cloudflared_tunnel_ha_connections 1",
        "cloudflared_tunnel_total_requests 0",
        "cloudflared_orchestration_config_version 0",
        'build_info{goversion="go1.24",revision="2026-08-20",type="",version="2026.8.2"} 1',
    ]
    if connections:
        lines.append('quic_client_smoothed_rtt{conn_index="0"} 12')
    return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
