"""What mitmweb runs beside its own work when `zexio inspect` starts it: it ends with the command, and hides no stream.

This file is loaded by mitmproxy's own Python, which knows nothing of zexio and may be an older or a newer one.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
import time
from collections import deque
from typing import Any, Final, Protocol

# The command writes a line when no worker sends anything any more; when it was killed, the node needs a moment to see.
OFF: Final = b"off\n"
NOTICED_S: Final = 2.0
FINISHED_S: Final = 5.0
_QUIET_S: Final = 0.3
_LOOK_S: Final = 0.05

# mitmweb keeps every flow for ever, and people forget that it runs.
MOST_FLOWS: Final = 5000
MOST_KEPT: Final = 1024 * 1024


class Message(Protocol):
    """A request or a response, as far as this file goes."""

    headers: Any
    data: Any
    stream: Any


class Flow(Protocol):
    """One exchange, as mitmproxy has it."""

    id: str
    request: Message
    response: Message
    websocket: object | None


class Kept:
    """Passes a body on as it comes, and keeps its beginning for whoever looks at it."""

    def __init__(self) -> None:
        self._beginning = bytearray()

    def __call__(self, data: bytes) -> bytes:
        """The same piece."""
        self._beginning += data[: MOST_KEPT - len(self._beginning)]
        return data

    def show(self, message: Message) -> None:
        """Let people see what was kept; nothing of it is sent again."""
        message.data.content = bytes(self._beginning)


class Companion:
    """The addon: hooks are called by their names."""

    def __init__(self, server_name: str, folder: str) -> None:
        """Call targets by `server_name` in TLS, if it is not empty; `folder` is what mitmweb has for itself."""
        self._folder = folder
        self._server_name = server_name
        self._master: Any = None
        self._live: set[str] = set()
        self._flows: deque[Flow] = deque()
        self._last = 0.0

    def load(self, loader: Any) -> None:  # noqa: ANN401  mitmproxy is not installed where this is checked
        """Called first."""
        self._master = loader.master

    def running(self) -> None:
        """Called when mitmweb serves."""
        # It says where its pages are, and then something of every connection, in a file that nobody empties.
        self._master.options.termlog_verbosity = "error"
        loop = asyncio.get_running_loop()
        # A daemon: it waits for its owner, and nobody for it.
        threading.Thread(target=self._wait_for_owner, args=(loop,), daemon=True).start()

    def requestheaders(self, flow: Flow) -> None:
        """A request begins."""
        self._live.add(flow.id)
        self._flows.append(flow)
        if len(self._flows) > MOST_FLOWS and self._flows[0].id not in self._live:
            self._master.view.remove([self._flows.popleft()])
        if "transfer-encoding" in flow.request.headers:
            flow.request.stream = Kept()

    def request(self, flow: Flow) -> None:
        """A request has been read."""
        if isinstance(flow.request.stream, Kept):
            flow.request.stream.show(flow.request)

    def responseheaders(self, flow: Flow) -> None:
        """An answer begins; one without an end in sight must not wait for its end."""
        if "content-length" not in flow.response.headers:
            flow.response.stream = Kept()

    def response(self, flow: Flow) -> None:
        """An answer has been read; one that opened a WebSocket goes on."""
        if isinstance(flow.response.stream, Kept):
            flow.response.stream.show(flow.response)
        if flow.websocket is None:
            self._end(flow)

    def websocket_end(self, flow: Flow) -> None:
        """A WebSocket was closed."""
        self._end(flow)

    def error(self, flow: Flow) -> None:
        """An exchange broke off."""
        self._end(flow)

    def server_connect(self, data: Any) -> None:  # noqa: ANN401
        """A connection to a target is about to be made."""
        if self._server_name:
            data.server.sni = self._server_name

    def _end(self, flow: Flow) -> None:
        self._live.discard(flow.id)
        self._last = time.monotonic()

    def _wait_for_owner(self, loop: asyncio.AbstractEventLoop) -> None:
        said = b""
        # Not through sys.stdin: a thread that holds its lock keeps the interpreter from ending.
        while piece := os.read(0, 64):
            said += piece
            if said.endswith(OFF):
                break
        asyncio.run_coroutine_threadsafe(self._finish(0.0 if said.endswith(OFF) else NOTICED_S), loop)

    async def _finish(self, notice_s: float) -> None:
        """End mitmweb as soon as nothing is under way, soon in any case."""
        began = time.monotonic()
        await asyncio.sleep(notice_s)
        # An answer counts as read before all of it is sent.
        if notice_s:
            # Nobody else is left to do it.
            shutil.rmtree(self._folder, ignore_errors=True)
        while self._live or time.monotonic() < self._last + _QUIET_S:
            if time.monotonic() > began + notice_s + FINISHED_S:
                break
            await asyncio.sleep(_LOOK_S)
        self._master.shutdown()


addons = (Companion(os.environ.get("ZEXIO_INSPECT_SERVER_NAME", ""), os.environ.get("ZEXIO_INSPECT_FOLDER", "")),)
