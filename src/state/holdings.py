"""What the data plane needs of certificates, keys included: never shown by the API, and kept on a shelf, not here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from rpds import HashTrieMap

from state.hosts import wildcard_of
from state.index import Index, reindexed

TOUCHED_LIMIT: Final = 4096


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate with its chain and its key, both in PEM (leaf first, key in PKCS #8), and the names it covers.

    `fingerprint` is the SHA-256 of the leaf in DER, in hexadecimal digits.
    """

    fingerprint: str
    names: tuple[str, ...]
    chain: bytes
    key: bytes

    def __repr__(self) -> str:
        """Nothing that a log must not hold."""
        return f"Bundle({self.fingerprint[:16]}, {', '.join(self.names)})"


class Holdings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at one revision.

    `bundles` go by the wanted name that they were obtained for, and `covered` lists those wanted names by each name
    that a certificate is for. `tokens` are the answers to HTTP-01: the key authorization by the token (RFC 8555 section
    8.3). `validations` are the certificates of TLS-ALPN-01 by the name that is validated (RFC 8737). `proved` are the
    tokens of ownership that were seen in DNS, by the name of the domain. `touched` are the names whose bundles or
    proofs changed of late, oldest first with their revisions; complete for those after `start`.
    """

    revision: int = 0
    bundles: HashTrieMap[str, Bundle] = HashTrieMap()
    covered: Index = HashTrieMap()
    tokens: HashTrieMap[str, str] = HashTrieMap()
    validations: HashTrieMap[str, Bundle] = HashTrieMap()
    proved: HashTrieMap[str, str] = HashTrieMap()
    start: int = 0
    touched: tuple[tuple[int, str], ...] = ()

    def covers(self, name: str) -> bool:
        """Whether some bundle is for `name`, or for all names beside it (RFC 9525 section 6.3)."""
        return name in self.covered or wildcard_of(name) in self.covered

    def touched_since(self, revision: int) -> frozenset[str] | None:
        """The names whose bundles or proofs changed after `revision`; None, for all, when that is too long ago."""
        if revision < self.start:
            return None
        first = len(self.touched)
        while first and self.touched[first - 1][0] > revision:
            first -= 1
        return frozenset(name for _, name in self.touched[first:])

    def with_bundle(self, name: str, bundle: Bundle | None) -> Holdings:
        """The next revision, with `bundle` for the wanted `name`, or none."""
        return self.with_bundles({name: bundle})

    def with_bundles(self, changes: Mapping[str, Bundle | None]) -> Holdings:
        """The next revision, with these bundles by wanted name, or none where it is None."""
        bundles, covered = self.bundles, self.covered
        for name, bundle in changes.items():
            covered = _recovered(covered, name, bundles.get(name), bundle)
            bundles = bundles.discard(name) if bundle is None else bundles.insert(name, bundle)
        return _touching(msgspec.structs.replace(self, bundles=bundles, covered=covered), changes)

    def with_proofs(self, tokens: Mapping[str, str]) -> Holdings:
        """The next revision, in which these tokens of ownership were seen, by the name of the domain."""
        proved = self.proved
        for name, token in tokens.items():
            proved = proved.insert(name, token)
        return _touching(msgspec.structs.replace(self, proved=proved), tokens)

    def with_token(self, token: str, answer: str | None) -> Holdings:
        """The next revision, with the `answer` to an HTTP-01 challenge, or none any more."""
        tokens = self.tokens.discard(token) if answer is None else self.tokens.insert(token, answer)
        return msgspec.structs.replace(self, revision=self.revision + 1, tokens=tokens)

    def with_validation(self, name: str, bundle: Bundle | None) -> Holdings:
        """The next revision, with the certificate that answers TLS-ALPN-01 for `name`, or none any more."""
        kept = self.validations.discard(name) if bundle is None else self.validations.insert(name, bundle)
        return msgspec.structs.replace(self, revision=self.revision + 1, validations=kept)


def _touching(holdings: Holdings, names: Iterable[str]) -> Holdings:
    """The next revision, in which something about these names is new."""
    revision = holdings.revision + 1
    touched = (*holdings.touched, *((revision, name) for name in names))
    gone, kept = touched[:-TOUCHED_LIMIT], touched[-TOUCHED_LIMIT:]
    start = gone[-1][0] if gone else holdings.start
    return msgspec.structs.replace(holdings, revision=revision, start=start, touched=kept)


def _recovered(covered: Index, name: str, old: Bundle | None, new: Bundle | None) -> Index:
    gone, come = (bundle.names if bundle else () for bundle in (old, new))
    if gone == come:
        return covered
    for each in gone:
        covered = reindexed(covered, (each, name), None)
    for each in come:
        covered = reindexed(covered, None, (each, name))
    return covered
