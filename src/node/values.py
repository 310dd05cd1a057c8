"""The kinds of value a setting may hold, each checked when it is made and able to say what it accepts."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal, Self, Union, get_args, get_origin
from urllib.parse import urlsplit

import msgspec

from state.hosts import fold_domain, fold_host, is_address

Count = Annotated[int, msgspec.Meta(ge=1, description="a whole number, 1 or more")]
Workers = Annotated[int, msgspec.Meta(ge=1, le=1024, description="a whole number from 1 to 1024")]
Streams = Annotated[int, msgspec.Meta(ge=1, le=1_000_000, description="a whole number from 1 to 1000000")]
Entries = Annotated[int, msgspec.Meta(ge=1, le=1_000_000, description="a whole number from 1 to 1000000")]
Size = Annotated[int, msgspec.Meta(ge=1, description="a whole number of bytes, 1 or more")]
Few = Annotated[int, msgspec.Meta(ge=1, le=256, description="a whole number from 1 to 256")]
Number = Annotated[int, msgspec.Meta(ge=0, description="a whole number, 0 or more")]
Port = Annotated[int, msgspec.Meta(ge=1, le=65_535, description="a port from 1 to 65535")]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=31_536_000, description="a number of seconds above 0")]
OptionalSeconds = Annotated[
    float, msgspec.Meta(ge=0, le=31_536_000, description="a number of seconds, or 0 for no limit")
]
Ratio = Annotated[float, msgspec.Meta(ge=0, le=1, description="a number from 0 to 1")]
Leeway = Annotated[float, msgspec.Meta(ge=0, le=60, description="a number of seconds from 0 to 60")]
Text = Annotated[str, msgspec.Meta(min_length=1, description="text that is not empty")]
Url = Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s/]+", description="an http:// or https:// address")]
SecureUrl = Annotated[str, msgspec.Meta(pattern=r"^https://[^\s/]+", description="an https:// address")]
Origin = Annotated[
    str, msgspec.Meta(pattern=r"^https?://[^\s/?#@]+$", description="an origin such as https://gui.example.com")
]

# RFC 5321 section 4.1.2, the part before the @, without quotes.
_MAIL_LOCAL: Final = re.compile(r"[A-Za-z0-9!#$&'*+/=^_`{|}~.-]+")

_PLAIN_KINDS: Final[Mapping[object, str]] = {bool: "true or false", str: "text", Path: "the path of a file or folder"}


class Address(str):
    """Where to listen: `HOST:PORT` or `[IPV6]:PORT`; port 0 lets the system choose."""

    __slots__ = ()
    ACCEPTS: ClassVar[str] = "HOST:PORT or [IPV6]:PORT, with a port from 0 to 65535"

    def __new__(cls, text: str) -> Self:
        """Raises ValueError when `text` is not an address."""
        host, colon, port = text.rpartition(":")
        bare = ":" not in host or (host.startswith("[") and host.endswith("]"))
        if not (host and colon and bare and port.isascii() and port.isdigit() and int(port) <= 65_535):
            raise ValueError(cls.ACCEPTS)
        if not _can_be_looked_up(host):
            raise ValueError(cls.ACCEPTS)
        return super().__new__(cls, text)

    @property
    def host(self) -> str:
        """The host without brackets."""
        return self.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port, 0 to 65535."""
        return int(self.rpartition(":")[2])

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on this machine can connect."""
        return is_loopback(self.host)


class Network(str):
    """A range of IP addresses in CIDR form; a single address is a range of one."""

    __slots__ = ()
    ACCEPTS: ClassVar[str] = "a network such as 10.0.0.0/8 or fd00::/8"

    def __new__(cls, text: str) -> Self:
        """Raises ValueError when `text` is not a network, or has bits set beyond its prefix."""
        return super().__new__(cls, str(ipaddress.ip_network(text)))


class Suffix(str):
    """The end of host names, folded to lower case: `zexio.internal` stands for every name below it."""

    __slots__ = ()
    ACCEPTS: ClassVar[str] = "a domain name such as zexio.internal"

    def __new__(cls, text: str) -> Self:
        """Raises ValueError when `text` is not a domain name."""
        return super().__new__(cls, fold_host(text.removeprefix("*").strip(".")))


class CertificateName(str):
    """A name that a certificate can be for, folded: `shop.example.com`, or `*.example.com`."""

    __slots__ = ()
    ACCEPTS: ClassVar[str] = "a domain name such as shop.example.com or *.example.com"

    def __new__(cls, text: str) -> Self:
        """Raises ValueError when no certificate can have the name."""
        return super().__new__(cls, fold_domain(text.removesuffix(".")))


class HostName(str):
    """A name in the DNS, folded and without a dot at its end."""

    __slots__ = ()
    ACCEPTS: ClassVar[str] = "a domain name such as edge.example.com"

    def __new__(cls, text: str) -> Self:
        """Raises ValueError when `text` is no name, or an address."""
        name = fold_host(text.removesuffix("."))
        if is_address(name):
            raise ValueError(cls.ACCEPTS)
        return super().__new__(cls, name)


class Place(str):
    """An IP address, IPv6 without brackets, or a range of them in CIDR form, in its short spelling."""

    __slots__ = ()
    ACCEPTS: ClassVar[str] = "an IP address such as 192.0.2.1 or 2001:db8::1, or a network such as 192.0.2.0/24"

    def __new__(cls, text: str) -> Self:
        """Raises ValueError when `text` is neither, or has bits set beyond its prefix."""
        return super().__new__(cls, str(ipaddress.ip_network(text) if "/" in text else ipaddress.ip_address(text)))


class NameServer(str):
    """A name server as `HOST:PORT` or `[IPV6]:PORT`; the port is 53 where `text` has none."""

    __slots__ = ()
    ACCEPTS: ClassVar[str] = "the address of a name server such as 192.0.2.53 or [2001:db8::53]:5353"

    def __new__(cls, text: str) -> Self:
        """Raises ValueError when `text` is no IP address, or has a port that no server can have."""
        host, port = _with_port(text, 53)
        address = ipaddress.ip_address(host)
        return super().__new__(cls, f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}")


class Contact(str):
    """A mail address as the URL that authorities want it to be (RFC 8555 section 7.1.2)."""

    __slots__ = ()
    ACCEPTS: ClassVar[str] = "a mail address such as ops@example.com"

    def __new__(cls, text: str) -> Self:
        """Raises ValueError when `text` is no mail address. One address to a URL, and nothing behind it."""
        address = text.removeprefix("mailto:")
        local, at, host = address.rpartition("@")
        if not at or not _MAIL_LOCAL.fullmatch(local) or "." not in (host := fold_host(host)):
            raise ValueError(cls.ACCEPTS)
        return super().__new__(cls, f"mailto:{local}@{host}")


class Secret(str):
    """Text that a printed settings value does not show."""

    __slots__ = ()
    ACCEPTS: ClassVar[str] = "text, kept secret"

    def __repr__(self) -> str:
        """Stars, whatever the text is."""
        return "'***'"


def is_loopback(host: str) -> bool:
    """Whether this name or address without brackets stands for this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_keys_url(url: str) -> None:
    """Raise ValueError unless `url` is https, or http to this machine: keys sent in the clear can be replaced.

    The reason does not repeat the URL, which may hold a password.
    """
    try:
        parts = urlsplit(url)
        has_place = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ValueError("the URL of a key set has a malformed host or port") from None
    if not has_place or parts.username is not None or parts.fragment:
        raise ValueError("the URL of a key set has a host, and neither user name nor fragment")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise ValueError("keys fetched over plain HTTP can be replaced on the way; give an https:// address")


def accepts(kind: object) -> str:
    """What a setting of this type takes, in words for an error message."""
    origin = get_origin(kind)
    if origin is Annotated:
        described = (getattr(meta, "description", None) for meta in get_args(kind)[1:])
        return next((str(text) for text in described if text), "text")
    if origin is Literal:
        return "one of " + ", ".join(f'"{choice}"' for choice in get_args(kind))
    if origin is tuple:
        return f"a list, each {accepts(get_args(kind)[0])}"
    if is_union(kind):
        return accepts(get_args(kind)[0])
    return str(getattr(kind, "ACCEPTS", None) or _PLAIN_KINDS.get(kind, "text"))


def convert(raw: object, kind: object, *, from_text: bool) -> object:
    """`raw` as a value of `kind`; raises ValueError (msgspec.ValidationError) when it is not one.

    With `from_text`, numbers and booleans may be spelled as text. A list may always be spelled as text with commas.
    """
    if get_origin(kind) is tuple and isinstance(raw, str):
        raw = [part.strip() for part in raw.split(",") if part.strip()]
    return msgspec.convert(raw, kind, strict=not from_text, dec_hook=_make)


def holds_secret(kind: object) -> bool:
    """Whether values of this type must not be repeated in a message."""
    return kind is Secret or (is_union(kind) and Secret in get_args(kind))


def is_union(kind: object) -> bool:
    """Whether this type is written `X | Y`."""
    return get_origin(kind) in {Union, type(int | str)}


def _make(kind: type, raw: object) -> object:
    if not isinstance(raw, str):
        raise TypeError(accepts(kind))
    # The one character that no file and no host can have; every system call would raise on it.
    if "\0" in raw:
        raise ValueError(accepts(kind))
    return kind(raw)


def _with_port(text: str, default: int) -> tuple[str, int]:
    if text.count(":") > 1 and not text.startswith("["):
        return text, default
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        return text.strip("[]"), default
    if not (port.isascii() and port.isdigit() and 0 < int(port) <= 65_535):
        raise ValueError(text)
    return host.strip("[]"), int(port)


def _can_be_looked_up(host: str) -> bool:
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return host.isprintable() and " " not in host
