"""`DnsSolver`: answers DNS-01 challenges with the help of a provider, which is whatever can change a zone.

To add a provider, write a class with `set` and `remove` in a module of this package, give `CertsSettings` a field for
it, and name it in `provider_of`. Nothing else knows providers.

dns-persist-01 (draft-ietf-acme-dns-persist) is no provider but a type of challenge of its own, with a record that
stays: `_validation-persist.<name>` TXT "letsencrypt.org; accounturi=...". It drops in as another `certs.ports.Solver`
beside this one, under its name in `ChallengeType`. Its `present` makes no record but looks, by
`Resolver.look_up_fresh`, that the customer's has `Task.account`, and raises IssueError with what it must say; its
`withdraw` does nothing.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import weakref
from collections.abc import Collection
from typing import Protocol

from certs.dns01.command import Command
from certs.dns01.delegation import may_be_at, place_of, record_of
from certs.dns01.propagation import wait_until_seen
from certs.dns01.rfc2136 import Rfc2136
from certs.errors import IssueError
from certs.ports import Task
from certs.resolve import Resolver
from certs.settings import CertsSettings


class Provider(Protocol):
    """Changes TXT records. Names are absolute, in lower case, without a dot at the end.

    Both calls raise certs.errors.IssueError of the kind `solver`, can be cancelled, and may be made again. Calls for
    one name come one at a time.
    """

    async def set(self, name: str, value: str) -> None:
        """Have a TXT record with `value` at `name`, beside those that are there."""
        ...

    async def remove(self, name: str, value: str) -> None:
        """Have no TXT record with `value` at `name`; others stay. Quiet when there is none."""
        ...


class DnsSolver:
    """Answers challenges of the type dns-01 (RFC 8555 section 8.4)."""

    def __init__(
        self,
        provider: Provider,
        resolver: Resolver,
        *,
        zones: Collection[str] = (),
        propagation_s: float = 120.0,
        pause_s: float = 0.25,
    ) -> None:
        """A record has `propagation_s` to be seen everywhere; that is looked at every `pause_s`, then less often.

        `zones` are those that customers may delegate to.
        """
        self._provider = provider
        self._resolver = resolver
        self._zones = zones
        self._propagation_s = propagation_s
        self._pause_s = pause_s
        self._places: dict[tuple[str, str], str] = {}
        self._turns: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def present(self, task: Task) -> None:
        """Make the record and wait until it is seen. Raises certs.errors.IssueError; call `withdraw` then as well."""
        value = value_of(task)
        place = await place_of(task.name, self._resolver)
        if not may_be_at(place, task.name, self._zones):
            reason = f"CNAME {record_of(task.name)} leads to {place}, which is below no zone in certs.dns_delegation"
            raise IssueError("solver", reason, identifier=task.name)
        # Noted before it is made, for a call that is cancelled may still have made it.
        self._places[task.name, value] = place
        async with self._turn(place):
            await self._provider.set(place, value)
        await wait_until_seen(place, value, self._resolver, limit_s=self._propagation_s, pause_s=self._pause_s)

    async def withdraw(self, task: Task) -> None:
        """Remove the record of this challenge, and only that: a name and its wildcard have theirs in one place.

        After a restart the place is looked up again. Raises certs.errors.IssueError when the provider fails.
        """
        value = value_of(task)
        place = self._places.pop((task.name, value), None) or await place_of(task.name, self._resolver)
        if not may_be_at(place, task.name, self._zones):
            # Nothing was made there.
            return
        async with self._turn(place):
            await self._provider.remove(place, value)

    def _turn(self, place: str) -> asyncio.Lock:
        # Many domains may delegate to one name, and a hook that reads, changes and writes a zone must not run twice.
        return self._turns.setdefault(place, asyncio.Lock())


def value_of(task: Task) -> str:
    """What the TXT record has to say: the digest of the key authorization."""
    digest = hashlib.sha256(task.key_authorization.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def provider_of(settings: CertsSettings, resolver: Resolver) -> Provider | None:
    """The provider that the settings name, if any; updates before the command."""
    if settings.rfc2136 is not None:
        return Rfc2136(settings.rfc2136, resolver)
    return Command(settings.dns_command) if settings.dns_command else None


def solver_of(settings: CertsSettings, resolver: Resolver) -> DnsSolver | None:
    """What answers dns-01 by the settings; None when nothing here can."""
    provider = provider_of(settings, resolver)
    if provider is None:
        return None
    return DnsSolver(provider, resolver, zones=settings.dns_delegation, propagation_s=settings.dns_propagation_s)
