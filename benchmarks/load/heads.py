"""The request heads that the load generators send, modelled on what a browser sends."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Literal

Variant = Literal["same", "varied", "unique"]

SITE = "www.bench.test"
UPLOAD_SITE = "upload.bench.test"
ECHO_SITE = "echo.bench.test"
GRPC_SITE = "grpc.bench.test"
VARIED = 64
# What a generator replaces by the number of the request, and the path whose answers never repeat either.
NUMBER = "@@@@@@@@"
UNIQUE_PATH = "/unique"

_HEAD = (
    "GET {path} HTTP/1.1\r\n"
    "Host: {host}\r\n"
    "Connection: keep-alive\r\n"
    'sec-ch-ua: "Chromium";v="140", "Google Chrome";v="140"\r\n'
    "sec-ch-ua-mobile: ?0\r\n"
    'sec-ch-ua-platform: "Linux"\r\n'
    "Upgrade-Insecure-Requests: 1\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/140.0.0.0 Safari/537.36\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8\r\n"
    "Sec-Fetch-Site: same-origin\r\n"
    "Sec-Fetch-Mode: navigate\r\n"
    "Sec-Fetch-Dest: document\r\n"
    "Referer: http://{host}{referer}\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "Accept-Language: en-GB,en;q=0.9\r\n"
    "Cookie: session={session}; theme=dark\r\n"
    "{authorization}\r\n"
)


def head(index: int, host: str = SITE, token: str | None = None, *, unique: bool = False) -> str:
    """The head number `index`: each has another path, query, referer and cookie, a unique one places for a number."""
    session = sha256(b"session %d" % index).hexdigest()[:32]
    prefix, last = (UNIQUE_PATH, NUMBER) if unique else ("", session[-len(NUMBER) :])
    return _HEAD.format(
        path=f"{prefix}/shop/items/{1000 + index * 37 % 9000}?page={index % 10}&sort={last}",
        host=host,
        referer=f"/shop/items/{1000 + (index + 1) * 37 % 9000}?from={last}",
        session=session[: -len(NUMBER)] + last,
        authorization=f"Authorization: Bearer {token}\r\n" if token else "",
    )


def heads(variant: Variant, hosts: Sequence[str] = (SITE,), tokens: Sequence[str] = ()) -> list[str]:
    """One head for `same`, 64 different ones otherwise; hosts and tokens are used in turn.

    Those for `unique` have places in the query, the referer and the cookie where the generator writes the number of
    the request, so that none of these lines is sent twice; the origin's answers to them differ as well.
    """
    count = 1 if variant == "same" else VARIED
    return [
        head(
            index,
            hosts[index % len(hosts)],
            tokens[index % len(tokens)] if tokens else None,
            unique=variant == "unique",
        )
        for index in range(count)
    ]


def closing(requests: Sequence[str]) -> list[str]:
    """The same heads from a visitor who asks once per connection."""
    return [each.replace("Connection: keep-alive", "Connection: close") for each in requests]
