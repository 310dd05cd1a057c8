"""What a route makes of answers on their way to the visitor: edits, CORS, HSTS, sticky cookies, compression, pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mesh.answers import prefers_data
from mesh.compression import Chooser, edited, encoder, varied
from mesh.cors import CorsRules
from mesh.edits import Edits, edits_of
from mesh.errors import ERROR_REPLACED, Failure
from mesh.wire import CHUNKED

if TYPE_CHECKING:
    from mesh.compression import Encoder
    from mesh.core import Core
    from mesh.exchange import Exchange
    from mesh.forward import ResponseFields
    from mesh.live import Live
    from mesh.pages import Pages
    from mesh.policies import Hsts
    from mesh.routes import Route
    from mesh.sides import TargetSide
    from mesh.targets import TargetState


_MAX_ENCODERS: Final = 256


class Dress:
    """One answer as it goes to the visitor; when it is to be told of `failure` in its place, nothing of it goes out."""

    __slots__ = ("_core", "_encoder", "failure", "fields")

    def __init__(self, fields: ResponseFields, failure: Failure | None = None) -> None:
        """The head as it goes out, in front of a body that stays as it is."""
        self.fields = fields
        self.failure = failure
        self._core: Core | None = None
        self._encoder: Encoder | None = None

    @classmethod
    def compressing(cls, core: Core, fields: ResponseFields, encoder: Encoder) -> Dress:
        """An answer whose body goes through `encoder`; one of the encoders of `core` is taken until `close`."""
        dress = cls(fields)
        dress._core, dress._encoder = core, encoder
        core.encoders += 1
        return dress

    def body(self, data: bytes) -> bytes:
        """What goes out for a piece of the body."""
        if self.failure is not None:
            return b""
        if self._encoder is None or self._core is None or not data:
            return data
        counters = self._core.counters
        out = self._encoder.compress(data)
        counters.compressed_in += len(data)
        counters.compressed_out += len(out)
        return out

    def end(self) -> bytes:
        """What goes out behind the last piece."""
        return b"" if self._encoder is None else self._encoder.finish()

    def close(self) -> None:
        """The answer is over, or has broken off."""
        if self._core is not None:
            self._core.encoders -= 1
            self._core = self._encoder = None


class Dressing:
    """What a route asks for. What depends on nothing but the answer's head is remembered with the head."""

    __slots__ = ("_chooser", "_cors", "_edits", "_hsts", "_is_constant", "_is_sticky", "_pages")

    def __init__(self, route: Route, pages: Pages) -> None:
        """`pages` are those of the route."""
        self._edits: Edits | None = edits_of(route.response_headers)
        self._cors = CorsRules(route.cors) if route.cors is not None else None
        self._hsts = _hsts_line(route.hsts) if route.hsts is not None else b""
        self._chooser = Chooser(route.compression) if route.compression is not None else None
        self._is_sticky = route.sticky is not None
        self._pages = pages
        self._is_constant = not (self._cors or self._hsts or self._chooser or self._is_sticky)

    def of(
        self, exchange: Exchange, live: Live, target: TargetState[TargetSide], status: int, fields: ResponseFields
    ) -> Dress:
        """The answer of `target` as this route's visitors get it."""
        if self._pages.intercepts(status) and not prefers_data(exchange.fields.value(b"accept")):
            failure = Failure(ERROR_REPLACED)
            failure.status = status
            return Dress(fields, failure)
        if self._is_constant and fields.dressed_for is self and fields.dressed is not None:
            return Dress(fields.dressed)
        lines = fields.passing if self._edits is None else self._edits.apply(fields.passing)
        if self._is_constant:
            dressed = fields.dressed = fields.with_lines(lines, fields.framing)
            fields.dressed_for = self
            return Dress(dressed)
        lines = self._own_lines(exchange, lines)
        if self._is_sticky:
            lines += live.sticky_line(target, exchange)
        if self._chooser is None:
            return Dress(fields.with_lines(lines, fields.framing))
        return self._compressed(exchange, self._chooser, status, fields.with_lines(lines, fields.framing))

    @staticmethod
    def _compressed(exchange: Exchange, chooser: Chooser, status: int, fields: ResponseFields) -> Dress:
        core, lines, length = exchange.core, fields.passing, fields.framing.length
        accepted = exchange.fields.value(b"accept-encoding")
        encoding = chooser.choose(accepted, lines, length, status, exchange.line.method)
        # An encoder takes up to a megabyte and a half for as long as its answer lasts.
        if encoding is not None and core.encoders < _MAX_ENCODERS:
            made = encoder(encoding, is_live=length is None)
            return Dress.compressing(core, fields.with_lines(edited(lines, encoding), CHUNKED), made)
        if chooser.is_worth(lines, length, status):
            fields = fields.with_lines(varied(lines), fields.framing)
        return Dress(fields)

    def of_own(self, exchange: Exchange, fields: ResponseFields) -> ResponseFields:
        """An answer that the proxy made: browsers must be able to read it across origins, and to trust the host."""
        return fields.with_lines(self._own_lines(exchange, fields.passing), fields.framing)

    def _own_lines(self, exchange: Exchange, lines: bytes) -> bytes:
        if self._cors is not None:
            lines = self._cors.edit(lines, exchange.fields.value(b"origin"))
        return lines + self._hsts if self._hsts and exchange.is_secure else lines


def dressing_of(route: Route, pages: Pages) -> Dressing | None:
    """What `route` makes of answers, or None when it leaves them as they are."""
    wishes = (route.cors, route.hsts, route.compression, route.sticky)
    is_plain = all(wish is None for wish in wishes) and edits_of(route.response_headers) is None
    if is_plain and not (route.error_pages is not None and route.error_pages.intercept):
        return None
    return Dressing(route, pages)


def _hsts_line(hsts: Hsts) -> bytes:
    # RFC 6797 section 6.1.
    subdomains = "; includeSubDomains" if hsts.include_subdomains else ""
    preload = "; preload" if hsts.preload else ""
    return f"Strict-Transport-Security: max-age={hsts.max_age_s}{subdomains}{preload}\r\n".encode("ascii")
