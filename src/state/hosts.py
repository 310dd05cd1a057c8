"""The syntax of host names: one spelling for each, or a reason why it is none."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

import idna

FALLBACK: Final = "*"
MAX_HOST: Final = 253  # RFC 1035 section 2.3.4, without the root's dot

# Underscores are no part of a hostname (RFC 1123 section 2.1), yet service names of containers and sites have them.
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")


def fold_route_host(text: str) -> str:
    """The host of a route: a name, an address, `*.suffix` or `*`. Raises ValueError with the reason.

    A dot at the end, which stands for the root, is dropped, as the mesh drops it from a Host field.
    """
    if text == FALLBACK:
        return text
    if not text.startswith("*."):
        return fold_host(text.removesuffix("."))
    suffix = fold_host(text[2:].removesuffix("."))
    if is_address(suffix):
        raise ValueError("has a wildcard before an address")
    if len(suffix) + 2 > MAX_HOST:
        raise ValueError(f"is longer than {MAX_HOST} characters")
    return f"*.{suffix}"


def fold_domain(text: str) -> str:
    """A name that a certificate can be for: of two labels or more, or `*.` before such a one, and no address.

    Underscores are refused, which no authority certifies (CA/Browser Forum baseline requirements, section 3.2.2.4).
    Raises ValueError with the reason.
    """
    name = fold_route_host(text)
    bare = name.removeprefix("*.")
    if name == FALLBACK or is_address(bare):
        raise ValueError("is no domain name")
    if "." not in bare:
        raise ValueError("has a single label")
    if "_" in bare:
        raise ValueError("has an underscore, which no certificate may have")
    return name


def fold_host(text: str) -> str:
    """A name in lower case and A-labels (UTS 46), or an address as RFC 5952 writes it, IPv6 in brackets.

    Raises ValueError with the reason when `text` is neither, or has a port or a trailing dot.
    """
    if not text:
        raise ValueError("is empty")
    if "://" in text:
        raise ValueError("is a URL; give the name only")
    if ":" in text or text.startswith("["):
        return _fold_ipv6(text)
    name = text.lower() if text.isascii() else _to_a_labels(text)
    _check_name(name)
    return name


def is_within(name: str, suffixes: Iterable[str]) -> bool:
    """Whether a folded name, or what a wildcard stands before, is one of `suffixes` or below one."""
    bare = name.removeprefix("*.")
    return any(bare == suffix or bare.endswith(f".{suffix}") for suffix in suffixes)


def wildcard_of(name: str) -> str:
    """The one wildcard whose certificate covers a folded name; that of a wildcard is itself.

    `*` stands for one label, the first (RFC 9525 section 6.3).
    """
    return f"*.{name.partition('.')[2]}"


def is_address(host: str) -> bool:
    """Whether a folded host is an IP address."""
    return host.startswith("[") or _ends_in_number(host)


def _fold_ipv6(text: str) -> str:
    inner = text.removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.IPv6Address(inner)
    except ValueError:
        raise ValueError("has a port, or is no IPv6 address") from None
    if address.scope_id is not None or len(text) - len(inner) == 1:
        raise ValueError("is no plain IPv6 address")
    return f"[{address.compressed}]"


def _to_a_labels(text: str) -> str:
    try:
        mapped = idna.uts46_remap(text, std3_rules=False)
        return ".".join(label if label.isascii() else idna.alabel(label).decode() for label in mapped.split("."))
    except (idna.IDNAError, UnicodeError) as error:
        raise ValueError(f"is no internationalized name: {error}") from None


def _check_name(name: str) -> None:
    if name.endswith("."):
        raise ValueError("ends in a dot")
    if len(name) > MAX_HOST:
        raise ValueError(f"is longer than {MAX_HOST} characters")
    for label in name.split("."):
        _check_label(label)
    if _ends_in_number(name):
        _check_ipv4(name)


def _check_label(label: str) -> None:
    if not label:
        raise ValueError("has an empty label")
    if len(label) > 63:
        raise ValueError("has a label longer than 63 characters")
    if not _LABEL.fullmatch(label):
        raise ValueError("has a label with more than letters, digits, `_` and inner hyphens")
    if label.startswith("xn--"):
        _check_a_label(label)


def _check_a_label(label: str) -> None:
    try:
        idna.ulabel(label)
    except (idna.IDNAError, UnicodeError) as error:
        raise ValueError(f"has an A-label that stands for no name: {error}") from None


def _ends_in_number(name: str) -> bool:
    # Resolvers read such a name as an IPv4 address in one of its old spellings (URL standard, "ends in a number").
    return _NUMBER.fullmatch(name.rpartition(".")[2]) is not None


def _check_ipv4(name: str) -> None:
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        raise ValueError("ends in a number but is no IPv4 address in four decimal parts") from None
