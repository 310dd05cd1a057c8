"""`zexio inspect`: mitmproxy's web pages between the mesh and the targets of one route, for as long as it runs."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from node.cli.client import AdminClient, connect
from node.cli.errors import CommandError
from node.cli.mitmweb import Job, Mitmweb, find, job, running
from node.cli.routes import path

if TYPE_CHECKING:
    from argparse import Namespace

    News: TypeAlias = dict[str, Any]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def inspect(options: Namespace) -> int:
    """Inspect a route until Ctrl-C; the exit code is 1 when mitmweb or the inspection ended by itself."""
    client = connect(options)
    program = find(options.mitmweb)
    with client.reading():
        work = job(client.call("GET", path(options)).json())
    return asyncio.run(_inspect(Watch(client, path(options, "/inspection")), program, work, options))


class Watch:
    """The request that the inspection lives by, read in a thread; it ends with this process, however that ends."""

    def __init__(self, client: AdminClient, place: str) -> None:
        """Nothing is asked yet; `place` is the path of the inspection."""
        self._client = client
        self._place = place
        self._news: asyncio.Queue[News | CommandError] = asyncio.Queue()
        self._is_on = False

    def begin(self, inspectors: Mapping[str, str]) -> None:
        """Ask for the inspection."""
        loop = asyncio.get_running_loop()

        def put(news: News | CommandError) -> None:
            # The loop may be over before the stream is.
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._news.put_nowait, news)

        self._is_on = True
        threading.Thread(target=self._read, args=(inspectors, put), daemon=True).start()

    async def next(self) -> News:
        """What the node says next; raises CommandError when it says that it is over, or nothing more."""
        news = await self._news.get()
        if isinstance(news, CommandError):
            self._is_on = False
            raise news
        if news["state"] == "off":
            self._is_on = False
            raise CommandError(f"the inspection has ended: {news['reason']}")
        return news

    async def end(self) -> None:
        """Return when no worker sends anything to the inspectors any more."""
        if not self._is_on:
            return
        self._is_on = False
        try:
            await asyncio.to_thread(self._client.call, "DELETE", self._place)
        except CommandError as error:
            print(f"zexio: {error}", file=sys.stderr)

    def _read(self, inspectors: Mapping[str, str], put: Any) -> None:  # noqa: ANN401
        try:
            for data in self._client.events(self._place, "POST", {"targets": dict(inspectors)}):
                put(json.loads(data))
        except CommandError as error:
            put(error)
        except ValueError:
            put(CommandError("the admin API does not answer like a zexio node (see --admin)"))
        else:
            put(CommandError("the node has ended the inspection"))


async def _inspect(watch: Watch, program: str, work: Job, options: Namespace) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        stop.set()
        # The second signal ends this process at once: the node sees that, and mitmweb too.
        for number in _SIGNALS:
            loop.remove_signal_handler(number)

    for number in _SIGNALS:
        loop.add_signal_handler(number, end)
    async with running(program, work, options.port) as mitmweb:
        try:
            is_asked = await _until(stop, mitmweb, _serve(watch, mitmweb, work, options))
        finally:
            await watch.end()
        if is_asked:
            print("the route is as before; mitmweb ends what is under way", file=sys.stderr)
    return 0


async def _serve(watch: Watch, mitmweb: Mitmweb, work: Job, options: Namespace) -> None:
    """Inspect for ever."""
    await mitmweb.ready()
    watch.begin(mitmweb.inspectors)
    _say(await watch.next(), mitmweb, work, options)
    while True:
        _say_uninspected((await watch.next())["uninspected"], {})


async def _until(stop: asyncio.Event, mitmweb: Mitmweb, work: Any) -> bool:  # noqa: ANN401
    """True when a signal came first; raises CommandError when mitmweb or the inspection ended by itself."""
    loop = asyncio.get_running_loop()
    tasks = (
        loop.create_task(stop.wait(), name="signal"),
        loop.create_task(mitmweb.ended(), name="mitmweb"),
        loop.create_task(work, name="inspection"),
    )
    asked, ended, inspected = tasks
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if asked.done():
            return True
        if inspected.done():
            await inspected
        raise CommandError(await ended)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _say(news: News, mitmweb: Mitmweb, work: Job, options: Namespace) -> None:
    name = options.host + options.path_prefix.rstrip("/")
    if options.json:
        print(json.dumps({"route": name, "pages": mitmweb.pages, "targets": dict(mitmweb.inspectors)}), flush=True)
    else:
        print(f"{name} is inspected at {mitmweb.pages} until Ctrl-C", flush=True)
    if mitmweb.is_open:
        print("anybody on this machine can read it: mitmproxy before 11.1.2 asks for no token", file=sys.stderr)
    _say_uninspected(news["uninspected"], work.unfit)


def _say_uninspected(urls: list[str], reasons: Mapping[str, str]) -> None:
    for url in urls:
        print(f"not inspected: {url} ({reasons.get(url, 'new since the start')})", file=sys.stderr, flush=True)
