"""The syntax of what policies hold: paths, networks, origins, statuses, certificates, password hashes."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509

from state.hosts import fold_host

MAX_HASH_MEMORY_KIB: Final = 256 * 1024
MAX_HASH_PASSES: Final = 16

_ORG_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
# RFC 3986 section 3.3: what a path is written with.
_PREFIX: Final = re.compile(r"/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*")
# A target may fold these into another path than the one that was matched.
_AMBIGUOUS: Final = re.compile(r"//|/\.{1,2}(?:/|;|$)|%(?:00|2e|2f|5c)", re.IGNORECASE)
_REQUEST_PATH: Final = re.compile(r"/[\x21\x22\x24-\x7e]*")
_VISIBLE: Final = re.compile(r"[\x21-\x7e]*")
_STATUSES: Final = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")
_ERROR_STATUS: Final = re.compile(r"[45](?:[0-9]{2}|xx)")
_PLACEHOLDER: Final = re.compile(r"\{(?:host|path|query)\}")
_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<star>\*\.)?(?P<host>\[[0-9a-f:.]+\]|[^:/?#@\[\]]+)(?P<port>:[0-9]{1,5})?"
)
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9!#$&^_.+-]+/(?:[a-z0-9!#$&^_.+-]+\*?|\*)")
_REALM: Final = re.compile(r"[ !#-\[\]-~]+")  # RFC 9110 section 5.6.4: what a quoted-string holds without escapes
_USER: Final = re.compile(r"[^\x00-\x1f\x7f:]+")  # RFC 7617 section 2
# The PHC string format, as argon2 writes it.
_PHC: Final = re.compile(
    r"\$argon2id\$v=19\$m=(?P<memory>[0-9]{1,7}),t=(?P<passes>[0-9]{1,4}),p=(?P<lanes>[0-9]{1,2})"
    r"\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}"
)

# What htpasswd, mkpasswd, openssl passwd and LDAP make: crypt(5) schemes but for argon2id, and RFC 2307.
_FOREIGN_HASH: Final = re.compile(
    r"\$(?:1|2[abxy]?|5|6|7|y|gy|md5|sha1|apr1|argon2[di]|scrypt|bcrypt(?:-sha256)?|pbkdf2[a-z0-9-]*)\$"
    r"|\{(?:S?SHA(?:256|384|512)?|S?MD5|CRYPT)\}",
    re.IGNORECASE,
)


def check_org_id(org_id: str) -> str:
    """`org_id` if it can name an organization; raises ValueError with the reason."""
    if not _ORG_ID.fullmatch(org_id):
        raise ValueError("must be 1 to 128 letters, digits, `_`, `.`, `:` or `-`, with a letter or a digit first")
    return org_id


def check_path_prefix(prefix: str) -> str:
    """`prefix` if it has one reading only; raises ValueError with the reason."""
    if not _PREFIX.fullmatch(prefix):
        raise ValueError("must begin with a slash and be written as the path of a URL, without a query")
    if _AMBIGUOUS.search(prefix):
        raise ValueError("has a dot segment, an empty segment or an encoded separator")
    return prefix


def check_request_path(path: str) -> str:
    """`path`, with a query if need be, as a request line carries it; raises ValueError with the reason."""
    if not _REQUEST_PATH.fullmatch(path):
        raise ValueError("must begin with a slash, in visible ASCII characters")
    return path


def fold_authority(text: str) -> str:
    """A host with or without a port, or nothing; raises ValueError with the reason."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        return fold_host(text) if text else text
    if ":" in host and not host.startswith("["):
        raise ValueError("has an IPv6 address without brackets")
    if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65_535):
        raise ValueError("has a port outside 1 to 65535")
    return f"{fold_host(host)}:{int(port)}"


def fold_name(text: str) -> str:
    """A host name or address, or nothing; raises ValueError with the reason."""
    return fold_host(text) if text else text


def fold_covered_name(text: str) -> str:
    """A name or a wildcard that a certificate may cover, or nothing; raises ValueError with the reason."""
    return f"*.{fold_host(text[2:])}" if text.startswith("*.") else fold_name(text)


def fold_statuses(text: str) -> str:
    """`204`, or a range such as `200-399`; raises ValueError with the reason."""
    low, high = status_range(text)
    return str(low) if low == high else f"{low}-{high}"


def status_range(text: str) -> tuple[int, int]:
    """Both ends of what `fold_statuses` accepts; raises ValueError with the reason."""
    found = _STATUSES.fullmatch(text)
    low, high = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if low > high:
        raise ValueError("must be a status such as 204 or a range such as 200-399")
    return low, high


def check_error_status(text: str) -> str:
    """`502`, or `5xx` for all that begin so; raises ValueError with the reason."""
    if not _ERROR_STATUS.fullmatch(text):
        raise ValueError("must be a status from 400 to 599, 4xx or 5xx")
    return text


def fold_network(text: str) -> str:
    """A network in CIDR form; a single address is one of its own. Raises ValueError with the reason."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise ValueError("must be a network such as 10.0.0.0/8 or fd00::/8, without bits beyond its prefix") from None


def fold_origin(text: str) -> str:
    """The origin of a page, `https://*.example.com` for all below, or `*`; raises ValueError with the reason."""
    if text == "*":
        return text
    found = _ORIGIN.fullmatch(text.lower())
    if found is None:
        raise ValueError("must be an origin such as https://app.example.com, or *")
    try:
        host = fold_host(found["host"])
    except ValueError as reason:
        raise ValueError(f"has a host that {reason}") from None
    return f"{found['scheme']}://{found['star'] or ''}{host}{found['port'] or ''}"


def check_url(url: str) -> str:
    """`url` if it is one that can be asked over HTTP; raises ValueError with the reason."""
    try:
        parts = urlsplit(url)
        fold_host(parts.hostname or "")
        is_usable = parts.scheme in {"http", "https"} and parts.port != 0 and _VISIBLE.fullmatch(url) is not None
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ValueError("must be an http:// or https:// address")
    if "@" in url.partition("//")[2].partition("/")[0] or "#" in url:
        raise ValueError("has a user name or a fragment")
    return url


def check_redirect(to: str) -> str:
    """`to` if a Location can be made of it; raises ValueError with the reason."""
    plain = _PLACEHOLDER.sub("", to)
    if not _VISIBLE.fullmatch(plain) or not to.startswith(("http://", "https://", "/")):
        raise ValueError("must begin with https://, http:// or /, in visible ASCII characters")
    if "{" in plain or "}" in plain:
        raise ValueError("has a brace that begins neither {host} nor {path} nor {query}")
    return to


def fold_media_type(text: str) -> str:
    """`application/json`, or `text/*`; raises ValueError with the reason."""
    if not _MEDIA_TYPE.fullmatch(text.lower()):
        raise ValueError("must be a media type such as application/json, or text/*")
    return text.lower()


def check_realm(text: str) -> str:
    """`text` if it can stand in quotes; raises ValueError with the reason."""
    if not _REALM.fullmatch(text):
        raise ValueError("must be ASCII text without quotes and backslashes")
    return text


def check_user(name: str) -> str:
    """`name` if basic authentication can carry it; raises ValueError with the reason."""
    if not _USER.fullmatch(name):
        raise ValueError("must have no colon and no control character")
    return name


def check_password_hash(text: str) -> str:
    """`text` if it is an argon2id hash that does not cost too much to check; raises ValueError with the reason."""
    found = _PHC.fullmatch(text)
    if found is None:
        raise ValueError("must be an argon2id hash in PHC form")
    # Whoever may ask for the page may make a worker compute it.
    if int(found["memory"]) > MAX_HASH_MEMORY_KIB or not 1 <= int(found["passes"]) <= MAX_HASH_PASSES:
        raise ValueError(f"is a hash that takes more than {MAX_HASH_MEMORY_KIB} KiB or {MAX_HASH_PASSES} passes")
    if not 1 <= int(found["lanes"]) <= MAX_HASH_PASSES or int(found["memory"]) < 8 * int(found["lanes"]):
        raise ValueError("is a hash with lanes that do not fit its memory")
    return text


def check_password(text: str) -> str:
    """`text` if it is a password or an argon2id hash; raises ValueError for what other programs make of passwords."""
    found = _FOREIGN_HASH.match(text)
    if found is not None:
        raise ValueError(f"must be the password itself or its argon2id hash, not a hash of another kind ({found[0]})")
    return text


def check_certificates(pem: str) -> str:
    """`pem` if it holds certificates and nothing secret, or nothing at all; raises ValueError with the reason."""
    if not pem:
        return pem
    if "PRIVATE KEY" in pem:
        raise ValueError("has a private key; give certificates only")
    try:
        x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        raise ValueError("must be certificates in PEM form") from None
    return pem
