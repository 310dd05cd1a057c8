"""Issuers of certificates by a well-known name, by the address of an ACME directory, or by a file that says more."""

from __future__ import annotations

import base64
import binascii
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, get_type_hints

import msgspec
from cryptography import x509

from certs.settings import ISSUERS, IssuerSpec
from node.data import named
from node.settings import CannotStart, CertsSection
from node.sources import nearest
from node.values import Contact, Count, SecureUrl, Text, accepts, convert
from state.private_files import read_secret

_SETTING: Final = "certs.issuers"
_MAX_BYTES: Final = 1024 * 1024
# These open no account without a key that was agreed upon before (RFC 8555 section 7.3.4).
_BOUND: Final = frozenset({"zerossl", "google"})
_KNOWN: Final[Mapping[str, IssuerSpec]] = MappingProxyType({spec.directory: spec for spec in ISSUERS.values()})


class IssuerFile(msgspec.Struct, frozen=True, kw_only=True):
    """What an issuer file may say. `directory` and `staging` are https addresses; a well-known name brings both.

    Paths are below the folder of the file unless they are whole.
    """

    directory: Text
    name: Text | None = None
    staging: SecureUrl | None = None
    contact: tuple[Contact, ...] | None = None
    accept_terms: bool | None = None
    eab_kid: Text | None = None
    eab_hmac_file: Path | None = None
    roots: Path | None = None
    profile: Text | None = None
    chain: Text | None = None
    orders_per_3h: Count | None = None
    certificates_per_domain_week: Count | None = None


def read_issuers(certs: CertsSection) -> tuple[IssuerSpec, ...]:
    """What `certs.issuers` names, in order; raises CannotStart, which says which of them is unfit, and why."""
    specs = tuple(_read(text, certs) for text in certs.issuers)
    seen: set[str] = set()
    for spec in specs:
        if spec.name in seen:
            raise _unfit(spec.name, "two issuers go by this name; give one of them another in its file")
        seen.add(spec.name)
    return specs


def _read(text: str, certs: CertsSection) -> IssuerSpec:
    if text in ISSUERS:
        spec = ISSUERS[text]
    elif "://" in text:
        spec = _by_address(text)
    else:
        return _checked(_from_file(Path(text), certs), text)
    return _checked(_under(spec, certs.contact, accept_terms=certs.accept_terms), text)


def _under(spec: IssuerSpec, contact: tuple[str, ...], *, accept_terms: bool) -> IssuerSpec:
    return msgspec.structs.replace(spec, contact=tuple(map(str, contact)), accept_terms=accept_terms)


def _checked(spec: IssuerSpec, text: str) -> IssuerSpec:
    known = _KNOWN.get(spec.directory)
    if known is not None and known.name in _BOUND and spec.eab_kid is None:
        advice = f'give the path of a file with directory = "{known.name}", eab_kid and eab_hmac_file'
        raise _unfit(text, f"{known.name} opens no account without a key of theirs; {advice}")
    return spec


def _by_address(text: str) -> IssuerSpec:
    try:
        convert(text, SecureUrl, from_text=True)
    except ValueError:
        raise _unfit(text, f"this is not accepted; give {accepts(SecureUrl)}") from None
    return _KNOWN.get(text) or IssuerSpec(name=text.removeprefix("https://").partition("/")[0], directory=text)


def _from_file(path: Path, certs: CertsSection) -> IssuerSpec:
    said = _parse(path)
    known = ISSUERS.get(said.directory)
    base = known or _by_address(said.directory)
    spec = _under(
        base,
        certs.contact if said.contact is None else said.contact,
        accept_terms=certs.accept_terms if said.accept_terms is None else said.accept_terms,
    )
    name = said.name or (known.name if known else path.stem)
    return msgspec.structs.replace(spec, name=str(name), **dict(_choices(path, said)), **_binding(path, said))


def _choices(path: Path, said: IssuerFile) -> Iterator[tuple[str, object]]:
    """What the file says itself, beyond who the issuer is."""
    for key in ("staging", "profile", "chain", "orders_per_3h", "certificates_per_domain_week"):
        value = getattr(said, key)
        if value is not None:
            yield key, value
    if said.roots is not None:
        yield "roots", _checked_roots(path.parent / said.roots)


def _binding(path: Path, said: IssuerFile) -> dict[str, str]:
    """The key that binds the account, from a file of its own that only its owner can read."""
    if said.eab_kid is None and said.eab_hmac_file is None:
        return {}
    if said.eab_kid is None or said.eab_hmac_file is None:
        raise _unfit(str(path), "eab_kid and eab_hmac_file go together")
    secret = path.parent / said.eab_hmac_file
    with named(_SETTING):
        text = read_secret(secret)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise _unfit(str(secret), "the key is not base64url, as the authority shows it")
    return {"eab_kid": said.eab_kid, "eab_hmac": text.rstrip("=")}


def _checked_roots(path: Path) -> Path:
    try:
        x509.load_pem_x509_certificates(_content(path))
    except ValueError:
        raise _unfit(str(path), "the file holds no certificate in PEM form") from None
    return path


def _parse(path: Path) -> IssuerFile:
    if not path.exists():
        raise _no_such(path)
    try:
        document = tomllib.loads(_content(path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _unfit(str(path), f"the file is not TOML: {error}") from None
    kinds = get_type_hints(IssuerFile, include_extras=True)
    return IssuerFile(**dict(_values(path, document, kinds)))


def _values(path: Path, document: Mapping[str, object], kinds: Mapping[str, object]) -> Iterator[tuple[str, Any]]:
    for key, raw in document.items():
        if key not in kinds:
            raise _unfit(f"{path}: {key}", f"there is no such key; the nearest is {nearest(key, kinds)}")
        try:
            yield key, convert(raw, kinds[key], from_text=False)
        except ValueError:
            raise _unfit(f"{path}: {key}", f"{raw!r} is not accepted; give {accepts(kinds[key])}") from None
    if "directory" not in document:
        raise _unfit(str(path), f"the directory is missing; give {accepts(SecureUrl)} or one of {_names(ISSUERS)}")


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise _unfit(str(path), f"the file cannot be read: {error.strerror}") from None
    if len(content) > _MAX_BYTES:
        raise _unfit(str(path), "the file is too long")
    return content


def _no_such(path: Path) -> CannotStart:
    known = nearest(str(path), ISSUERS)
    return _unfit(str(path), f"there is no such file, and no such issuer; of {_names(ISSUERS)}, the nearest is {known}")


def _unfit(where: str, reason: str) -> CannotStart:
    return CannotStart(f"{_SETTING}: {where}: {reason}")


def _names(names: Iterable[str]) -> str:
    return ", ".join(names)
