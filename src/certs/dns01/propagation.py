"""The wait until a TXT record that was just made is seen by everyone whom an authority could ask."""

from __future__ import annotations

import asyncio
from typing import Final

from certs.errors import IssueError
from certs.resolve import Answer, Resolver, Server

_LONGEST_PAUSE_S: Final = 5.0


async def wait_until_seen(place: str, value: str, resolver: Resolver, *, limit_s: float, pause_s: float = 0.25) -> None:
    """Return once all servers of the zone that answer have the value; pauses grow from `pause_s`.

    Where the zone's own servers cannot be asked, the resolvers are. Raises IssueError after `limit_s` when a server
    that does answer still lacks the value. When none answered either way the wait was all that could be done.
    """
    behind: list[str] = []
    try:
        async with asyncio.timeout(limit_s):
            servers = await _authorities(place, resolver)
            while True:
                answers = await _ask(place, resolver, servers)
                behind = [_described(server, answer) for server, answer in answers if value not in answer.values]
                if answers and not behind:
                    return
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    except TimeoutError:
        if behind:
            text = f"TXT {place} was made but is not seen everywhere after {limit_s:g} s: {'; '.join(behind[:3])}"
            raise IssueError("solver", text, identifier=place) from None


async def _authorities(place: str, resolver: Resolver) -> tuple[Server, ...]:
    authorities = await resolver.authorities_of(place)
    return () if authorities is None else authorities.servers


async def _ask(place: str, resolver: Resolver, servers: tuple[Server, ...]) -> list[tuple[Server, Answer]]:
    """The definite answers: of the zone's own servers, else of the resolvers."""
    found = await _ask_each(place, resolver, servers, is_recursive=False)
    # What resolvers are asked they remember, and if it is too early then that there is nothing.
    return found or await _ask_each(place, resolver, await resolver.servers(), is_recursive=True)


async def _ask_each(
    place: str, resolver: Resolver, servers: tuple[Server, ...], *, is_recursive: bool
) -> list[tuple[Server, Answer]]:
    async with asyncio.TaskGroup() as group:
        asked = [
            (server, group.create_task(resolver.ask(server, place, "TXT", is_recursive=is_recursive), name=f"{server}"))
            for server in servers
        ]
    return [(server, task.result()) for server, task in asked if task.result().is_definite]


def _described(server: Server, answer: Answer) -> str:
    return f"{server} has {'another value' if answer.values else 'no such record'}"
