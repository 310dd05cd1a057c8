"""What the operating system tells the node: stop, stop at once, reload."""

from __future__ import annotations

import asyncio
import signal


class Signals:
    """SIGTERM and SIGINT ask to stop, a second one cancels whatever is being waited for; SIGHUP asks to reload."""

    def __init__(self) -> None:
        """Signals that nobody has sent yet."""
        self.stop = asyncio.Event()
        self.reload = asyncio.Event()

    def install(self) -> None:
        """Take the signals of this process; a second request to stop cancels the calling task."""
        loop, main = asyncio.get_running_loop(), asyncio.current_task()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ask_to_stop, main)
        loop.add_signal_handler(signal.SIGHUP, self.reload.set)

    def _ask_to_stop(self, main: asyncio.Task[None] | None) -> None:
        if self.stop.is_set() and main is not None:
            main.cancel()
        self.stop.set()
