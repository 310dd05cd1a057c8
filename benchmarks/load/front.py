"""What every peer is asked to present: two ports, one certificate, and the sites with their origins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec


class Front(msgspec.Struct, frozen=True, kw_only=True):
    """`port` is for plain HTTP, `tls_port` for TLS with the chain and key in `pem`; `sites` name each origin's port.

    `second` is the port of another origin of the first site: requests are spread over both, and one that a target does
    not answer is tried with the other.
    """

    port: int
    tls_port: int
    pem: Path
    sites: Mapping[str, int]
    second: int = 0
    workers: int = 1
