"""The keys that the data plane believes: those that are configured, and those that a JWKS URL adds to them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import msgspec
import structlog

from mesh.access import Verifier
from mesh.routes import AccessKeys, VerifyKey
from node.compile import Edge
from node.data import kept_mesh_secret, mesh_secret
from node.jwks import JwksSource
from node.keys import KeySetError, load_pem
from node.settings import CannotStart, JwtSection, Settings
from state.cell import Cell


class MeshKeys:
    """Puts the keys into the edge, and keeps those of the JWKS URL current."""

    def __init__(self, settings: Settings, edge: Cell[Edge]) -> None:
        """Start with what is configured; raises CannotStart when a key is unfit."""
        self._edge = edge
        self._replaced = asyncio.Event()
        self._use(configured_keys(settings.jwt, mesh_secret(settings)), settings.jwt.jwks_url)

    async def first_fetch(self) -> None:
        """Ask the JWKS URL once; without an answer the node starts nevertheless, and asks again."""
        if self._source is not None:
            await self._source.refresh()

    async def run(self) -> None:
        """Keep the keys of the JWKS URL current, for ever."""
        while True:
            self._replaced.clear()
            async with asyncio.TaskGroup() as group:
                refresh = group.create_task(self._source.run(), name="jwks") if self._source else None
                await self._replaced.wait()
                if refresh is not None:
                    refresh.cancel()

    def reload(self, settings: Settings) -> bool:
        """Use other settings, and say whether that changed any key.

        Raises CannotStart when a key is unfit and ValueError when the URL is; then the keys are those of before.
        """
        base, url = configured_keys(settings.jwt, kept_mesh_secret(settings)), settings.jwt.jwks_url
        if (base, url) == (self._base, self._url):
            return False
        # Until the next fetch, tokens that the URL's keys verify must not be refused because of another key's change.
        self._use(base, url, self._fetched() if url == self._url else ())
        self._replaced.set()
        return True

    def unknown_kid(self, kid: str) -> None:
        """A visitor's token names a key that no worker knows."""
        if self._source is not None:
            self._source.unknown_kid(kid)

    def _fetched(self) -> tuple[VerifyKey, ...]:
        return tuple(key for key in self._edge.value.keys.keys if key not in self._base.keys)

    def _use(self, base: AccessKeys, url: str | None, fetched: tuple[VerifyKey, ...] = ()) -> None:
        first = msgspec.structs.replace(base, generation=self._edge.value.keys.generation + 1)
        source = JwksSource(url, first, self._adopt, report=_report) if url else None
        self._base, self._url, self._source = base, url, source
        self._publish(msgspec.structs.replace(first, keys=(*first.keys, *fetched)))

    def _adopt(self, keys: AccessKeys) -> None:
        # A fetch that was under way while the settings changed speaks of the keys of before.
        if keys.generation > self._edge.value.keys.generation:
            self._publish(keys)

    def _publish(self, keys: AccessKeys) -> None:
        edge = self._edge.value
        self._edge.set(msgspec.structs.replace(edge, revision=edge.revision + 1, keys=keys))


def configured_keys(jwt: JwtSection, secret: str | None) -> AccessKeys:
    """The rules for tokens, the shared secret and the keys in PEM files; raises CannotStart when one is unfit."""
    shared = [VerifyKey(algorithm="HS256", material=secret.encode())] if secret else []
    public = _public_keys(jwt.pem_files)
    try:
        keys = AccessKeys(
            issuer=jwt.issuer,
            audience=jwt.audience,
            leeway_s=jwt.leeway_s,
            max_token_bytes=jwt.max_token_bytes,
            keys=(*shared, *public),
        )
        Verifier(keys)
    except ValueError as error:
        raise CannotStart(f"jwt: {error}") from None
    return keys


def _public_keys(paths: Iterable[Path]) -> tuple[VerifyKey, ...]:
    try:
        return tuple(load_pem(path) for path in paths)
    except OSError as error:
        raise CannotStart(f"jwt.pem_files: {error.filename} cannot be read: {error.strerror}") from None
    except KeySetError as error:
        raise CannotStart(f"jwt.pem_files: {error}") from None


def _report(sentence: str) -> None:
    structlog.get_logger().warning("mesh keys", detail=sentence)
