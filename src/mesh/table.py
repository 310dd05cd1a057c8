"""The table that finds a route by host and path: the most exact host, then the longest prefix of whole segments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from mesh.routes import Delta, Route, RouteKey

_FALLBACK_HOST: Final = "*"

# A target may fold these into another path; the prefix chosen here would not be the one served (CVE-2025-66490).
_AMBIGUOUS_PATH: Final = re.compile(rb"//|\\|(?:^|/)\.{1,2}(?:/|;|$)|%2e|%2f|%5c", re.IGNORECASE)


class AmbiguousPath(ValueError):
    """The path could be read as another one, on a host whose routes depend on the path."""


# The routes of one host by path prefix.
_Entries: TypeAlias = tuple[tuple[bytes, Route], ...]


class RouteTable:
    """Finds the route of a host and a path in constant time.

    The table belongs to one event loop. A delta changes it in place, so that one route among 100,000 costs work for
    one route; the routes in it are frozen, so a request keeps what it found whatever happens to the table.
    """

    __slots__ = ("_exact", "_fallback", "_project_suffixes", "_size", "_wildcard", "_with_client_ca")

    def __init__(self, routes: Iterable[Route] = (), project_suffixes: Iterable[str] = ()) -> None:
        """Index `routes`; raises ValueError when two of them claim the same host and path prefix."""
        self._exact: dict[bytes, _Entries] = {}
        self._wildcard: dict[bytes, _Entries] = {}
        self._fallback: dict[bytes, _Entries] = {}
        self.use_project_suffixes(project_suffixes)
        self._size = 0
        self._with_client_ca = 0
        for route in routes:
            if self._put(route) is not None:
                raise ValueError(f"two routes claim {route.host} with the path prefix {route.path_prefix}")

    def __len__(self) -> int:
        """How many routes are in the table."""
        return self._size

    def __iter__(self) -> Iterator[Route]:
        """Every route, in no particular order."""
        for index in (self._exact, self._wildcard, self._fallback):
            for entries in index.values():
                for _prefix, route in entries:
                    yield route

    def use_project_suffixes(self, suffixes: Iterable[str]) -> None:
        """Under these suffixes `<anything>--<project>.<suffix>` is found as `<project>.<suffix>`."""
        self._project_suffixes = tuple(b"." + suffix.encode().strip(b".") for suffix in suffixes)

    def apply(self, delta: Delta) -> list[Route]:
        """Remove and put the routes that `delta` names; gives the routes that are in force no more."""
        gone = [self._remove(key) for key in delta.removed]
        gone += [self._put(route) for route in delta.put]
        return [route for route in gone if route is not None]

    def match(self, host: bytes, target: bytes) -> Route | None:
        """The route for a folded host (lower case, no port, no trailing dot) and a target in origin-form, or None.

        Raises AmbiguousPath when the host's routes depend on the path and the path has more than one reading.
        """
        entries = self._exact.get(host) or self._match_less_exact(host)
        if entries is None:
            return None
        prefix, route = entries[0]
        if prefix == b"/":
            return route
        path = target.partition(b"?")[0]
        if _AMBIGUOUS_PATH.search(path):
            raise AmbiguousPath
        for prefix, route in entries:
            if path.startswith(prefix) and (
                len(path) == len(prefix) or prefix[-1] == 0x2F or path[len(prefix)] == 0x2F
            ):
                return route
        return None

    def is_undivided(self, host: bytes) -> bool:
        """Whether a host has one route for all paths, so that `match` never looks at the path."""
        entries = self._exact.get(host) or self._match_less_exact(host)
        return entries is not None and entries[0][0] == b"/"

    def client_ca(self, host: bytes) -> tuple[str, bool]:
        """What the certificates of a host's visitors are verified against, and whether all its routes need one.

        Asked before any request; nothing when no route needs one.
        """
        if not self._with_client_ca:
            return "", False
        entries = self._exact.get(host) or self._match_less_exact(host) or ()
        wanted = [route.client_ca for _prefix, route in entries]
        return next(filter(None, wanted), ""), all(wanted)

    def _match_less_exact(self, host: bytes) -> _Entries | None:
        for suffix in self._project_suffixes:
            # contracts/plane.md decision 15: the text after the last `--` names the project.
            if host.endswith(suffix) and b"--" in host:
                found = self._exact.get(host[host.rindex(b"--") + 2 :])
                if found:
                    return found
        dot = host.find(b".")
        while dot >= 0:
            found = self._wildcard.get(host[dot:])
            if found:
                return found
            dot = host.find(b".", dot + 1)
        return self._fallback.get(b"")

    def _index(self, host: str) -> tuple[dict[bytes, _Entries], bytes]:
        if host == _FALLBACK_HOST:
            return self._fallback, b""
        if host.startswith("*."):
            return self._wildcard, host[1:].encode()
        return self._exact, host.encode()

    def _put(self, route: Route) -> Route | None:
        index, key = self._index(route.host)
        prefix = route.path_prefix.encode()
        replaced, others = _without(index.get(key, ()), prefix)
        # Longest prefix first, so that the first match is the most exact one.
        index[key] = tuple(sorted([*others, (prefix, route)], key=lambda entry: -len(entry[0])))
        self._size += replaced is None
        self._with_client_ca += bool(route.client_ca) - (replaced is not None and bool(replaced.client_ca))
        return replaced

    def _remove(self, key: RouteKey) -> Route | None:
        index, host = self._index(key.host)
        removed, others = _without(index.get(host, ()), key.path_prefix.encode())
        if others:
            index[host] = others
        else:
            index.pop(host, None)
        self._size -= removed is not None
        self._with_client_ca -= removed is not None and bool(removed.client_ca)
        return removed


def _without(entries: _Entries, prefix: bytes) -> tuple[Route | None, _Entries]:
    found = next((route for other, route in entries if other == prefix), None)
    return found, tuple(entry for entry in entries if entry[0] != prefix)
