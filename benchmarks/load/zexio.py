"""Zexio as a peer: started as an operator would, told its routes through the admin API."""

from __future__ import annotations

import http.client
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

import jwt
import msgspec

from benchmarks.load.process import READY_WITHIN_S, Program, Running, StartError

SECRET = "a secret for the benchmark, made of enough bytes"
ISSUER = "zexio-service-mesh"
ORGANIZATION = "org_bench"
TENANT_SITE = "tenant.bench.test"


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """How a node is started; `seeded` is a data folder to copy."""

    name: str = "zexio"
    workers: int = 1
    access_log: bool = False
    seeded: Path | None = None


def is_installed() -> bool:
    """Whether the console script lies beside the interpreter."""
    return _script().exists()


def program(shape: Shape, port: int, admin_port: int) -> Program:
    """The command line and environment of a node."""
    listen = ("--mesh", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin_port}", "--workers", str(shape.workers))
    return Program(
        name=shape.name,
        port=port,
        argv=(str(_script()), "up", "--data", "data", *listen),
        env={"ZEXIO_LOG_ACCESS": "json" if shape.access_log else "off", "MESH_JWT_SECRET": SECRET, "HOME": "."},
    )


def token(user: int) -> str:
    """A mesh token of the benchmark's organization that outlives the run."""
    claims = {
        "iss": ISSUER,
        "exp": int(time.time()) + 3600,
        "userId": f"user_{user}",
        "orgId": ORGANIZATION,
        "sourceService": "bench",
        "targetService": "origin",
    }
    return jwt.encode(claims, SECRET, algorithm="HS256")


class Admin:
    """A keep-alive connection to the admin API of a node."""

    def __init__(self, port: int) -> None:
        """Connects on first use."""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def put_route(self, host: str, target_port: int, **fields: object) -> None:
        """Create or replace a route with one target; raises OSError when it is refused."""
        body = {"targets": [{"url": f"http://127.0.0.1:{target_port}"}], "access": "public", **fields}
        status, answer = self._ask("PUT", f"/routes/{host}", msgspec.json.encode(body))
        if status not in (200, 201):
            raise OSError(f"PUT /routes/{host} answered {status}: {answer[:500]!r}")

    def is_healthy(self) -> bool:
        """Whether GET /health answers OK."""
        with suppress(OSError, http.client.HTTPException):
            return self._ask("GET", "/health", None)[0] == 200
        return False

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _ask(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        try:
            self._connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise


def await_health(node: Running, admin: Admin) -> None:
    """Return when the node says that it is healthy; raises StartError after a minute."""
    deadline = time.monotonic() + READY_WITHIN_S
    while not admin.is_healthy():
        if time.monotonic() > deadline:
            raise StartError(f"{node.name} is not healthy: {(node.directory / 'output.log').read_text()[-2000:]}")
        time.sleep(0.02)


def copy_seed(seeded: Path, directory: Path) -> None:
    """Give a node that is to run in `directory` a copy of a seeded data folder."""
    shutil.copytree(seeded, directory / "data")


def _script() -> Path:
    return Path(sys.executable).parent / "zexio"
