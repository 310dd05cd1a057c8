"""Certificates by the names that they cover, and the TLS contexts that are made from them when somebody needs them."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import ssl
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509

from mesh import tickets
from mesh.errors import TLS_FAILED, Failure
from mesh.hello import ACME

if TYPE_CHECKING:
    from mesh.policies import TargetTls
    from mesh.routes import Certificate, Delta, MeshSettings

H2: Final = "h2"
_HTTP1: Final = ("http/1.1", "http/1.0")
# Forward secrecy and AEAD only; the order is the visitor's, since a phone knows best what its processor does fast.
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
_MOST_TARGET_CONTEXTS: Final = 1000
_NEVER: Final = dt.datetime.min.replace(tzinfo=dt.UTC)


class Entry(NamedTuple):
    """What a handshake is done with: a context, the folded names of its certificate, and the CA visitors need."""

    context: ssl.SSLContext
    names: frozenset[bytes]
    client_ca: str
    protocols: frozenset[bytes]


class _Habits(NamedTuple):
    """What all contexts of a worker have in common, and change with the settings."""

    protocols: tuple[str, ...]
    min_version: ssl.TLSVersion


_Key = tuple[str, str, bool, _Habits]


class _Known:
    """A certificate in the index, with what was learned about it."""

    __slots__ = ("_not_after", "certificate", "is_broken", "keys", "names", "order")

    def __init__(self, certificate: Certificate, order: int) -> None:
        self.certificate = certificate
        self.order = order
        self.names = frozenset(name.lower().encode() for name in certificate.names)
        self.keys: set[_Key] = set()
        self.is_broken = False
        self._not_after: dt.datetime | None = None

    @property
    def rank(self) -> tuple[dt.datetime, int]:
        """The end of its life, then its age: the greatest is shown."""
        if self._not_after is None:
            try:
                self._not_after = x509.load_pem_x509_certificate(self.certificate.chain).not_valid_after_utc
            except ValueError:
                self._not_after = _NEVER
        return self._not_after, self.order


class Certificates:
    """The certificates of one worker.

    Contexts are made when a visitor comes for them, since each costs a millisecond and 20 KiB, and the least recently
    used ones are forgotten. A connection keeps the context that it began with, whatever becomes of the certificate.
    """

    def __init__(self, settings: MeshSettings, certificates: Iterable[Certificate] = ()) -> None:
        """Index `certificates`; where two cover a name, the one that lives longest is shown, or else the newest."""
        self._known: dict[str, _Known] = {}
        self._exact: dict[str, tuple[_Known, ...]] = {}
        self._wildcard: dict[str, tuple[_Known, ...]] = {}
        self._entries: OrderedDict[_Key, Entry] = OrderedDict()
        self._targets: OrderedDict[tuple[TargetTls, str, bool], ssl.SSLContext] = OrderedDict()
        # What authorities are shown: by name, and the contexts of those that one has come for, by fingerprint.
        self._validations: dict[str, Certificate] = {}
        self._validation_contexts: dict[str, ssl.SSLContext] = {}
        self._order = 0
        self._tickets: tuple[bytes, int] | None = None
        self.use_settings(settings)
        for certificate in certificates:
            self._put(certificate)

    def __len__(self) -> int:
        """How many certificates there are."""
        return len(self._known)

    def use(self, certificates: Iterable[Certificate]) -> None:
        """Have exactly these from now on; what was made for those that stay is kept."""
        wanted = {certificate.fingerprint: certificate for certificate in certificates}
        for fingerprint in self._known.keys() - wanted.keys():
            self._remove(fingerprint)
        for fingerprint in wanted.keys() - self._known.keys():
            self._put(wanted[fingerprint])

    def share_tickets(self, secret: bytes, wall: float) -> None:
        """Make tickets with keys that come of `secret` and of the time, in seconds since 1970, from now on.

        To be called again now and then: keys are used for some hours only.
        """
        now = tickets.period(wall)
        if self._tickets == (secret, now):
            return
        self._tickets = (secret, now)
        for key, entry in self._entries.items():
            self._share(entry.context, key)

    def _share(self, context: ssl.SSLContext, key: _Key) -> None:
        if self._tickets is not None:
            secret, now = self._tickets
            # A session that began without a client certificate must not go on where one is asked for.
            tickets.share(context, secret, f"{key!r} {now}".encode())

    def use_settings(self, settings: MeshSettings) -> None:
        """Make contexts by these settings from now on."""
        minimum = ssl.TLSVersion.TLSv1_3 if settings.tls_min_version == "1.3" else ssl.TLSVersion.TLSv1_2
        self._habits = _Habits((H2, *_HTTP1) if settings.http2 else _HTTP1, minimum)
        self._default = settings.default_certificate.lower()
        self._is_asked_first = settings.on_demand_s > 0
        self._most = max(1, settings.tls_contexts)

    def apply(self, delta: Delta) -> None:
        """Remove and put the certificates that `delta` names; the work is for these alone."""
        for fingerprint in delta.removed_certificates:
            self._remove(fingerprint)
        for certificate in delta.put_certificates:
            self._put(certificate)

    def use_validations(self, certificates: Iterable[Certificate]) -> None:
        """Show exactly these to authorities from now on, each for the names that it is given with (RFC 8737)."""
        self._validations = {name.lower(): one for one in certificates for name in one.names}
        stay = {one.fingerprint for one in self._validations.values()}
        kept = {fingerprint: made for fingerprint, made in self._validation_contexts.items() if fingerprint in stay}
        self._validation_contexts = kept

    # To visitors.

    def context_for(self, server_name: str, client_ca: str = "", is_required: bool = True) -> Entry | None:  # noqa: FBT001, FBT002
        """What to do the handshake with for a folded name, or "" for none; None when no certificate will do.

        Where certificates can be had on demand, the default is for "" alone: a name may get one of its own. `client_ca`
        is PEM: visitors may, or have to, show a certificate that it signed.
        """
        for known in self._candidates(server_name):
            key = (known.certificate.fingerprint, client_ca, is_required, self._habits)
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
                return entry
            if not known.is_broken and (entry := self._make(known, key)) is not None:
                return entry
        return None

    def validation_for(self, server_name: str) -> ssl.SSLContext | None:
        """What to meet an authority with that validates a folded name; None when nothing was made for it."""
        certificate = self._validations.get(server_name)
        if certificate is None:
            return None
        context = self._validation_contexts.get(certificate.fingerprint)
        if context is None:
            context = _validation_context()
            try:
                load_chain(context, certificate)
            except (ssl.SSLError, OSError):
                return None
            self._validation_contexts[certificate.fingerprint] = context
        return context

    def find(self, name: str) -> Certificate | None:
        """The certificate that is shown for a folded name, without regard to the default."""
        found = self._covering(name)
        return found[0].certificate if found else None

    def _candidates(self, server_name: str) -> tuple[_Known, ...]:
        found = self._covering(server_name) if server_name else ()
        if not found and self._default and not (server_name and self._is_asked_first):
            found = self._covering(self._default)
        return found

    def _covering(self, name: str) -> tuple[_Known, ...]:
        # A wildcard stands for one label (RFC 9525 section 6.3); the name of a certificate may be one itself.
        return self._exact.get(name) or self._wildcard.get(name.partition(".")[2]) or ()

    def _make(self, known: _Known, key: _Key) -> Entry | None:
        """A new context; None when certificate and key, or the CA, are no good, which is remembered of the former."""
        certificate, (_fingerprint, client_ca, is_required, habits) = known.certificate, key
        context = _server_context(habits)
        try:
            load_chain(context, certificate)
        except (ssl.SSLError, OSError):
            known.is_broken = True
            return None
        try:
            if client_ca:
                _ask_client(context, client_ca, is_required=is_required)
        except ssl.SSLError:
            # Without the CA nobody can be let in, and nobody must be let in without it.
            return None
        self._share(context, key)
        entry = Entry(context, known.names, client_ca, frozenset(name.encode() for name in habits.protocols))
        self._entries[key] = entry
        known.keys.add(key)
        while len(self._entries) > self._most:
            old, _ = self._entries.popitem(last=False)
            if old[0] in self._known:
                self._known[old[0]].keys.discard(old)
        return entry

    # The index.

    def _put(self, certificate: Certificate) -> None:
        self._remove(certificate.fingerprint)
        self._order += 1
        known = self._known[certificate.fingerprint] = _Known(certificate, self._order)
        for index, name in self._places(known):
            others = index.get(name, ())
            # Reading a certificate takes time; one that has a name for itself, as most do, is never read here.
            index[name] = tuple(sorted((*others, known), key=_rank, reverse=True)) if others else (known,)

    def _remove(self, fingerprint: str) -> None:
        known = self._known.pop(fingerprint, None)
        if known is None:
            return
        for key in known.keys:
            self._entries.pop(key, None)
        for index, name in self._places(known):
            others = tuple(other for other in index.get(name, ()) if other is not known)
            if others:
                index[name] = others
            else:
                index.pop(name, None)

    def _places(self, known: _Known) -> Iterator[tuple[dict[str, tuple[_Known, ...]], str]]:
        for name in known.names:
            text = name.decode()
            if text.startswith("*."):
                yield self._wildcard, text[2:]
            # Also in full, so that settings can name a certificate by its wildcard.
            yield self._exact, text

    # To targets.

    async def target_context(self, wish: TargetTls, *, is_http2: bool = False) -> ssl.SSLContext:
        """How a route wants its targets spoken to; remembered, as reading the system's roots takes long.

        Raises Failure when there is no such certificate of the node, ssl.SSLError when that or the CA is no good.
        """
        shown = self.find(wish.certificate.lower()) if wish.certificate else None
        if wish.certificate and shown is None:
            raise Failure(TLS_FAILED, "The node has no certificate for this target.")
        key = (wish, shown.fingerprint if shown is not None else "", is_http2)
        context = self._targets.get(key)
        if context is None:
            context = await asyncio.to_thread(_target_context, wish, shown, is_http2=is_http2)
            self._targets[key] = context
            if len(self._targets) > _MOST_TARGET_CONTEXTS:
                self._targets.popitem(last=False)
        self._targets.move_to_end(key)
        return context


def load_chain(context: ssl.SSLContext, certificate: Certificate) -> None:
    """Let `context` show `certificate`; raises ssl.SSLError when chain and key are no good.

    Python's ssl reads certificates from files alone. A file in memory has no name that others could open, and never
    reaches a disk, where a key would stay after it was deleted.
    """
    with _in_memory(certificate.chain + b"\n" + certificate.key) as path:
        # An encrypted key would ask for its password on the terminal.
        context.load_cert_chain(path, password=b"")


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.pwrite(descriptor, content, 0)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _server_context(habits: _Habits) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = habits.min_version
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    # Each ticket costs a visitor's first connection 15 microseconds; one is enough to come back with.
    context.num_tickets = 1
    context.set_alpn_protocols(habits.protocols)
    return context


def _validation_context() -> ssl.SSLContext:
    # RFC 8737 section 3 wants 1.2 at least; whatever visitors have to speak, an authority may know no more.
    context = _server_context(_Habits((ACME.decode(),), ssl.TLSVersion.TLSv1_2))
    # Nobody comes back to a connection that is over with its handshake.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    return context


def _ask_client(context: ssl.SSLContext, client_ca: str, *, is_required: bool) -> None:
    context.load_verify_locations(cadata=client_ca)
    context.verify_mode = ssl.CERT_REQUIRED if is_required else ssl.CERT_OPTIONAL
    # The CA that the operator named is trusted, whether or not another has signed it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def _target_context(wish: TargetTls, shown: Certificate | None, *, is_http2: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not wish.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif wish.ca:
        context.load_verify_locations(cadata=wish.ca)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    else:
        context.load_default_certs()
    if shown is not None:
        load_chain(context, shown)
    context.set_alpn_protocols([H2] if is_http2 else ["http/1.1"])
    return context


def _rank(known: _Known) -> tuple[dt.datetime, int]:
    return known.rank
