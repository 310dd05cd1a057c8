"""Which fields go through, which are dropped, and which the proxy sets: RFC 9110 section 7.6, RFC 7239, and our own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum, auto
from typing import Final, NamedTuple

from mesh import hops, trace
from mesh.errors import BAD_REQUEST, EXPECTATION_FAILED, Failure
from mesh.hops import Hop
from mesh.wire import Framing, StatusLine, fold_host, members, request_framing, response_framing

VIA: Final = b"zexio"
# By the minor version of HTTP/1, and 2 for HTTP/2, whose heads are read in the form of HTTP/1.
_VERSIONS: Final = (b"1.0", b"1.1", b"2.0")

# RFC 9110 section 7.6.1 and the older fields of the same kind; framing is set anew by whoever writes the message.
_HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
        b"content-length",
    }
)
_PEER_FIELDS: Final = frozenset({b"client-cert", b"client-cert-chain", b"forwarded", b"x-real-ip"})
_PEER_PREFIX: Final = b"x-forwarded-"
_IDENTITY_PREFIX: Final = b"x-zexio-"
SINGLETONS: Final = frozenset(
    {
        b"authorization",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"if-modified-since",
        b"if-unmodified-since",
        b"max-forwards",
        b"proxy-authorization",
        b"range",
    }
)
# RFC 9110 section 6.5.1: nothing that frames, routes, authenticates or controls may arrive behind the body.
_NEVER_IN_TRAILERS: Final = frozenset(
    {
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-range",
        b"content-type",
        b"cookie",
        b"expect",
        b"host",
        b"max-forwards",
        b"set-cookie",
        b"via",
        b"x-request-id",
    }
)
# What Connection usually says; anything else in it names a field that goes no further.
_CONNECTION_OPTIONS: Final = frozenset({b"close", b"keep-alive", b"upgrade", b"te"})
# Fields whose value is read here; they are dropped, and written anew where they are ours to write.
_READ_FROM_REQUESTS: Final = frozenset(
    {
        b"authorization",
        b"connection",
        b"content-length",
        b"expect",
        b"forwarded",
        b"host",
        b"max-forwards",
        b"te",
        b"traceparent",
        b"tracestate",
        b"transfer-encoding",
        b"upgrade",
        b"via",
        b"x-request-id",
    }
)
_READ_FROM_RESPONSES: Final = frozenset(
    {b"connection", b"content-length", b"date", b"transfer-encoding", b"upgrade", b"via"}
)
_PEER_LINES: Final = (
    b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\nX-Real-IP: %b\r\nForwarded: %b\r\n"
)
_PROTOCOLS: Final = frozenset({b"http", b"https"})
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9_.:+/=-]{1,128}")


class Policy(Enum):
    """What becomes of a field: it passes, passes and is read, is read and dropped, or is dropped unread."""

    PASS = auto()
    NOTE = auto()
    READ = auto()
    DROP = auto()


def request_policy(key: bytes) -> Policy:
    """The policy for a request's field, by its name in lower case."""
    if key in _READ_FROM_REQUESTS or key.startswith(_PEER_PREFIX):
        return Policy.READ
    if key in _HOP_BY_HOP or _is_reserved(key) or _is_alias(key):
        return Policy.DROP
    return Policy.NOTE if key in SINGLETONS else Policy.PASS


def response_policy(key: bytes) -> Policy:
    """The policy for a response's field, by its name in lower case."""
    if key in _READ_FROM_RESPONSES:
        return Policy.READ
    if key in _HOP_BY_HOP:
        return Policy.DROP
    return Policy.PASS


class RequestControl:
    """What the fields of a request that are read here say: framing, Host, connection options, and what follows."""

    __slots__ = (
        "added",
        "authorization",
        "expects_continue",
        "framing",
        "has_body",
        "host",
        "host_value",
        "keep_alive",
        "max_forwards",
        "nominated",
        "peer",
        "request_id",
        "trace",
        "upgrade",
    )

    def __init__(self, read: Mapping[bytes, bytes], minor: int) -> None:
        """From the values of the fields of an HTTP/1.`minor` request, by lower-case name; raises Failure."""
        get = read.get
        options = members(get(b"connection"))
        self.nominated = frozenset(options) - _CONNECTION_OPTIONS
        self.framing: Framing = request_framing(read, minor)
        self.has_body = self.framing.chunked or bool(self.framing.length)
        self.host_value = get(b"host")
        self.host = _folded(self.host_value, minor)
        self.keep_alive = b"close" not in options and (minor > 0 or b"keep-alive" in options)
        self.expects_continue = _expectation(get(b"expect"), minor)
        self.upgrade = _upgrade(get(b"upgrade"), options) if minor else b""
        self.authorization = get(b"authorization")
        self.max_forwards = _number(get(b"max-forwards"))
        self.request_id = _request_id(get(b"x-request-id"))
        self.trace = TraceFields.read(read)
        self.peer = PeerFields.read(read)
        self.added = b"".join((_via(get(b"via"), minor), *self._added(read, options)))

    def _added(self, read: Mapping[bytes, bytes], options: list[bytes]) -> Iterator[bytes]:
        if b"te" in options and b"trailers" in members(read.get(b"te")):
            yield b"Connection: TE\r\nTE: trailers\r\n"
        if self.expects_continue:
            yield b"Expect: 100-continue\r\n"
        if self.framing.length is not None:
            yield b"Content-Length: %d\r\n" % self.framing.length
        elif self.framing.chunked:
            yield b"Transfer-Encoding: chunked\r\n"
        if self.upgrade:
            yield b"Connection: Upgrade\r\nUpgrade: %b\r\n" % self.upgrade


class RequestFields:
    """One request section: what was read from it, and the lines that may pass.

    `passing` are the ready field lines without those that depend on the connection, the route or the token. The three
    `prepared` slots remember the last composition, see `compose`.
    """

    __slots__ = (
        "_block",
        "_logged",
        "authorization",
        "expects_continue",
        "framing",
        "has_body",
        "host",
        "host_value",
        "keep_alive",
        "max_forwards",
        "nominated",
        "passing",
        "peer",
        "prepared",
        "prepared_host",
        "prepared_peer",
        "request_id",
        "trace",
        "upgrade",
    )

    def __init__(self, block: bytes, control: RequestControl, passing: list[bytes]) -> None:
        """From a section, what its fields say, and its lines that pass, without line ends."""
        self._block = block
        self._logged: tuple[str, str] | None = None
        self.authorization = control.authorization
        self.expects_continue = control.expects_continue
        self.framing = control.framing
        self.has_body = control.has_body
        self.host = control.host
        self.host_value = control.host_value
        self.keep_alive = control.keep_alive
        self.max_forwards = control.max_forwards
        self.nominated = control.nominated
        self.peer = control.peer
        self.request_id = control.request_id
        self.trace = control.trace
        self.upgrade = control.upgrade
        self.passing = _passing(passing, control.nominated, control.added)
        self.prepared = b""
        self.prepared_peer: Peer | None = None
        self.prepared_host: bytes | None = None

    def value(self, name: bytes) -> bytes:
        """The value of a field that passes, by its lower-case name, or nothing; for answers and logs."""
        return field_value(self._block, name)

    @property
    def size(self) -> int:
        """How many bytes the section has, its empty line included."""
        return len(self._block)

    @property
    def count(self) -> int:
        """How many lines the section has."""
        return self._block.count(b"\r\n") - 1

    @property
    def logged(self) -> tuple[str, str]:
        """Referer and User-Agent for the access log; looked for once."""
        if self._logged is None:
            self._logged = (self.value(b"referer").decode("latin-1"), self.value(b"user-agent").decode("latin-1"))
        return self._logged


class TraceFields(NamedTuple):
    """What a request says about the trace it belongs to; `lines` are those that may go on when no span is made here."""

    parents: tuple[bytes, ...]
    states: tuple[bytes, ...]
    lines: bytes

    @classmethod
    def read(cls, read: Mapping[bytes, bytes]) -> TraceFields | None:
        """The fields among those that were read, or None when there are none."""
        # A field that came twice was joined by a comma, which no valid traceparent has.
        parents = (read[b"traceparent"],) if b"traceparent" in read else ()
        states = (read[b"tracestate"],) if b"tracestate" in read else ()
        return cls(parents, states, trace.passing(parents, states)) if parents or states else None


class PeerFields(NamedTuple):
    """What a request says about the peers before the visitor's connection; believed from trusted proxies only."""

    addresses: bytes
    proto: bytes
    host: bytes
    forwarded: bytes

    @classmethod
    def read(cls, read: Mapping[bytes, bytes]) -> PeerFields | None:
        """The fields among those that were read, or None when there are none."""
        addresses, forwarded = read.get(b"x-forwarded-for", b""), read.get(b"forwarded", b"")
        proto, host = read.get(b"x-forwarded-proto", b"").lower(), read.get(b"x-forwarded-host", b"")
        if not (addresses or forwarded or proto or host):
            return None
        return cls(
            addresses=addresses,
            proto=proto if proto in _PROTOCOLS else b"",
            host=host if _is_host(host) else b"",
            forwarded=forwarded,
        )

    @property
    def hops(self) -> tuple[Hop, ...]:
        """Who the request came through, the farthest first."""
        return hops.listed(self.addresses) if self.addresses else hops.forwarded(self.forwarded)

    def visitor(self, peer: Peer) -> Hop:
        """Who the trusted `peer` passes the request on for."""
        return hops.nearest_stranger(self.hops, peer.trusts) or Hop(None)


class Peer:
    """The visitor's side of a connection, as targets are told: one value per address, shared by its connections."""

    __slots__ = ("_host", "_lines", "address", "is_trusted", "node", "proto", "trusts")

    def __init__(self, address: str, proto: bytes, trusts: Callable[[str], bool]) -> None:
        """`address` is an IP literal; `proto` is http or https; `trusts` tells the addresses of trusted proxies."""
        self.address = address.encode()
        self.node = hops.node(self.address)
        self.proto = proto
        self.is_trusted = trusts(address)
        self.trusts = trusts
        self._host: bytes | None = None
        self._lines = b""

    def lines(self, host: bytes) -> bytes:
        """The lines that tell a target of this peer, when nothing before it is believed; the last ones are kept."""
        if host != self._host:
            self._host = host
            forwarded = b'for=%b;host="%b";proto=%b' % (self.node, host, self.proto)
            self._lines = _PEER_LINES % (self.address, self.proto, host, self.address, forwarded)
        return self._lines


class ResponseControl:
    """What the fields of a response that are read here say: framing, reuse, and the lines that follow."""

    __slots__ = ("added", "framing", "has_date", "keep_alive", "nominated", "upgrade")

    def __init__(self, read: Mapping[bytes, bytes], minor: int) -> None:
        """From the values of the fields of an HTTP/1.`minor` response, by lower-case name; raises Failure 502."""
        options = members(read.get(b"connection"))
        self.nominated = frozenset(options) - _CONNECTION_OPTIONS
        self.framing: Framing = response_framing(read, minor)
        self.keep_alive = b"close" not in options and (minor == 1 or b"keep-alive" in options)
        self.upgrade = read.get(b"upgrade", b"") if b"upgrade" in options else b""
        date = read.get(b"date")
        self.has_date = date is not None
        via = _via(read.get(b"via"), minor)
        self.added = via if date is None else b"Date: %b\r\n%b" % (date, via)


class ResponseFields:
    """One response section: how the body is delimited, and the lines that may pass.

    The pairs of slots behind them remember what was made of the section, and for what: the `ready` head of HTTP/1 and
    the `h2_block` of HTTP/2, each with its status line, and the section as `dressed` for a route's visitors.
    """

    __slots__ = (
        "dressed",
        "dressed_for",
        "framing",
        "h2_block",
        "h2_block_for",
        "has_date",
        "is_known",
        "keep_alive",
        "length_line",
        "passing",
        "ready",
        "ready_for",
        "upgrade",
    )

    def __init__(
        self, framing: Framing, passing: bytes, *, has_date: bool = False, keep_alive: bool = True, upgrade: bytes = b""
    ) -> None:
        """`passing` are lines with their line ends, without those of framing and of the connection."""
        self.framing = framing
        self.length_line = b"" if framing.length is None else b"Content-Length: %d\r\n" % framing.length
        self.passing = passing
        self.has_date = has_date
        self.keep_alive = keep_alive
        self.upgrade = upgrade
        # Whether the section came more than once.
        self.is_known = False
        self.ready = b""
        self.ready_for: StatusLine | None = None
        self.h2_block = b""
        self.h2_block_for: StatusLine | None = None
        self.dressed: ResponseFields | None = None
        self.dressed_for: object = None

    @classmethod
    def read(cls, control: ResponseControl, passing: list[bytes]) -> ResponseFields:
        """From what the fields of a section say, and its lines that pass, without line ends."""
        return cls(
            control.framing,
            _passing(passing, control.nominated, control.added),
            has_date=control.has_date,
            keep_alive=control.keep_alive,
            upgrade=control.upgrade,
        )

    def with_lines(self, passing: bytes, framing: Framing) -> ResponseFields:
        """The section with other lines and another framing."""
        return ResponseFields(framing, passing, has_date=self.has_date or bool(field_value(passing, b"date")))

    def value(self, name: bytes) -> bytes:
        """The value of the first line of a lower-case name, or nothing."""
        return field_value(self.passing, name)


def field_value(lines: bytes, name: bytes) -> bytes:
    """The value of the first line of a lower-case name among `lines`, or nothing."""
    section = b"\r\n" + lines
    begin = section.lower().find(b"\r\n%b:" % name)
    if begin < 0:
        return b""
    begin += len(name) + 3
    return section[begin : section.index(b"\r\n", begin)].strip(b" \t")


def compose(fields: RequestFields, peer: Peer, host: bytes) -> bytes:
    """The lines for the target that depend on the visitor's connection: what passes, Host and the peer's fields.

    `host` is the Host that the target sees. The last composition is kept with the fields: the next request with the
    same section from the same address costs two comparisons.
    """
    if fields.prepared_peer is peer and fields.prepared_host is host:
        return fields.prepared
    fields.prepared = b"Host: %b\r\n%b%b" % (host, fields.passing, _peer_lines(fields, peer))
    fields.prepared_peer = peer
    fields.prepared_host = host
    return fields.prepared


def _peer_lines(fields: RequestFields, peer: Peer) -> bytes:
    said = fields.peer
    host = fields.host_value or fields.host
    if said is None or not peer.is_trusted:
        return peer.lines(host)
    visitor = said.visitor(peer)
    host = said.host or (visitor.host if _is_host(visitor.host) else b"") or host
    proto = said.proto or (visitor.proto if visitor.proto in _PROTOCOLS else b"") or peer.proto
    before = said.hops
    # One may speak only the one field and the target read only the other (RFC 7239 section 7.4).
    addresses = said.addresses or b", ".join(hop.address or b"unknown" for hop in before)
    forwarded = said.forwarded or b", ".join(hop.element for hop in before)
    own = b'for=%b;host="%b";proto=%b' % (peer.node, host, proto)
    return _PEER_LINES % (
        b"%b, %b" % (addresses, peer.address) if addresses else peer.address,
        proto,
        host,
        visitor.address or peer.address,
        b"%b, %b" % (forwarded, own) if forwarded else own,
    )


def is_https(fields: RequestFields, peer: Peer) -> bool:
    """Whether the visitor's own connection is secure, as far as the peers in between may be believed."""
    said = fields.peer
    if peer.is_trusted and said is not None:
        proto = said.proto or said.visitor(peer).proto
        if proto in _PROTOCOLS:
            return proto == b"https"
    return peer.proto == b"https"


def visitor_address(fields: RequestFields, peer: Peer) -> bytes:
    """The address of the visitor, as far as the peers in between may be believed."""
    said = fields.peer
    if said is None or not peer.is_trusted:
        return peer.address
    return said.visitor(peer).address or peer.address


def passing_trailers(lines: Iterable[bytes]) -> bytes:
    """The trailer lines that may go on (RFC 9110 section 6.5.1), each with its line end."""
    named = [(line.partition(b":")[0].lower(), line) for line in lines]
    return b"".join(line + b"\r\n" for key, line in named if _may_trail(key))


def _may_trail(key: bytes) -> bool:
    return not (key in _HOP_BY_HOP or key in _NEVER_IN_TRAILERS or _is_reserved(key) or _is_alias(key))


def _passing(lines: list[bytes], nominated: frozenset[bytes], added: bytes) -> bytes:
    """The lines that pass, without those that Connection names (RFC 9110 section 7.6.1), and `added` behind them.

    Several lines may come as one, with the line ends between them.
    """
    if nominated:
        each = [line for run in lines for line in run.split(b"\r\n")]
        lines = [line for line in each if line.partition(b":")[0].lower() not in nominated]
    return b"\r\n".join((*lines, added))


def _folded(host: bytes | None, minor: int) -> bytes:
    if host is not None:
        return fold_host(host)
    if minor:
        raise Failure(BAD_REQUEST, "A request names its Host.")
    return b""


def _expectation(value: bytes | None, minor: int) -> bool:
    if value is None or minor == 0:
        return False
    if value.lower() != b"100-continue":
        raise Failure(EXPECTATION_FAILED)
    return True


def _is_reserved(key: bytes) -> bool:
    return key in _PEER_FIELDS or key.startswith((_PEER_PREFIX, _IDENTITY_PREFIX))


def _is_alias(key: bytes) -> bool:
    """Whether a target that folds `_` or `.` to `-` would read this name as one that the proxy sets or checks."""
    if b"_" not in key and b"." not in key:
        return False
    folded = key.replace(b"_", b"-").replace(b".", b"-")
    return folded in _HOP_BY_HOP or folded in _READ_FROM_REQUESTS or folded in SINGLETONS or _is_reserved(folded)


def _upgrade(value: bytes | None, options: list[bytes]) -> bytes:
    if value is None or b"upgrade" not in options:
        return b""
    # RFC 9113 section 3.1 retired h2c upgrades; forwarding one would open a tunnel around every check made here.
    return b", ".join(protocol for protocol in members(value) if not protocol.startswith((b"h2", b"http", b"tls")))


def _request_id(value: bytes | None) -> bytes | None:
    return value if value is not None and _REQUEST_ID.fullmatch(value) else None


def _number(value: bytes | None) -> int | None:
    return int(value) if value is not None and value.isdigit() and len(value) < 10 else None


def _via(said: bytes | None, minor: int) -> bytes:
    return b"Via: %b%b %b\r\n" % (said + b", " if said else b"", _VERSIONS[minor], VIA)


def _is_host(value: bytes) -> bool:
    try:
        return bool(fold_host(value))
    except Failure:
        return False
