"""What the settings come to for whoever obtains certificates, with what their files hold, read and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from certs.settings import CertsSettings, Rfc2136Spec
from node.data import named
from node.issuer_files import read_issuers
from node.settings import CertsSection, Settings, answerable
from state.private_files import read_private, read_secret

# Below it are the names of programs on a machine (RFC 6761 section 6.3), whatever else is internal here.
_LOCALHOST: Final = "localhost"


def certs_settings(settings: Settings) -> CertsSettings:
    """The settings of certificates; raises CannotStart, which names the setting and the file that is unfit."""
    certs = settings.certs
    return CertsSettings(
        issuers=read_issuers(certs),
        challenges=answerable(settings),
        key_type=certs.key_type,
        names=tuple(dict.fromkeys(map(str, certs.names))),
        preflight=certs.preflight,
        ownership=certs.ownership,
        resolvers=tuple(map(str, certs.resolvers)),
        public_addresses=tuple(map(str, certs.public_addresses)),
        public_name=None if certs.public_name is None else str(certs.public_name),
        rfc2136=_rfc2136(certs),
        dns_command=certs.dns_command,
        dns_delegation=tuple(map(str, certs.dns_delegation)),
        dns_propagation_s=certs.dns_propagation_s,
        on_demand=certs.on_demand,
        ask_url=certs.ask_url,
        internal_suffixes=internal_suffixes(settings),
        parallel=certs.parallel,
        order_timeout_s=certs.order_timeout_s,
        max_orders_per_name_week=certs.max_orders_per_name_week,
        warn_url=certs.warn_url,
        warn_secret=_warn_secret(certs.warn_secret_file),
    )


def internal_suffixes(settings: Settings) -> tuple[str, ...]:
    """The suffixes below which no authority is asked for certificates."""
    return tuple(dict.fromkeys((*map(str, settings.mesh.internal_suffixes), _LOCALHOST)))


def _rfc2136(certs: CertsSection) -> Rfc2136Spec | None:
    if certs.rfc2136_server is None:
        return None
    if certs.rfc2136_key_file is not None:
        # Read again where it is used; here only so that a file that others can read is refused at once.
        with named("certs.rfc2136_key_file"):
            read_private(certs.rfc2136_key_file)
    zone = None if certs.rfc2136_zone is None else str(certs.rfc2136_zone)
    return Rfc2136Spec(server=str(certs.rfc2136_server), key_file=certs.rfc2136_key_file, zone=zone)


def _warn_secret(path: Path | None) -> str | None:
    if path is None:
        return None
    with named("certs.warn_secret_file"):
        return read_secret(path)
