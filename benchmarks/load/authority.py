"""The authority of the benchmark, pebble on the load core: which node asks it, and what it saw."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.load.zexio import Shape
from tests.support.pebble import Pebble

PROGRAMS = ("pebble", "pebble-challtestsrv")


def is_installed() -> bool:
    """Whether there is one here."""
    return all(shutil.which(program) for program in PROGRAMS)


def asking(authority: Pebble, folder: Path, orders_per_3h: int, *, name: str, workers: int) -> Shape:
    """A node that asks this authority for certificates, for so many orders at most; its settings are in `folder`."""
    issuer = folder / "pebble.toml"
    lines = (
        'name = "pebble"',
        f'directory = "{authority.directory}"',
        f'roots = "{authority.ca_file}"',
        f"orders_per_3h = {orders_per_3h}",
    )
    issuer.write_text("\n".join(lines) + "\n")
    environ = {"ZEXIO_CERTS_ISSUERS": str(issuer), "ZEXIO_CERTS_RESOLVERS": authority.dns.address}
    return Shape(name=name, workers=workers, environ=environ)


def orders(authority: Pebble) -> int:
    """How many orders were made."""
    return authority.count("order-plz")


def checks(authority: Pebble) -> int:
    """How many requests it sent to look at answers to challenges."""
    return authority.log.count("Attempting to validate w/ HTTP")
