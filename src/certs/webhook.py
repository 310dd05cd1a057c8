"""Events by POST to the operator's URL, signed, with few tries and no surprises."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec
import structlog

from certs.alarms import Event

_LIMIT_S: Final = 10.0
_PAUSES_S: Final[Sequence[float]] = (1.0, 5.0, 30.0, 120.0)
# Standard Webhooks 1.0: a secret with this prefix is base64, any other is taken as it is.
_BASE64_PREFIX: Final = "whsec_"

_log: Final = structlog.get_logger("certs.webhook")


class Webhook:
    """Sends events as JSON, signed as Standard Webhooks 1.0 says (`webhook-id`, `-timestamp`, `-signature`).

    The receiver verifies with the secret that it was not made up, by the time that it is not old, and by the id that it
    did not come before: an event is sent again when no answer came. Redirects are not followed: they would take what is
    signed to another place than the operator's. Neither the URL, which may hold a token, nor the secret is logged.
    """

    def __init__(
        self,
        url: str,
        secret: str | None = None,
        *,
        pauses_s: Sequence[float] = _PAUSES_S,
        limit_s: float = _LIMIT_S,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Nothing is sent yet.

        Args:
            url: Where to, `https://` or `http://`.
            secret: What is signed with; None: nothing is signed.
            pauses_s: The pauses between the tries; there is one try more than pauses.
            limit_s: How long one try may take.
            clock: The present time.
        """
        self._url = url
        self._host = urlsplit(url).hostname or ""
        self._key = None if secret is None else _key_of(secret)
        self._pauses_s = pauses_s
        self._limit = aiohttp.ClientTimeout(total=limit_s)
        self._clock = clock

    def __repr__(self) -> str:
        """Nothing that a log must not hold."""
        return f"Webhook({self._host!r})"

    async def send(self, event: Event) -> bool:
        """Tell an event; returns whether it was taken. Never raises but when it is cancelled: what fails is logged."""
        body = msgspec.json.encode(event)
        what = f"{event.name}\n{event.key}\n{event.at.isoformat()}"
        name = f"msg_{hashlib.sha256(what.encode()).hexdigest()[:32]}"
        outcome = ""
        async with aiohttp.ClientSession(timeout=self._limit, cookie_jar=aiohttp.DummyCookieJar()) as session:
            for pause in (*self._pauses_s, None):
                outcome, is_final = await self._try(session, body, name)
                if not outcome:
                    return True
                if is_final or pause is None:
                    break
                await asyncio.sleep(pause)
        _log.warning("an event was not taken by the webhook", host=self._host, kind=event.kind, error=outcome)
        return False

    async def _try(self, session: aiohttp.ClientSession, body: bytes, name: str) -> tuple[str, bool]:
        """What went wrong, which is empty when nothing did, and whether another try is of no use."""
        try:
            async with session.post(
                self._url, data=body, headers=self._headers(body, name), allow_redirects=False
            ) as response:
                status = response.status
        except (aiohttp.InvalidURL, ValueError):
            return "the URL is none", True
        except TimeoutError:
            return "no answer in time", False
        except (aiohttp.ClientError, OSError) as error:
            # Not its text, which may have the URL in it.
            return type(error).__name__, False
        if 200 <= status < 300:
            return "", True
        return f"answered {status}", status < 500 and status not in {408, 425, 429}

    def _headers(self, body: bytes, name: str) -> dict[str, str]:
        at = str(int(self._clock().timestamp()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "zexio",
            "webhook-id": name,
            "webhook-timestamp": at,
        }
        if self._key is not None:
            signed = hmac.digest(self._key, b"%b.%b.%b" % (name.encode(), at.encode(), body), "sha256")
            headers["webhook-signature"] = f"v1,{base64.b64encode(signed).decode()}"
        return headers


def _key_of(secret: str) -> bytes:
    if secret.startswith(_BASE64_PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(_BASE64_PREFIX), validate=True)
        except ValueError:
            key = b""
        # With an empty key anybody could sign.
        return key or secret.encode()
    return secret.encode()
