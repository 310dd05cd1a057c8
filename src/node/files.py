"""What settings name by the path of a file, and the data plane is given by content: certificates, the error page."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

import msgspec

from mesh.routes import Certificate
from node import certificates
from node.settings import CannotStart, Settings
from state.hosts import wildcard_of

MAX_PAGE_BYTES: Final = 256 * 1024


class Files(msgspec.Struct, frozen=True, kw_only=True):
    """What the files held when they were read."""

    certificates: tuple[Certificate, ...] = ()
    error_page: str = ""


def read_files(settings: Settings) -> Files:
    """What the files hold now; raises CannotStart, which names the setting and the file."""
    try:
        found = certificates.load(settings.tls.certificates)
    except (OSError, ValueError) as error:
        raise CannotStart(f"tls.certificates: {_reason(error)}") from None
    _check_default(settings.tls.default, [*(each.names for each in found), settings.certs.names])
    return Files(certificates=found, error_page=_page(settings.mesh.error_page))


def _page(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        page = path.read_bytes()
        if len(page) > MAX_PAGE_BYTES:
            raise CannotStart(f"mesh.error_page: {path} is larger than {MAX_PAGE_BYTES} bytes")
        return page.decode()
    except OSError as error:
        raise CannotStart(f"mesh.error_page: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CannotStart(f"mesh.error_page: {path} is no text in UTF-8") from None


def _check_default(name: str | None, names: Iterable[Collection[str]]) -> None:
    # Visitors would get no certificate at all, and nobody would know why.
    if name is not None and not any(_covers(each, name.lower()) for each in names):
        raise CannotStart(f"tls.default: {name} is in no certificate of tls.certificates, and not in certs.names")


def _covers(names: Collection[str], name: str) -> bool:
    return name in names or wildcard_of(name) in names


def _reason(error: Exception) -> str:
    named = isinstance(error, OSError) and error.filename
    return f"{named} cannot be read: {error.strerror}" if named and isinstance(error, OSError) else str(error)
