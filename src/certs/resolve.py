"""What DNS says of a name, with what it did not say kept apart: a server that fails has not denied anything."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence
from itertools import islice
from typing import Final, Literal, TypeAlias, cast

import dns.asyncbackend
import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.resolver
import msgspec
from dns.rdtypes.ANY.CAA import CAA
from dns.rdtypes.ANY.TXT import TXT

RecordType: TypeAlias = Literal["A", "AAAA", "CAA", "CNAME", "NS", "SOA", "TXT"]
Outcome: TypeAlias = Literal["found", "empty", "missing", "unknown"]

_PORT: Final = 53
_ROUNDS: Final = 2  # datagrams get lost
_MAX_ALIASES: Final = 8
_MAX_CLIMB: Final = 12
_MAX_SERVERS: Final = 8
_MAX_ADDRESSES: Final = 2  # of one family, of one server
_MAX_VALUES: Final = 64  # of one family, of any name
_MAX_AT_ONCE: Final = 64
_PAYLOAD: Final = 1232  # fits into every path's packets (DNS flag day 2020)
_FAILURES: Final = (OSError, EOFError, dns.exception.DNSException, ValueError)  # a TimeoutError is an OSError


class Server(msgspec.Struct, frozen=True):
    """A name server: its address, its port, and its name where it has one."""

    address: str
    port: int = _PORT
    name: str = ""

    def __str__(self) -> str:
        """As it is named in a message for people."""
        return f"{self.name} ({self.address})" if self.name else self.address


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of one name and type.

    `outcome` is "found", or definitely nothing: "empty" when the name has no record of the type, "missing" when there
    is no such name (NXDOMAIN). It is "unknown" when no server said either, `reason` says why. `aliases` are the targets
    of the CNAME records on the way, the last one has the records. Names are in lower case, without a dot at the end.
    Values are as in a zone file, but a TXT value is its strings in one, and a CAA value is `flags tag value` without
    quotes. `zone` is the zone that nothing was found in, if the server told.
    """

    name: str
    type: RecordType
    outcome: Outcome
    values: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    zone: str | None = None
    reason: str = ""

    @property
    def is_definite(self) -> bool:
        """Whether a server answered the question, be it with nothing."""
        return self.outcome != "unknown"

    @property
    def owner(self) -> str:
        """The name that has the records, or would have them."""
        return self.aliases[-1] if self.aliases else self.name


class Authorities(msgspec.Struct, frozen=True):
    """A zone and the servers that its own NS records name."""

    zone: str
    servers: tuple[Server, ...]


def server_of(text: str) -> Server:
    """Read `address:port`, `[address]:port` or an address alone. Raises ValueError."""
    try:
        return Server(ipaddress.ip_address(text.strip("[]")).compressed)
    except ValueError:
        address, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{text} is no address with a port")
    return Server(ipaddress.ip_address(address.strip("[]")).compressed, int(port))


def unknown(name: str, rdtype: RecordType, reason: str) -> Answer:
    """The answer that never came."""
    return Answer(name=name, type=rdtype, outcome="unknown", reason=reason)


def with_parents(name: str) -> tuple[str, ...]:
    """The name and the names above it, nearest first, without the root."""
    labels = name.split(".")
    return tuple(".".join(labels[index:]) for index in range(len(labels)))


class Resolver:
    """Asks the configured resolvers, or the servers that a name's own zone has. Knows nothing and keeps nothing."""

    def __init__(self, servers: Sequence[str] = (), *, attempt_s: float = 2.0, authority_port: int = _PORT) -> None:
        """`servers` are `address:port`; none: those of the machine, read anew for each question.

        A server has `attempt_s` for an answer; each is asked twice. `authority_port` is
        where the servers of NS records listen. Raises ValueError for a server that is none.
        """
        self._servers = tuple(server_of(text) for text in servers)
        self._attempt_s = attempt_s
        self._authority_port = authority_port
        self._room = asyncio.Semaphore(_MAX_AT_ONCE)

    async def servers(self) -> tuple[Server, ...]:
        """The resolvers that are asked."""
        return self._servers or await asyncio.to_thread(_servers_of_this_machine)

    async def look_up(self, name: str, rdtype: RecordType) -> Answer:
        """What the resolvers say, CNAMEs followed: from their caches, so it may be a while old."""
        answer = unknown(name, rdtype, "no resolver is configured")
        for server in (*await self.servers(),) * _ROUNDS:
            answer = await self.ask(server, name, rdtype, is_recursive=True)
            if answer.is_definite:
                break
        return answer

    async def look_up_fresh(self, name: str, rdtype: RecordType) -> Answer:
        """What the servers of the name's zone say, past all caches; where they cannot be asked, as `look_up`.

        Who was told that there is no such name hears it again until the negative answer expires (RFC 2308), often an
        hour after the customer has made the record. Authorities look past their caches as well.
        """
        aliases: tuple[str, ...] = ()
        for _ in range(_MAX_ALIASES):
            answer = await self._ask_authorities(aliases[-1] if aliases else name, rdtype)
            aliases += answer.aliases
            # A server says nothing of where an alias leads outside its zones.
            if answer.outcome in {"found", "unknown"} or not answer.aliases:
                return msgspec.structs.replace(answer, name=name, aliases=aliases)
        return unknown(name, rdtype, f"its CNAME records lead on without an end, by {', '.join(aliases[:3])}")

    async def zone_of(self, name: str) -> str | None:
        """The name of the zone that `name` belongs to, or None when it cannot be found out."""
        for candidate in with_parents(name)[:_MAX_CLIMB]:
            answer = await self.look_up(candidate, "SOA")
            zone = zone_in(answer)
            if zone is not None or not answer.is_definite:
                return zone
        return None

    async def authorities_of(self, name: str) -> Authorities | None:
        """The servers of the zone that `name` belongs to, or None when they cannot be found out."""
        zone = await self.zone_of(name)
        if zone is None:
            return None
        hosts = (await self.look_up(zone, "NS")).values[:_MAX_SERVERS]
        async with asyncio.TaskGroup() as group:
            lookups = [
                (host, group.create_task(self.look_up(host, rdtype), name=f"{rdtype} of {host}"))
                for rdtype in _ADDRESS_TYPES
                for host in hosts
            ]
        # The zone is the customer's, who may name thousands: nobody is to be flooded with questions in our name.
        servers = tuple(
            Server(address, self._authority_port, host)
            for host, lookup in lookups
            for address in lookup.result().values[:_MAX_ADDRESSES]
        )
        return Authorities(zone, servers) if servers else None

    async def ask(self, server: Server, name: str, rdtype: RecordType, *, is_recursive: bool = False) -> Answer:
        """What one server says; without recursion only what it says with authority for the name."""
        try:
            async with self._room, asyncio.timeout(self._attempt_s):
                message = await _exchange(name, rdtype, server, is_recursive=is_recursive)
        except TimeoutError:
            return unknown(name, rdtype, f"{server} did not answer in {self._attempt_s:g} s")
        except _FAILURES as error:
            return unknown(name, rdtype, f"{server} could not be asked: {str(error) or type(error).__name__}")
        if not is_recursive and not message.flags & dns.flags.AA and message.rcode() in _DEFINITE:
            return unknown(name, rdtype, f"{server} is not responsible for it")
        return _read(message, server, name, rdtype)

    async def _ask_authorities(self, name: str, rdtype: RecordType) -> Answer:
        authorities = await self.authorities_of(name)
        for _ in range(_ROUNDS if authorities is not None else 0):
            answer = await self._first_of(cast("Authorities", authorities).servers, name, rdtype)
            if answer.is_definite:
                return answer
        return await self.look_up(name, rdtype)

    async def _first_of(self, servers: Sequence[Server], name: str, rdtype: RecordType) -> Answer:
        answer = unknown(name, rdtype, "")
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(self.ask(server, name, rdtype), name=f"ask {server}") for server in servers]
            for first in asyncio.as_completed(asked):
                answer = await first
                if answer.is_definite:
                    break
            for task in asked:
                task.cancel()
        return answer


_ADDRESS_TYPES: Final[tuple[RecordType, ...]] = ("A", "AAAA")
_DEFINITE: Final = frozenset({dns.rcode.NOERROR, dns.rcode.NXDOMAIN})


def zone_in(answer: Answer) -> str | None:
    """The zone that an answer to a question for SOA shows `answer.name` to be in, if it does."""
    if answer.aliases:
        return None  # the SOA is that of the alias's target, and no zone begins at an alias (RFC 1034 section 3.6.2)
    if answer.outcome == "found":
        return answer.name
    return answer.zone if answer.zone in with_parents(answer.name) else None


def _servers_of_this_machine() -> tuple[Server, ...]:
    try:
        found = dns.resolver.Resolver(configure=True).nameservers
    except (OSError, dns.exception.DNSException):
        return ()
    return tuple(Server(server) for server in found if isinstance(server, str))


async def _exchange(name: str, rdtype: RecordType, server: Server, *, is_recursive: bool) -> dns.message.Message:
    flags = dns.flags.RD if is_recursive else dns.flags.Flag(0)
    query = dns.message.make_query(name, rdtype, flags=flags, use_edns=0, payload=_PAYLOAD)
    answer = await _ask_by_datagram(query, server)
    if answer.rcode() == dns.rcode.FORMERR:
        # Servers that never heard of EDNS (RFC 6891 section 7).
        query = dns.message.make_query(name, rdtype, flags=flags)
        answer = await _ask_by_datagram(query, server)
    if answer.flags & dns.flags.TC:
        backend = dns.asyncbackend.get_backend("asyncio")
        answer = await dns.asyncquery.tcp(query, server.address, port=server.port, backend=backend)
    return answer


async def _ask_by_datagram(query: dns.message.Message, server: Server) -> dns.message.Message:
    question = _Question(query)
    loop = asyncio.get_running_loop()
    try:
        # Connected, so that the kernel keeps other senders out, and a closed port is known at once.
        await loop.create_datagram_endpoint(lambda: question, remote_addr=(server.address, server.port))
        return await question.answer
    finally:
        question.close()


class _Question(asyncio.DatagramProtocol):
    """One query and the wait for its answer; datagrams that are none are passed over, for anyone can send them."""

    def __init__(self, query: dns.message.Message) -> None:
        self._query = query
        self._transport: asyncio.DatagramTransport | None = None
        self._is_over = False
        self.answer: asyncio.Future[dns.message.Message] = asyncio.get_running_loop().create_future()

    def close(self) -> None:
        """Have no socket any more."""
        self._is_over = True
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)
        if self._is_over:
            # uvloop keeps a socket whose making was cancelled, and tells of it afterwards.
            self._transport.close()
        else:
            self._transport.sendto(self._query.to_wire())

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            message = dns.message.from_wire(data, raise_on_truncation=True)
        except dns.message.Truncated as error:
            message = cast("dns.message.Message", error.kwargs["message"])
        except _FAILURES:
            return
        if self._query.is_response(message) and not self.answer.done():
            self.answer.set_result(message)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done() and not self._is_over:
            self.answer.set_exception(exc)


def _read(message: dns.message.Message, server: Server, name: str, rdtype: RecordType) -> Answer:
    rcode = message.rcode()
    if rcode not in _DEFINITE:
        return unknown(name, rdtype, f"{server} answered {dns.rcode.to_text(rcode)}")
    try:
        chain = cast("dns.message.QueryMessage", message).resolve_chaining()
    except dns.exception.DNSException:
        return unknown(name, rdtype, f"{server} gave an answer that makes no sense")
    aliases = tuple(_text_of(alias[0]) for alias in chain.cnames)
    if chain.answer is not None:
        # Of the thousands of addresses that one answer can hold, all would be judged one by one.
        most = _MAX_VALUES if rdtype in _ADDRESS_TYPES else None
        values = tuple(_text_of(rdata) for rdata in islice(chain.answer, most))
        return Answer(name=name, type=rdtype, outcome="found", values=values, aliases=aliases)
    return Answer(
        name=name,
        type=rdtype,
        outcome="missing" if rcode == dns.rcode.NXDOMAIN else "empty",
        aliases=aliases,
        zone=_zone_of_nothing(message),
    )


def _zone_of_nothing(message: dns.message.Message) -> str | None:
    # RFC 2308 section 3: the SOA of the zone comes with a negative answer.
    owners = [rrset.name for rrset in message.authority if rrset.rdtype == dns.rdatatype.SOA]
    return _plain(owners[0].to_text()) if owners else None


def _text_of(rdata: dns.rdata.Rdata) -> str:
    if isinstance(rdata, TXT):
        return b"".join(rdata.strings).decode(errors="replace")
    if isinstance(rdata, CAA):
        return f"{rdata.flags} {rdata.tag.decode(errors='replace')} {rdata.value.decode(errors='replace')}"
    text = rdata.to_text()
    return _plain(text) if rdata.rdtype in _NAMES else text


_NAMES: Final = frozenset({dns.rdatatype.CNAME, dns.rdatatype.NS})


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")
