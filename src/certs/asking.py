"""`ask`: whether the operator's own program allows a certificate for a name that a visitor came with."""

from __future__ import annotations

from typing import Final

import aiohttp
from yarl import URL

_LIMIT_S: Final = 10.0


class NoAnswer(Exception):
    """The program could not be asked, or did not say yes or no; the text is one line."""


async def ask(url: str, name: str, address: str) -> bool:
    """Whether `url` answers `?domain=&sni=&address=` with 2xx; with 4xx it is a no. Raises NoAnswer otherwise.

    Redirects are not followed: an answer of another program than the operator's is none.
    """
    asked = URL(url).update_query({"domain": name, "sni": name, "address": address})
    timeout = aiohttp.ClientTimeout(total=_LIMIT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.get(asked, allow_redirects=False) as response,
        ):
            status = response.status
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # A TimeoutError is an OSError. The text of others could quote the URL, which may hold a secret.
        raise NoAnswer(f"the program that is asked does not answer: {type(error).__name__}") from None
    if 200 <= status < 300:
        return True
    if 400 <= status < 500:
        return False
    raise NoAnswer(f"the program that is asked answered {status}")
