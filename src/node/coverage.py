"""Which names have a certificate, from files and from holdings, and for which of them that has changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mesh.routes import Certificate
from state.holdings import Bundle, Holdings
from state.hosts import wildcard_of
from state.index import members
from state.model import Desired


class Coverage:
    """The certificates that the data plane is given: those of `files`, and the bundles of `holdings`."""

    def __init__(self, files: tuple[Certificate, ...], holdings: Holdings) -> None:
        """Looks at the certificates of files once, and at no bundle."""
        self.files = files
        self.holdings = holdings
        self._names = frozenset(name for certificate in files for name in certificate.names)
        self._fingerprints = frozenset(certificate.fingerprint for certificate in files)

    def covers(self, name: str) -> bool:
        """Whether a certificate is good for `name`, which may be a wildcard itself: `*` stands for one label."""
        return name in self._names or wildcard_of(name) in self._names or self.holdings.covers(name)

    def has(self, fingerprint: str, names: Iterable[str]) -> bool:
        """Whether this very certificate, which has these names, is there."""
        if fingerprint in self._fingerprints:
            return True
        wanted = (other for name in names for other in members(self.holdings.covered, name))
        return any(self.holdings.bundles[other].fingerprint == fingerprint for other in wanted)

    def certificates(self) -> tuple[Certificate, ...]:
        """All of them, each once."""
        found = {certificate.fingerprint: certificate for certificate in self.files}
        for bundle in self.holdings.bundles.values():
            found.setdefault(bundle.fingerprint, certificate_of(bundle))
        return tuple(found.values())


class Turn:
    """The difference between two coverages; the work is that of what was touched between them."""

    def __init__(self, now: Coverage, before: Coverage) -> None:
        """Compare two coverages, `before` the older one."""
        self._now = now
        self._before = before
        touched = _touched(now.holdings, before.holdings)
        self._come = _certificates(now, before, touched)
        self._gone = _certificates(before, now, touched)

    def put(self) -> tuple[Certificate, ...]:
        """The certificates that are new."""
        return tuple(self._come.values())

    def removed(self) -> tuple[str, ...]:
        """The fingerprints of those that are gone."""
        return tuple(sorted(self._gone))

    def domains(self, desired: Desired) -> Iterator[str]:
        """The domains that have a certificate now and had none before, or the other way about."""
        candidates = {name for each in (*self._come.values(), *self._gone.values()) for name in each.names}
        for name in candidates:
            if self._now.covers(name) == self._before.covers(name):
                continue
            yield from (host for host in _covered_by(name, desired) if self._is_turned(host))

    def _is_turned(self, host: str) -> bool:
        return self._now.covers(host) != self._before.covers(host)


def certificate_of(bundle: Bundle) -> Certificate:
    """A bundle as the data plane knows it."""
    return Certificate(fingerprint=bundle.fingerprint, names=bundle.names, chain=bundle.chain, key=bundle.key)


def newly_proved(now: Holdings, before: Holdings) -> frozenset[str]:
    """The domains for which another proof of ownership is known than before."""
    if now.proved is before.proved:
        return frozenset()
    touched = now.touched_since(before.revision)
    names = {*now.proved, *before.proved} if touched is None else touched
    return frozenset(name for name in names if now.proved.get(name) != before.proved.get(name))


def _covered_by(name: str, desired: Desired) -> Iterator[str]:
    """The domains that a certificate with `name` is good for."""
    if name in desired.domains:
        yield name
    if name.startswith("*."):
        # Wildcards come and go with their domain, so that this walk over all of them is rare.
        yield from (domain for domain in desired.domains if wildcard_of(domain) == name and domain != name)


def _touched(now: Holdings, before: Holdings) -> Iterable[str]:
    """The wanted names whose bundles may differ."""
    touched = now.touched_since(before.revision)
    return {*now.bundles, *before.bundles} if touched is None else touched


def _certificates(these: Coverage, others: Coverage, touched: Iterable[str]) -> dict[str, Certificate]:
    """What `these` have and `others` do not, by fingerprint."""
    bundles = (these.holdings.bundles.get(name) for name in touched)
    files = these.files if these.files != others.files else ()
    candidates = [*files, *(certificate_of(bundle) for bundle in bundles if bundle is not None)]
    return {each.fingerprint: each for each in candidates if not others.has(each.fingerprint, each.names)}
