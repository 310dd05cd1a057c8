"""What a dialect is: its endpoints, how they are described, who is believed there and how its errors look."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final, Literal

import msgspec
from aiohttp import web
from pydantic import BaseModel

from admin_api.auth import Authenticator
from admin_api.errors import ApiError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Access = Literal["public", "protected"]

EVENT_STREAM: Final = "text/event-stream"

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One possible answer, for the document: its model if it is JSON, its media type, a sentence for each header."""

    description: str
    model: type[BaseModel] | None = None
    media: str | None = None
    headers: Mapping[str, str] = _NO_HEADERS


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint takes and gives; the models are the ones that validate. `headers` are request headers.

    `text_body` is the media type of a text that may be sent in place of the JSON that `body` describes.
    """

    id: str
    summary: str
    answers: Mapping[int, Answer]
    description: str = ""
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    text_body: str | None = None
    headers: Mapping[str, str] = _NO_HEADERS

    @property
    def is_stream(self) -> bool:
        """Whether the answer goes on for ever."""
        return any(answer.media == EVENT_STREAM for answer in self.answers.values())


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One method on one path. A protected endpoint answers only callers whom its dialect's authenticators know."""

    method: str
    path: str
    handler: Handler
    access: Access
    operation: Operation


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """One of the languages of the admin API; `prefix` begins its paths, and "" claims what no other one does."""

    name: str
    prefix: str
    endpoints: tuple[Endpoint, ...]
    authenticators: tuple[Authenticator, ...]
    render: Callable[[ApiError], web.Response]
    any_origin: bool = False

    def claims(self, path: str) -> bool:
        """Whether a request for `path` speaks this dialect."""
        return path == self.prefix or path.startswith(self.prefix + "/")
