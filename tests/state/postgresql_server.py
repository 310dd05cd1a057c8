"""A private PostgreSQL server in a directory of its own, reached by a socket, for as long as the tests run."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final, Self

PROGRAMS: Final = Path("/usr/lib/postgresql")

_EMPTY: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'postgres' AND pid <> pg_backend_pid();
DROP SCHEMA public CASCADE;
CREATE SCHEMA public;
"""


class PostgresqlServer:
    """Started by `with`; durable it is not."""

    def __init__(self) -> None:
        self._programs = max(PROGRAMS.glob("*/bin"), key=lambda path: int(path.parent.name))
        self._directory = Path(tempfile.mkdtemp(prefix="zexio-postgresql-"))
        # PostgreSQL refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None

    @staticmethod
    def is_installed() -> bool:
        """Whether Debian's package is there; it keeps its programs out of the PATH."""
        return any(PROGRAMS.glob("*/bin/initdb"))

    @property
    def url(self) -> str:
        """The server's one database."""
        return f"postgresql://zexio@/postgres?host={self._directory}"

    def __enter__(self) -> Self:
        if self._user is not None:
            shutil.chown(self._directory, self._user)
        options = f"-c listen_addresses= -c fsync=off -c shared_buffers=16MB -k {self._directory}"
        self._run("initdb", "--no-sync", "--auth=trust", "--username=zexio", "--encoding=UTF8", self._data)
        self._control("start", "--log", self._directory / "log", "--options", options)
        return self

    def __exit__(self, *_exit: object) -> None:
        self._control("stop", "--mode=immediate")
        shutil.rmtree(self._directory)

    def empty(self) -> None:
        """Remove all tables, and every connection that a failed test left behind."""
        self._run("psql", "--quiet", "--host", self._directory, "--username=zexio", "--command", _EMPTY, "postgres")

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    def _control(self, act: str, *arguments: str | Path) -> None:
        self._run("pg_ctl", "--wait", "--pgdata", self._data, *arguments, act)

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [self._programs / program, *arguments]
        subprocess.run(command, user=self._user, cwd="/", check=True, capture_output=True, timeout=50)
