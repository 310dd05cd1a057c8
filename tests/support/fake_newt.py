"""A double of newt 1.15.0: its variables, its lines, its health file, its pages and its bad habits, as they were read.

Beside the switches of `tests.support.doubles`:

FAKE_REFUSED         the server refuses the credentials; it tries every FAKE_RETRY_S (3) for ever
FAKE_KEEP_HEALTH     the health file stays when the connection is lost
FAKE_REEXEC_AFTER_S  the server has it start anew, so long after its start: once, under the same process id
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.support.doubles import Double, serve

VERSION: Final = "Newt version 1.15.0"
_LEVELS: Final = ("DEBUG", "INFO", "WARN", "ERROR", "FATAL")


def main(argv: Sequence[str], switches: Mapping[str, str] | None = None) -> int:
    """The exit status, when it ends by itself or is asked to."""
    if list(argv) in (["--version"], ["-version"]):
        sys.stdout.write(f"{VERSION}\n")
        return 0
    words = list(argv[2:]) if list(argv[:2]) == ["up", "site"] else list(argv)
    flags = dict(zip((word.lstrip("-") for word in words[::2]), words[1::2], strict=False))
    return Newt(Double({**os.environ, **(switches or {})}, fd=1), flags).run()


class Newt:
    """One run."""

    def __init__(self, double: Double, flags: Mapping[str, str]) -> None:
        """With flags by their names."""
        self._double = double
        self._flags = flags
        self._file = Path(os.environ.get("CONFIG_FILE") or Path.home() / ".config/newt-client/config.json")
        self._health = os.environ.get("HEALTH_FILE")
        self._is_on = False
        self._refusals = 0
        self._begun = time.monotonic()

    def run(self) -> int:
        """From the first line to the status."""
        endpoint = self._setting("endpoint", "PANGOLIN_ENDPOINT")
        site = self._setting("id", "NEWT_ID", "SITE_ID")
        secret = self._setting("secret", "NEWT_SECRET", "SITE_SECRET")
        if not (endpoint and site and secret):
            self._log("FATAL", "Endpoint, ID, and secret are required either via CLI flags or environment variables")
            return 1
        self._save({"id": site, "secret": secret, "endpoint": endpoint, "tlsClientCert": ""})
        self._log("INFO", "Newt version 1.15.0")
        self._double.on_term()
        if os.environ.get("NEWT_METRICS_PROMETHEUS_ENABLED", "true") == "true":
            try:
                serve(os.environ.get("NEWT_ADMIN_ADDR", "127.0.0.1:2112"), self._page)
            except OSError as error:
                self._log("ERROR", f"admin http error: listen tcp: {error}")
        self._double.go_wrong(secret)
        next_try = 0.0
        while not self._double.wait():
            self._reexec()
            if "FAKE_REFUSED" not in self._double.switches:
                self._follow()
            elif time.monotonic() >= next_try:
                next_try = time.monotonic() + float(self._double.switches.get("FAKE_RETRY_S", "3"))
                self._refused()
        self._log("INFO", "Exiting...")
        return 0

    def _follow(self) -> None:
        if self._double.is_connected and not self._is_on:
            self._is_on = True
            self._log("INFO", "Websocket connected")
            self._log("INFO", "Tunnel connection to server established successfully!")
            if self._health:
                Path(self._health).write_text("ok")
                Path(self._health).chmod(0o644)
        elif self._is_on and not self._double.is_connected:
            self._is_on = False
            self._log("WARN", "Periodic ping failed (4 consecutive failures)")
            if self._health and "FAKE_KEEP_HEALTH" not in self._double.switches:
                Path(self._health).unlink(missing_ok=True)

    def _refused(self) -> None:
        self._refusals += 1
        said = "Failed to connect: failed to get token: failed to get newt token with status code: 401, body: {}"
        # The first two are not worth a word to it.
        self._log("DEBUG" if self._refusals < 3 else "ERROR", f"{said}. Retrying in 3s...")

    def _setting(self, name: str, *variables: str) -> str:
        found = [self._flags.get(name), *(os.environ.get(variable) for variable in variables)]
        if self._file.is_file():
            found.append(json.loads(self._file.read_text()).get(name))
        return next((value for value in found if value), "")

    def _save(self, config: Mapping[str, str]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(config))
        self._file.chmod(0o644)

    def _reexec(self) -> None:
        after = self._double.switches.get("FAKE_REEXEC_AFTER_S")
        if after is None or "FAKE_REEXECED" in os.environ or time.monotonic() - self._begun < float(after):
            return
        self._log("INFO", "Received restart message")
        os.environ["FAKE_REEXECED"] = "1"
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 (it is what newt does)

    def _page(self, path: str) -> tuple[int, str]:
        if path == "/healthz":
            return 200, "ok"
        if path != "/metrics":
            return 404, "404 page not found\n"
        is_on = int(self._double.is_connected and "FAKE_REFUSED" not in self._double.switches)
        lines = [
            f'newt_websocket_connected{{site_id="site"}} {is_on}',
            f'newt_site_online{{site_id="site"}} {is_on}',
            f'newt_tunnel_sessions{{site_id="site"}} {is_on}',
        ]
        if self._refusals:
            labels = 'error_type="auth_failed",site_id="site",transport="auth"'
            lines.append(f"newt_connection_errors_total{{{labels}}} {self._refusals}")
        if is_on:
            lines += [
                'newt_tunnel_latency_seconds_sum{site_id="site"} 0.04',
                'newt_tunnel_latency_seconds_count{site_id="site"} 2',
            ]
        return 200, "".join(f"{line}\n" for line in lines)

    def _log(self, level: str, message: str) -> None:
        if _LEVELS.index(level) >= _LEVELS.index(os.environ.get("LOG_LEVEL", "INFO")):
            self._double.say(f"{level}: {time.strftime('%Y/%m/%d %H:%M:%S')} {message}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
