"""A small name server on loopback, by UDP and TCP: zones are values, updates are taken, faults are switched on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Final, Literal, NamedTuple, Self, cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tsig
import dns.update

Fault = Literal["servfail", "notimp", "refused", "formerr", "silent", "truncated", "lame", "garbage", "no-edns"]
Zone = Mapping[str, Sequence[str]]

_TTL: Final = 60
_MAX_ALIASES: Final = 16
_RCODES: Final[Mapping[str, dns.rcode.Rcode]] = {
    "servfail": dns.rcode.SERVFAIL,
    "notimp": dns.rcode.NOTIMP,
    "refused": dns.rcode.REFUSED,
    "formerr": dns.rcode.FORMERR,
}


class Asked(NamedTuple):
    """A question as it came in."""

    name: str
    type: str
    transport: Literal["udp", "tcp"]


class DnsServer:
    """Answers with authority for its zones; asked to recurse, it also follows aliases from one zone to another.

    A zone is its records by owner: `{"example.com": ["NS ns.example.com", "A 127.0.0.1"], "*.example.com": [...]}`. The
    name of the zone gets a SOA record. Owners and names in records are absolute, without a dot at the end.
    """

    def __init__(
        self, zones: Mapping[str, Zone] | None = None, *, key: dns.tsig.Key | None = None, address: str = "127.0.0.1"
    ) -> None:
        """Updates are taken when they are signed with `key`; without one, all are."""
        self.address = address
        self.port = 0
        self.asked: list[Asked] = []
        self.heard = asyncio.Event()
        self.updates = 0
        # By name, by name and type, or by type; "*" is for everything.
        self.faults: dict[str | tuple[str, str], Fault] = {}
        # What signed updates are refused with, whatever their signature.
        self.tsig_error: dns.rcode.Rcode | None = None
        self._key = key
        self._zones: dict[dns.name.Name, dict[dns.name.Name, list[dns.rdata.Rdata]]] = {}
        for name, records in (zones or {}).items():
            self.put_zone(name, records)
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def where(self) -> str:
        """As settings name it."""
        return f"{self.address}:{self.port}"

    async def start(self, port: int = 0) -> None:
        """Listen on `port`, or on one that is free for UDP and TCP alike."""
        for _ in range(20):
            self._tcp = await asyncio.start_server(self._serve_stream, self.address, port)
            self.port = self._tcp.sockets[0].getsockname()[1]
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                udp.bind((self.address, self.port))
            except OSError:
                udp.close()
                self._tcp.close()
                continue
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Datagrams(self), sock=udp)
            self._udp = transport
            return
        raise OSError("no port is free for both UDP and TCP")

    async def stop(self) -> None:
        """Listen no more."""
        if self._udp is not None:
            self._udp.close()
        for writer in self._writers:
            writer.close()
        if self._tcp is not None:
            self._tcp.close()
            await self._tcp.wait_closed()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def put_zone(self, zone: str, records: Zone) -> None:
        """Have exactly these records in a zone."""
        self._zones[_name(zone)] = {_name(zone): [_soa(zone)]}
        for owner, texts in records.items():
            self.put(owner, *texts)

    def put(self, owner: str, *texts: str) -> None:
        """Have exactly these records at a name, beside the SOA; none: the name is gone."""
        name = _name(owner)
        zone = self._zone_of(name)
        assert zone is not None, f"no zone for {owner}"
        kept = [record for record in self._zones[zone].pop(name, []) if record.rdtype == dns.rdatatype.SOA]
        if records := [*kept, *(_record(text) for text in texts)]:
            self._zones[zone][name] = records

    def texts(self, owner: str) -> list[str]:
        """The TXT values at a name."""
        zone = self._zone_of(_name(owner))
        records = self._zones[zone].get(_name(owner), []) if zone is not None else []
        return [record.to_text().strip('"') for record in records if record.rdtype == dns.rdatatype.TXT]

    def answer(self, wire: bytes, transport: Literal["udp", "tcp"]) -> bytes | None:
        """What goes back for one message; None is silence."""
        try:
            query = dns.message.from_wire(wire, keyring=self._key)
        except dns.tsig.BadTime:
            return self._refusal(wire, dns.rcode.BADTIME)
        except dns.tsig.BadSignature:
            return self._refusal(wire, dns.rcode.BADSIG)
        except (dns.message.UnknownTSIGKey, dns.tsig.BadKey, dns.tsig.BadAlgorithm):
            return self._refusal(wire, dns.rcode.BADKEY)
        except dns.exception.DNSException:
            return None
        if query.opcode() == dns.opcode.UPDATE:
            if self.tsig_error is not None and query.had_tsig:
                return self._refusal(wire, self.tsig_error)
            return self._update(cast("dns.update.UpdateMessage", query)).to_wire()
        question = query.question[0]
        asked = Asked(_text(question.name), dns.rdatatype.to_text(question.rdtype), transport)
        self.asked.append(asked)
        self.heard.set()
        fault = self._fault(asked)
        if fault is not None and not (fault == "no-edns" and query.edns < 0):
            return self._broken(query, fault, transport)
        return self._resolve(query).to_wire()

    def _fault(self, asked: Asked) -> Fault | None:
        keys: Iterable[str | tuple[str, str]] = ((asked.name, asked.type), asked.name, asked.type, "*")
        return next((self.faults[key] for key in keys if key in self.faults), None)

    def _broken(self, query: dns.message.Message, fault: Fault, transport: Literal["udp", "tcp"]) -> bytes | None:
        if fault == "silent":
            return None
        if fault == "garbage":
            return query.to_wire()[:2] + b"\xff" * 20
        response = dns.message.make_response(query)
        if fault == "truncated":
            if transport == "tcp":
                return self._resolve(query).to_wire()
            response.flags |= dns.flags.TC | dns.flags.AA
        elif fault == "lame":
            # A server that was told of the zone by nobody: it refers to others (RFC 1912 section 2.8).
            response.authority.append(dns.rrset.from_text("example.net.", _TTL, "IN", "NS", "elsewhere.example.net."))
        elif fault == "no-edns":
            response = dns.message.make_response(dns.message.make_query("example.net", "A", id=query.id))
            response.question = list(query.question)
            response.set_rcode(dns.rcode.FORMERR)
        else:
            response.set_rcode(_RCODES[fault])
        return response.to_wire()

    def _resolve(self, query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query, recursion_available=True)
        question = query.question[0]
        name = question.name
        if self._zone_of(name) is None:
            response.set_rcode(dns.rcode.REFUSED)
            return response
        response.flags |= dns.flags.AA
        for _ in range(_MAX_ALIASES):
            zone = self._zone_of(name)
            if zone is None:
                return response
            records = self._records(zone, name)
            found = [record for record in records or [] if record.rdtype == question.rdtype]
            alias = next((record for record in records or [] if record.rdtype == dns.rdatatype.CNAME), None)
            if found or alias is None:
                return self._ending(response, zone, name, records, found)
            response.answer.append(dns.rrset.from_rdata(name, _TTL, alias))
            name = dns.name.from_text(alias.to_text())
            if not query.flags & dns.flags.RD and self._zone_of(name) != zone:
                return response
        response.set_rcode(dns.rcode.SERVFAIL)
        return response

    def _ending(
        self,
        response: dns.message.Message,
        zone: dns.name.Name,
        name: dns.name.Name,
        records: list[dns.rdata.Rdata] | None,
        found: list[dns.rdata.Rdata],
    ) -> dns.message.Message:
        if found:
            response.answer.append(dns.rrset.from_rdata_list(name, _TTL, found))
            return response
        if records is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        response.authority.append(dns.rrset.from_rdata(zone, _TTL, _soa(_text(zone))))
        return response

    def _records(self, zone: dns.name.Name, name: dns.name.Name) -> list[dns.rdata.Rdata] | None:
        """The records at a name; none of an empty non-terminal (RFC 8020); None: there is no such name."""
        names = self._zones[zone]
        if name in names:
            return names[name]
        if any(other.is_subdomain(name) for other in names):
            return []
        parent = name
        while parent != zone:
            parent = parent.parent()
            wildcard = dns.name.Name([b"*", *parent.labels])
            if wildcard in names:
                return names[wildcard]
            if any(other.is_subdomain(parent) for other in names):
                return None  # the closest name that exists, and it has no wildcard (RFC 4592 section 2.2.1)
        return None

    def _zone_of(self, name: dns.name.Name) -> dns.name.Name | None:
        zones = [zone for zone in self._zones if name.is_subdomain(zone)]
        return max(zones, key=lambda zone: len(zone.labels), default=None)

    def _update(self, update: dns.update.UpdateMessage) -> dns.message.Message:
        response = dns.message.make_response(update)
        zone = update.zone[0].name
        if self._key is not None and not update.had_tsig:
            response.set_rcode(dns.rcode.REFUSED)
        elif zone not in self._zones:
            response.set_rcode(dns.rcode.NOTAUTH)
        elif not all(rrset.name.is_subdomain(zone) for rrset in update.update):
            response.set_rcode(dns.rcode.NOTZONE)
        else:
            self.updates += 1
            for rrset in update.update:
                self._apply(self._zones[zone], rrset)
        return response

    def _apply(self, zone: dict[dns.name.Name, list[dns.rdata.Rdata]], rrset: dns.rrset.RRset) -> None:
        records = zone.setdefault(rrset.name, [])
        if rrset.deleting == dns.rdataclass.ANY:
            records[:] = [record for record in records if record.rdtype != rrset.rdtype]
        elif rrset.deleting == dns.rdataclass.NONE:
            records[:] = [record for record in records if record not in list(rrset)]
        else:
            records.extend(record for record in rrset if record not in records)
        if not records:
            del zone[rrset.name]

    def _refusal(self, wire: bytes, error: dns.rcode.Rcode) -> bytes:
        query = dns.message.from_wire(wire, keyring=False)
        response = dns.message.make_response(query)
        response.set_rcode(dns.rcode.NOTAUTH)
        owner = query.keyname
        assert owner is not None
        response.use_tsig(dns.tsig.Key(owner, b"x" * 32), tsig_error=error)
        return response.to_wire()

    async def _serve_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(2), "big")
                answer = self.answer(await reader.readexactly(length), "tcp")
                if answer is not None:
                    writer.write(len(answer).to_bytes(2, "big") + answer)
                    await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            self._writers.discard(writer)
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._server.answer(data, "udp")
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer, addr)


def _name(text: str) -> dns.name.Name:
    return dns.name.from_text(text.lower())


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def _soa(zone: str) -> dns.rdata.Rdata:
    return _record(f"SOA ns.{zone}. hostmaster.{zone}. 1 3600 600 86400 {_TTL}")


def _record(text: str) -> dns.rdata.Rdata:
    rdtype, _, value = text.partition(" ")
    return dns.rdata.from_text("IN", rdtype, value, origin=dns.name.root, relativize=False)
