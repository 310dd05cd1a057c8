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

from benchmarks.load import nginx
from benchmarks.load.front import Front
from benchmarks.load.process import READY_WITHIN_S, Program, Running, StartError

SECRET = "a secret for the benchmark, made of enough bytes"
ISSUER = "zexio-service-mesh"
ORGANIZATION = "org_bench"
TENANT_SITE = "tenant.bench.test"


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """How a node is started; `seeded` is a data folder to copy, `mesh` are settings of that section.

    `environ` are other settings, as environment variables.
    """

    name: str = "zexio"
    workers: int = 1
    access_log: bool = False
    seeded: Path | None = None
    mesh: dict[str, int] = {}
    environ: dict[str, str] = {}


def is_installed() -> bool:
    """Whether the console script lies beside the interpreter."""
    return _script().exists()


def program(shape: Shape, front: Front, admin_port: int) -> Program:
    """The command line, environment and settings of a node."""
    listen = {
        "--mesh": f"127.0.0.1:{front.port}",
        "--mesh-tls": f"127.0.0.1:{front.tls_port}",
        "--admin": f"127.0.0.1:{admin_port}",
        "--workers": str(shape.workers),
    }
    flags = [part for pair in listen.items() for part in pair]
    mesh = {"max_requests_per_connection": nginx.REQUESTS_PER_CONNECTION, **shape.mesh}
    lines = ["[mesh]", *(f"{name} = {value}" for name, value in mesh.items())]
    lines += ["[tls]", f'certificates = ["{front.pem}"]', ""]
    return Program(
        name=shape.name,
        port=front.port,
        tls_port=front.tls_port,
        argv=(str(_script()), "up", "--data", "data", "--config", "zexio.toml", *flags),
        env={
            "ZEXIO_LOG_ACCESS": "json" if shape.access_log else "off",
            "MESH_JWT_SECRET": SECRET,
            "HOME": ".",
            **shape.environ,
        },
        files={"zexio.toml": "\n".join(lines)},
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


class Domain(msgspec.Struct, frozen=True):
    """What is looked at of a domain."""

    status: str
    reason: str | None = None


class Admin:
    """A keep-alive connection to the admin API of a node."""

    def __init__(self, port: int) -> None:
        """Connects on first use."""
        self.port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def put_route(self, host: str, *target_ports: int, scheme: str = "http", **fields: object) -> None:
        """Create or replace a route; raises OSError when it is refused."""
        targets = [{"url": f"{scheme}://127.0.0.1:{port}"} for port in target_ports]
        self._change("PUT", f"/routes/{host}", {"targets": targets, "access": "public", **fields})

    def remove_route(self, host: str) -> None:
        """Remove a route; raises OSError when it is refused."""
        self._change("DELETE", f"/routes/{host}")

    def pause(self, host: str, hold_s: float) -> None:
        """Hold new requests of a route; raises OSError when it is refused."""
        self._change("POST", f"/routes/{host}/pause", {"hold_s": hold_s})

    def resume(self, host: str) -> None:
        """Let a route's requests go on; raises OSError when it is refused."""
        self._change("POST", f"/routes/{host}/resume", {})

    def put_domain(self, name: str, host: str) -> None:
        """Let a domain serve the routes of a host; raises OSError when it is refused."""
        self._change("PUT", f"/domains/{name}", {"serves": host})

    def domain(self, name: str) -> Domain:
        """How a domain does; raises OSError when it is not known."""
        return msgspec.json.decode(self._answer("GET", f"/domains/{name}"), type=Domain)

    def route(self, host: str) -> bytes:
        """What GET /routes/{host} answers; raises OSError when it is refused."""
        return self._answer("GET", f"/routes/{host}")

    def is_healthy(self) -> bool:
        """Whether GET /health answers OK."""
        with suppress(OSError, http.client.HTTPException):
            return self._ask("GET", "/health", None)[0] == 200
        return False

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _change(self, method: str, path: str, body: dict[str, object] | None = None) -> None:
        self._answer(method, path, None if body is None else msgspec.json.encode(body))

    def _answer(self, method: str, path: str, body: bytes | None = None) -> bytes:
        status, answer = self._ask(method, path, body)
        if not 200 <= status < 300:
            raise OSError(f"{method} {path} answered {status}: {answer[:500]!r}")
        return answer

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
