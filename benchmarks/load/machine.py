"""Where and with what a run was made."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mesh.code import is_compiled

_VERSION_OF = {
    "nginx": ("nginx", "-v"),
    "haproxy": ("haproxy", "-v"),
    "caddy": ("caddy", "version"),
    "wrk": ("wrk", "-v"),
    "h2load": ("h2load", "--version"),
    "openssl": ("openssl", "version"),
}
_PACKAGES = ("zexio", "uvloop", "httptools", "aiohttp", "msgspec")


def describe(command: str) -> dict[str, object]:
    """Date, machine, versions and the command line, for the saved result."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "commit": _commit(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "zexio_code": "compiled" if is_compiled() else "Python",
        "versions": {**_programs(), **_packages()},
    }


def _commit() -> str:
    done = _run("git", "describe", "--always", "--dirty", "--abbrev=12")
    return done.strip() or "unknown"


def _cpu_model() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _programs() -> dict[str, str]:
    found = {}
    for name, argv in _VERSION_OF.items():
        if number := re.search(r"\d+(?:\.\d+)+", _run(*argv)):
            found[name] = number[0]
    return found


def _packages() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _run(*argv: str) -> str:
    if not shutil.which(argv[0]):
        return ""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if argv[0] != "git" or done.returncode == 0 else ""
