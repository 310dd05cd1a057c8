"""mitmweb as a process beside the node: what it is told, when it is ready, and how it ends."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec

from node.cli import mitmweb_addon
from node.cli.errors import CommandError

LOOPBACK: Final = "127.0.0.1"
START_S: Final = 30.0
END_S: Final = 3.0
_POLL_S: Final = 0.05
_SHOWN_LINES: Final = 20

_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")

INSTALL: Final = (
    "install mitmproxy in an environment of its own: `pipx install mitmproxy` or `uv tool install mitmproxy`"
)

# mitmproxy would speak HTTP/1 to the first two, and does not know the third.
_UNFIT: Final[Mapping[str, str]] = {
    "h2c": "mitmproxy does not speak HTTP/2 to a target that is reached without TLS",
    "h2": "mitmproxy would speak HTTP/1 to it",
    "unix": "mitmproxy cannot connect to a Unix socket",
}


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What is inspected: the URLs of targets, and how TLS is spoken to them.

    `ca` is PEM (empty: the system's roots), `server_name` what targets are called (empty: by their host).
    """

    targets: tuple[str, ...]
    unfit: Mapping[str, str] = msgspec.field(default_factory=dict)
    verify: bool = True
    ca: str = ""
    server_name: str = ""


def job(route: Mapping[str, Any]) -> Job:
    """What is to be done for a route as the admin API shows it; raises CommandError when mitmproxy cannot do it."""
    tls = route["target_tls"]
    if route["proxy_protocol"] != "off":
        raise CommandError("the targets expect a PROXY header, which mitmproxy does not send")
    split = route["traffic"]["split"]
    urls = dict.fromkeys(target["url"] for target in (*route["targets"], *(split["targets"] if split else ())))
    if not urls:
        raise CommandError("the route has no targets: it answers by itself")
    unfit = {url: reason for url in urls if (reason := _unfit(url, tls["certificate"]))}
    targets = tuple(url for url in urls if url not in unfit)
    if not targets:
        raise CommandError("; ".join(f"{url} cannot be inspected: {reason}" for url, reason in unfit.items()))
    return Job(targets=targets, unfit=unfit, verify=tls["verify"], ca=tls["ca"], server_name=tls["server_name"])


def find(program: str) -> str:
    """The path of mitmweb; raises CommandError that says how to get it."""
    found = shutil.which(program)
    if found is None:
        raise CommandError(f"{program} is not found; {INSTALL}, or name the program with --mitmweb or ZEXIO_MITMWEB")
    return found


class Mitmweb:
    """A mitmweb that was started; `inspectors` are its addresses by target URL, and it speaks to the file `log`."""

    def __init__(
        self, process: asyncio.subprocess.Process, inspectors: Mapping[str, str], web_port: int, log: Path
    ) -> None:
        if process.stdin is None:
            raise TypeError("mitmweb needs a pipe")
        self.inspectors = inspectors
        self.pages = f"http://{LOOPBACK}:{web_port}/"
        self._process = process
        self._input = process.stdin
        self._ports = [*(int(address.rpartition(":")[2]) for address in inspectors.values()), web_port]
        self.log = log

    @property
    def is_open(self) -> bool:
        """Whether everybody on this machine may look at its pages: before 11.1.2 mitmweb asked for no token."""
        return "token=" not in self.pages

    async def ready(self) -> None:
        """Return when it takes connections; raises CommandError with its own words when it does not start."""
        try:
            async with asyncio.timeout(START_S):
                for port in self._ports:
                    await self._until_open(port)
                # It says where its pages are, with the token that they ask for, when it has opened the port.
                while (said := _pages(self._said(), self.pages)) is None:  # noqa: ASYNC110 - it says it to a file
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise CommandError(self._why("mitmweb does not start")) from None
        self.pages = said

    async def ended(self) -> str:
        """Wait until it ends by itself; what it said last."""
        await self._process.wait()
        return self._why(f"mitmweb ended by itself with exit code {self._process.returncode}")

    async def finish(self) -> None:
        """Let it end what is under way, then end it: first in peace, then not. Nothing may be sent to it any more."""
        if not self._input.is_closing():
            self._input.write(mitmweb_addon.OFF)
            self._input.close()
        for number, patience_s in ((None, mitmweb_addon.FINISHED_S + END_S), (signal.SIGTERM, END_S)):
            if number is not None:
                self._signal(number)
            if await self._is_gone(patience_s):
                return
        self._signal(signal.SIGKILL)
        await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        # Its whole group: whatever it may have started ends with it.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    async def _is_gone(self, patience_s: float) -> bool:
        try:
            async with asyncio.timeout(patience_s):
                await self._process.wait()
        except TimeoutError:
            return False
        return True

    async def _until_open(self, port: int) -> None:
        while self._process.returncode is None:
            try:
                _reader, writer = await asyncio.open_connection(LOOPBACK, port)
            except OSError:
                await asyncio.sleep(_POLL_S)
                continue
            writer.close()
            return
        raise CommandError(self._why(f"mitmweb ended at once with exit code {self._process.returncode}"))

    def _said(self) -> str:
        try:
            return _COLOUR.sub("", self.log.read_text(errors="replace"))
        except FileNotFoundError:
            return ""

    def _why(self, what: str) -> str:
        lines = self._said().rstrip().splitlines()[-_SHOWN_LINES:]
        return "\n  ".join([f"{what}; it said:", *lines]) if lines else what


@asynccontextmanager
async def running(program: str, work: Job, web_port: int) -> AsyncIterator[Mitmweb]:
    """A mitmweb that is being started; it is ended with the block."""
    with TemporaryDirectory(prefix="zexio-inspect-", ignore_cleanup_errors=True) as folder:
        *ports, web_port = _free_ports(len(work.targets), web_port)
        inspectors = {url: f"http://{LOOPBACK}:{port}" for url, port in zip(work.targets, ports, strict=True)}
        log = Path(folder) / "mitmweb.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(program, *arguments(work, inspectors, web_port, Path(folder))),
                stdin=asyncio.subprocess.PIPE,
                # No pipe: mitmweb ends at once when nobody reads what it says, and it has to outlive the command.
                stdout=output,
                stderr=output,
                env=environment(work, Path(folder)),
                cwd=folder,
                # The terminal's Ctrl-C is for the command, which ends mitmweb when nothing is sent to it any more.
                start_new_session=True,
            )
        mitmweb = Mitmweb(process, inspectors, web_port, log)
        try:
            yield mitmweb
        finally:
            await mitmweb.finish()


def arguments(work: Job, inspectors: Mapping[str, str], web_port: int, folder: Path) -> list[str]:
    """What mitmweb is told; every process of the machine can read it. `folder` is its own, and private."""
    modes = [f"reverse:{url}@{address.removeprefix('http://')}" for url, address in inspectors.items()]
    options = {
        "confdir": folder,
        "web_host": LOOPBACK,
        "web_port": web_port,
        "web_open_browser": "false",
        "keep_host_header": "true",
        "stream_large_bodies": "1m",
        # A look whether the port is open is no reason to connect to the target.
        "connection_strategy": "lazy",
        "onboarding": "false",
        "termlog_verbosity": "info",
        "flow_detail": 0,
        **_trust(work, folder),
    }
    settings = [word for name, value in options.items() for word in ("--set", f"{name}={value}")]
    return [*(word for mode in modes for word in ("--mode", mode)), *settings, "--scripts", mitmweb_addon.__file__]


def environment(work: Job, folder: Path) -> dict[str, str]:
    """The variables of mitmweb: nothing of this shell but where programs are."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        # What it compiles of this package's file is not ours.
        "PYTHONDONTWRITEBYTECODE": "1",
        "ZEXIO_INSPECT_SERVER_NAME": work.server_name,
        "ZEXIO_INSPECT_FOLDER": str(folder),
    }


def _trust(work: Job, folder: Path) -> dict[str, object]:
    """Whom mitmproxy trusts: the same as the node, not the roots that it brings along."""
    if not work.verify:
        return {"ssl_insecure": "true"}
    if work.ca:
        path = folder / "target-ca.pem"
        path.write_text(work.ca)
        return {"ssl_verify_upstream_trusted_ca": path}
    roots = ssl.get_default_verify_paths()
    if roots.cafile:
        return {"ssl_verify_upstream_trusted_ca": roots.cafile}
    return {"ssl_verify_upstream_trusted_confdir": roots.capath} if roots.capath else {}


def _unfit(url: str, certificate: str) -> str:
    scheme = url.partition(":")[0]
    if scheme == "https" and certificate:
        return "it may ask for a certificate, which only the node has"
    return _UNFIT.get(scheme, "")


def _pages(said: str, address: str) -> str | None:
    """Where the pages are, as mitmweb says it."""
    found = re.search(rf"listening at ({re.escape(address)}\S*)", said)
    return found[1] if found else None


def _free_ports(number: int, web_port: int) -> list[int]:
    """So many ports that are free at the moment, and the one for the pages last; raises CommandError."""
    sockets = [socket.socket() for _ in range(number + 1)]
    try:
        for each, port in zip(sockets, [*[0] * number, web_port], strict=True):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind((LOOPBACK, port))
        return [each.getsockname()[1] for each in sockets]
    except OSError as error:
        raise CommandError(f"--port {web_port} cannot be used: {error.strerror}") from None
    finally:
        for each in sockets:
            each.close()
