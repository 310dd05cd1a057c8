"""Keeps the keys of a JWKS URL current: fetched when stale, sooner for an unknown kid, and kept through outages."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

import aiohttp
import msgspec

from mesh.access import Verifier
from mesh.routes import AccessKeys, VerifyKey
from node.keys import KeySet, parse_jwks
from node.values import check_keys_url

TIMEOUT_S: Final = 2.0
MAX_DOCUMENT_BYTES: Final = 1024 * 1024
DEFAULT_AGE_S: Final = 600.0
MIN_AGE_S: Final = 60.0
MAX_AGE_S: Final = 86_400.0
UNKNOWN_KID_INTERVAL_S: Final = 10.0
MAX_BACKOFF_S: Final = 60.0
SOUGHT_KID_TTL_S: Final = 60.0
MAX_SOUGHT_KIDS: Final = 256

_MAX_AGE = re.compile(r'(?:^|[\s,])max-age="?(\d{1,10})"?(?=$|[\s,])', re.IGNORECASE)


class FetchError(Exception):
    """The document could not be fetched; the text says why."""


class Document(msgspec.Struct, frozen=True):
    """What a JWKS URL answered, and for how long that may be used, in seconds; None when the answer does not say."""

    body: bytes
    max_age_s: float | None = None


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """When to fetch next, in seconds of a monotonic clock. A schedule starts with a fetch that is due."""

    due_at: float
    tried_at: float | None = None
    failures: int = 0

    def succeeded(self, now: float, max_age_s: float | None) -> Schedule:
        """After an answer that may be used for `max_age_s`: between a minute and a day, ten minutes by default."""
        age_s = DEFAULT_AGE_S if max_age_s is None else min(max(max_age_s, MIN_AGE_S), MAX_AGE_S)
        return Schedule(due_at=now + age_s, tried_at=now)

    def failed(self, now: float) -> Schedule:
        """After a failure: 1 s, then twice as long each time, a minute at most."""
        wait_s = min(2.0 ** min(self.failures, 10), MAX_BACKOFF_S)
        return Schedule(due_at=now + wait_s, tried_at=now, failures=self.failures + 1)

    def wanted(self, now: float) -> Schedule:
        """After a token named an unknown kid: at once, but at least 10 s after the last try."""
        earliest = now if self.tried_at is None else max(now, self.tried_at + UNKNOWN_KID_INTERVAL_S)
        return msgspec.structs.replace(self, due_at=min(self.due_at, earliest))


class JwksSource:
    """Owns the keys of one JWKS URL, beside keys that are configured otherwise, and publishes every new set."""

    def __init__(
        self,
        url: str,
        base: AccessKeys,
        publish: Callable[[AccessKeys], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        report: Callable[[str], None] = lambda _sentence: None,
    ) -> None:
        """`base` holds the rules and the other keys; every new set is published together with them, a generation on.

        `publish` is called on the loop of `run`. `report` gets a sentence for the log when a fetch fails, when a key
        is skipped, and when a fetch succeeds again. Raises ValueError for a URL that is neither https nor loopback.
        """
        check_keys_url(url)
        self._url = url
        self._keys = base
        self._base = base
        self._publish = publish
        self._clock = clock
        self._report = report
        self._schedule = Schedule(due_at=clock())
        self._kids: frozenset[str] = frozenset()
        self._sought_kids: OrderedDict[str, float] = OrderedDict()
        self._skipped: tuple[str, ...] = ()
        self._woken = asyncio.Event()

    @property
    def keys(self) -> AccessKeys:
        """What was published last; before that, the base."""
        return self._keys

    @property
    def schedule(self) -> Schedule:
        """When the next fetch is due."""
        return self._schedule

    async def run(self) -> None:
        """Fetch whenever it is due, until cancelled."""
        while True:
            await self._until_due()
            await self.refresh()

    async def refresh(self) -> bool:
        """Fetch now, and say whether that succeeded; on failure the last good keys stay. `run` is its one caller."""
        try:
            document = await fetch_document(self._url)
            found = parse_jwks(document.body)
            self._adopt(found.keys)
        except (FetchError, ValueError) as error:
            self._schedule = self._schedule.failed(self._clock())
            self._report(f"the keys at {self._url} cannot be used, the last good ones stay: {error}")
            return False
        self._tell(found)
        self._schedule = self._schedule.succeeded(self._clock(), document.max_age_s)
        return True

    def unknown_kid(self, kid: str) -> None:
        """A worker saw a token that names `kid`: fetch sooner, unless the kid is known or was sought a moment ago."""
        now = self._clock()
        if kid in self._kids or now < self._sought_kids.get(kid, -math.inf) + SOUGHT_KID_TTL_S:
            return
        self._sought_kids[kid] = now
        self._sought_kids.move_to_end(kid)
        if len(self._sought_kids) > MAX_SOUGHT_KIDS:
            self._sought_kids.popitem(last=False)
        self._schedule = self._schedule.wanted(now)
        self._woken.set()

    async def _until_due(self) -> None:
        while (wait_s := self._schedule.due_at - self._clock()) > 0:
            self._woken.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()
            except TimeoutError:
                return

    def _adopt(self, keys: tuple[VerifyKey, ...]) -> None:
        candidate = msgspec.structs.replace(
            self._base, generation=self._keys.generation + 1, keys=(*self._base.keys, *keys)
        )
        # Keys that no worker can use, such as a kid that a configured key has too, must never reach one.
        Verifier(candidate)
        self._kids = frozenset(key.kid for key in candidate.keys if key.kid is not None)
        if candidate.keys != self._keys.keys:
            self._keys = candidate
            self._publish(candidate)

    def _tell(self, found: KeySet) -> None:
        if self._schedule.failures:
            self._report(f"the keys at {self._url} are current again")
        if found.skipped != self._skipped:
            self._skipped = found.skipped
            for sentence in found.skipped:
                self._report(f"{self._url}, {sentence}")


async def fetch_document(url: str, timeout_s: float = TIMEOUT_S) -> Document:
    """GET a JWK Set: no redirects, no cookies, no proxy, no compression, 1 MiB at most; raises FetchError."""
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    headers = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}
    try:
        async with (
            aiohttp.ClientSession(
                timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=False
            ) as session,
            session.get(url, headers=headers, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise FetchError(f"the answer has status {response.status}")
            return Document(await _read(response), freshness_s(response.headers))
    except TimeoutError:
        raise FetchError(f"no answer within {timeout_s:g} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise FetchError(str(error) or type(error).__name__) from error


def freshness_s(headers: Mapping[str, str]) -> float | None:
    """For how long an answer may be used (RFC 9111 section 4.2: max-age less Age), in seconds, or None."""
    control = headers.get("Cache-Control", "")
    if "no-store" in control.lower() or "no-cache" in control.lower():
        return 0.0
    found = _MAX_AGE.search(control)
    if found is None:
        return None
    age = headers.get("Age", "0")
    return max(0.0, float(found[1]) - (float(age) if age.isascii() and age.isdigit() else 0.0))


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(64 * 1024):
        body += chunk
        if len(body) > MAX_DOCUMENT_BYTES:
            raise FetchError(f"the answer has more than {MAX_DOCUMENT_BYTES} bytes")
    return bytes(body)
