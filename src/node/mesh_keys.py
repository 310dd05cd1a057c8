"""The keys that the data plane believes: those that are configured, and those that a JWKS URL adds to them."""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from mesh.access import Verifier
from mesh.routes import AccessKeys, VerifyKey
from node.compile import Edge
from node.data import mesh_secret
from node.jwks import JwksSource
from node.keys import load_pem
from node.settings import CannotStart, Settings
from state.cell import Cell


class MeshKeys:
    """Puts the keys into the edge, and keeps those of the JWKS URL current."""

    def __init__(self, settings: Settings, edge: Cell[Edge]) -> None:
        """Start with what is configured; raises CannotStart when a key is unfit."""
        self._edge = edge
        self._settings = settings
        self._base = configured_keys(settings)
        self._replaced = asyncio.Event()
        self._source: JwksSource | None = None
        self._use(self._base)

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
        """Use other settings, and say whether that changed any key; raises CannotStart when a key is unfit."""
        base = configured_keys(settings)
        is_same_url = settings.jwt.jwks_url == self._settings.jwt.jwks_url
        if base == self._base and is_same_url:
            return False
        # Until the next fetch, tokens that the URL's keys verify must not be refused because of another key's change.
        fetched = self._fetched() if is_same_url else ()
        self._settings, self._base = settings, base
        self._use(msgspec.structs.replace(base, keys=(*base.keys, *fetched)))
        self._replaced.set()
        return True

    def unknown_kid(self, kid: str) -> None:
        """A visitor's token names a key that no worker knows."""
        if self._source is not None:
            self._source.unknown_kid(kid)

    def _fetched(self) -> tuple[VerifyKey, ...]:
        return tuple(key for key in self._edge.value.keys.keys if key not in self._base.keys)

    def _use(self, keys: AccessKeys) -> None:
        generation = self._edge.value.keys.generation + 1
        self._publish(msgspec.structs.replace(keys, generation=generation))
        url = self._settings.jwt.jwks_url
        base = msgspec.structs.replace(self._base, generation=generation)
        self._source = JwksSource(url, base, self._adopt, report=_report) if url else None

    def _adopt(self, keys: AccessKeys) -> None:
        # A fetch that was under way while the settings changed speaks of the keys of before.
        if keys.generation > self._edge.value.keys.generation:
            self._publish(keys)

    def _publish(self, keys: AccessKeys) -> None:
        edge = self._edge.value
        self._edge.set(msgspec.structs.replace(edge, revision=edge.revision + 1, keys=keys))


def configured_keys(settings: Settings) -> AccessKeys:
    """The rules for tokens, the shared secret and the keys in PEM files; raises CannotStart when one is unfit."""
    secret = mesh_secret(settings)
    shared = [VerifyKey(algorithm="HS256", material=secret.encode())] if secret else []
    try:
        keys = AccessKeys(
            issuer=settings.jwt.issuer,
            audience=settings.jwt.audience,
            leeway_s=settings.jwt.leeway_s,
            max_token_bytes=settings.jwt.max_token_bytes,
            keys=(*shared, *(load_pem(path) for path in settings.jwt.pem_files)),
        )
        Verifier(keys)
    except OSError as error:
        raise CannotStart(f"jwt.pem_files: {error.filename} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise CannotStart(f"jwt: {error}") from None
    return keys


def _report(sentence: str) -> None:
    structlog.get_logger().warning("mesh keys", detail=sentence)
