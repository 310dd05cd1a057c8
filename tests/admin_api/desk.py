"""A desk for tests of the admin API: it remembers what it is asked, and has the certificates that it is given."""

from __future__ import annotations

from collections.abc import Sequence

from state.holdings import Bundle
from state.ports import Advice, RevocationReason
from state.refusal import refused


class Desk:
    """Implements state.ports.CertificateDesk, for names that are in `bundles`."""

    def __init__(self) -> None:
        """With no certificates, and nothing to say of any name."""
        self.bundles: dict[str, Bundle] = {}
        self.advice: tuple[Advice, ...] = ()
        self.asked: list[tuple[str, ...]] = []

    async def renew(self, name: str) -> None:
        """As in state.ports.CertificateDesk."""
        self._find(name)
        self.asked.append(("renew", name))

    async def revoke(self, name: str, reason: RevocationReason) -> None:
        """As in state.ports.CertificateDesk."""
        self._find(name)
        self.asked.append(("revoke", name, reason))

    async def import_pem(self, pem: bytes) -> str:
        """As in state.ports.CertificateDesk; what has no key is refused."""
        if b"PRIVATE KEY" not in pem:
            raise refused("invalid", "pem", "must hold a chain of certificates, leaf first, and one private key")
        self.asked.append(("import",))
        return next(iter(self.bundles))

    async def remove(self, name: str) -> None:
        """As in state.ports.CertificateDesk."""
        self._find(name)
        self.asked.append(("remove", name))

    async def export_pem(self, name: str, *, with_key: bool) -> bytes:
        """As in state.ports.CertificateDesk."""
        bundle = self._find(name)
        return bundle.chain + bundle.key if with_key else bundle.chain

    async def root_pem(self) -> bytes:
        """As in state.ports.CertificateDesk."""
        return b"the root"

    async def check(self, name: str) -> Sequence[Advice]:
        """As in state.ports.CertificateDesk."""
        self.asked.append(("check", name))
        return self.advice

    def _find(self, name: str) -> Bundle:
        if name not in self.bundles:
            raise refused("missing", "name", "has no certificate here")
        return self.bundles[name]
