"""DNS updates (RFC 2136), signed with a TSIG key (RFC 8945) where there is one."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Final

import dns.asyncbackend
import dns.asyncquery
import dns.exception
import dns.message
import dns.rcode
import dns.rdata
import dns.tsig
import dns.update

from certs.errors import IssueError
from certs.resolve import Resolver, server_of, with_parents, zone_in
from certs.settings import Rfc2136Spec
from state.errors import SecretError
from state.private_files import read_secret

_LIMIT_S: Final = 15.0
# Short, for an authority's resolver that saw the value of the name must soon see that of its wildcard too.
_TTL_S: Final = 30

# A secret in quotes may hold two slashes, which begin a comment anywhere else.
_QUOTED_OR_COMMENT: Final = re.compile(r'("[^"]*")|(?://|#)[^\n]*|/\*.*?\*/', re.DOTALL)
_KEY: Final = re.compile(r'\s*key\s+"?([^\s"{;]+)"?\s*\{(.*?)\}\s*;?\s*', re.DOTALL)
_CLAUSE: Final = re.compile(r'\b(algorithm|secret)\s+"?([^\s";]+)"?\s*;')


class Rfc2136:
    """Has one name server change its zones."""

    def __init__(self, spec: Rfc2136Spec, resolver: Resolver, *, limit_s: float = _LIMIT_S) -> None:
        """`limit_s` is the time for one change, the search for the zone included. Raises ValueError for no server."""
        self._spec = spec
        self._server = server_of(spec.server)
        self._resolver = resolver
        self._limit_s = limit_s

    async def set(self, name: str, value: str) -> None:
        """Add the record. Raises IssueError."""
        await self._change(name, value, is_wanted=True)

    async def remove(self, name: str, value: str) -> None:
        """Delete the one record with this value (RFC 2136 section 2.5.4), if there is one. Raises IssueError."""
        await self._change(name, value, is_wanted=False)

    async def _change(self, name: str, value: str, *, is_wanted: bool) -> None:
        server = self._spec.server
        try:
            async with asyncio.timeout(self._limit_s):
                rcode = await self._send(name, value, is_wanted=is_wanted)
        except TimeoutError:
            raise _failed(f"{server} did not take an update of TXT {name} in {self._limit_s:g} s") from None
        except dns.tsig.PeerBadTime:
            raise _failed(f"{server} refuses the update: its clock and ours differ by more than 5 minutes") from None
        except (dns.tsig.PeerBadKey, dns.tsig.PeerBadSignature):
            raise _failed(
                f"{server} refuses the update: it does not know the TSIG key, or has another secret"
            ) from None
        except (OSError, EOFError, dns.exception.DNSException) as error:
            reason = str(error) or type(error).__name__
            raise _failed(f"{server} could not be asked to update TXT {name}: {reason}") from None
        if rcode != dns.rcode.NOERROR:
            raise _failed(f"{server} refuses to update TXT {name}: {dns.rcode.to_text(rcode)}{_hint(rcode)}")

    async def _send(self, name: str, value: str, *, is_wanted: bool) -> dns.rcode.Rcode:
        key = None if self._spec.key_file is None else await asyncio.to_thread(read_key, self._spec.key_file)
        update = dns.update.UpdateMessage(await self._zone(name), keyring=key)
        record = dns.rdata.from_text("IN", "TXT", f'"{value}"')
        if is_wanted:
            update.add(f"{name}.", _TTL_S, record)
        else:
            update.delete(f"{name}.", record)
        # By TCP, so that an update that was heard is not sent twice, and needs no room in a datagram.
        backend = dns.asyncbackend.get_backend("asyncio")
        answer = await dns.asyncquery.tcp(update, self._server.address, port=self._server.port, backend=backend)
        return answer.rcode()

    async def _zone(self, name: str) -> str:
        parents = with_parents(name)
        if self._spec.zone is not None:
            wanted = self._spec.zone.lower().removesuffix(".")
            if wanted not in parents:
                raise _failed(f"TXT {name} is not in the zone {wanted}, the only one that is to be updated")
            return wanted
        # The server itself knows best what it has, and may have zones that nobody else is shown.
        for candidate in parents:
            zone = zone_in(await self._resolver.ask(self._server, candidate, "SOA"))
            if zone is not None:
                return zone
        zone = await self._resolver.zone_of(name)
        if zone is None:
            raise _failed(f"no zone was found that TXT {name} belongs to; name it in certs.rfc2136_zone")
        return zone


def read_key(path: Path) -> dns.tsig.Key:
    """The key in a file as `tsig-keygen` writes it, which only its owner may read. Raises IssueError."""
    try:
        text = _QUOTED_OR_COMMENT.sub(lambda match: match[1] or "", read_secret(path))
    except OSError as error:
        raise _failed(f"the TSIG key cannot be read: {path}: {error.strerror}") from None
    except SecretError as error:
        raise _failed(f"the TSIG key cannot be used: {error}") from None
    match = _KEY.fullmatch(text)
    clauses = dict(_CLAUSE.findall(match[2])) if match is not None else {}
    if match is None or "secret" not in clauses:
        raise _failed(f'{path} holds no key such as `key "name" {{ algorithm hmac-sha256; secret "..."; }};`')
    try:
        key = dns.tsig.Key(match[1], clauses["secret"], clauses.get("algorithm", "hmac-sha256"))
    except (ValueError, dns.exception.DNSException):
        # The reason could quote the secret.
        raise _failed(f"{path} holds a key whose name or secret cannot be read") from None
    if key.algorithm not in dns.tsig.mac_sizes or key.algorithm == dns.tsig.GSS_TSIG:
        raise _failed(f"{path} holds a key of an algorithm that is not known here")
    return key


def _hint(rcode: dns.rcode.Rcode) -> str:
    if rcode == dns.rcode.REFUSED:
        return " (may this key update it?)"
    return " (is it the primary server of the zone?)" if rcode in {dns.rcode.NOTAUTH, dns.rcode.NOTIMP} else ""


def _failed(text: str) -> IssueError:
    return IssueError("solver", text)
