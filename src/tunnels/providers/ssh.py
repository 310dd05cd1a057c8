"""A reverse forward of OpenSSH's to the operator's own server.

What is relied on here was measured with OpenSSH 9.2. Every failure ends it with status 255; what it says tells them
apart.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from state.hosts import fold_host
from state.refusal import Problem
from state.tunnels import TunnelSpec
from tunnels.providers.base import (
    NOTHING,
    URL_OPTION,
    Ending,
    File,
    Launch,
    Level,
    Line,
    LogProbe,
    Option,
    Place,
    Provider,
    Told,
    bare,
    check_port,
    environment,
    one_of,
    program,
    public_url,
    split_server,
)

INSTALL: Final = "install OpenSSH's client, 8.5 or newer (Debian: apt install openssh-client)"
PROGRAMS: Final = ("ssh",)
# The name under which the keys of the server are known: theirs counts and not the address that leads there.
_ALIAS: Final = "server"

_IS_OPENSSH: Final = "OPENSSH PRIVATE KEY"
_MAGIC: Final = b"openssh-key-v1\0"
_USER: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.@-]{0,127}")
_KEY_TYPES: Final = frozenset(
    {
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    }
)

_FORWARD: Final = re.compile(r"remote forward (success|failure) for: listen")
_DEBUG: Final = re.compile(r"debug[1-3]: ")
# ssh.c:ssh_confirm_remote_forward():1723 (pid=5):
_TAG: Final = re.compile(r"[a-z0-9_./-]+\.c:[a-z0-9_]+\(\):[0-9]+ \(pid=[0-9]+\): ")
_PERMANENT: Final = (
    (re.compile(r"Permission denied \("), "the server refuses the key: is it in its authorized_keys?"),
    (re.compile(r"Host key verification failed"), "the server has another host key than the one that was given"),
    (re.compile(r"Too many authentication failures"), "the server refuses the key: is it in its authorized_keys?"),
    (re.compile(r"Load key \S+: "), "ssh cannot read the private key"),
    (re.compile(r"Bad configuration option: "), f"ssh is too old; {INSTALL}"),
    (re.compile(r"Unable to negotiate with .*: no matching (.+?)\. "), "the server and ssh have no {} in common"),
)
_TRANSIENT: Final = (
    (
        re.compile(r"remote port forwarding failed for listen port"),
        "the server does not give the remote port: it is taken, or not permitted for the key (permitlisten)",
    ),
    (re.compile(r"Could not resolve hostname"), "the name of the server has no address now"),
    (re.compile(r"connect to host \S+ port [0-9]+: (.+)"), "the server is not reached: {}"),
    (re.compile(r"Timeout, server .* not responding"), "the server has stopped to answer"),
    (re.compile(r"(?:Connection|Connection to \S+) (?:closed|reset) by "), "the server closed the connection"),
    (re.compile(r"kex_exchange_identification: (.+)"), "the server closed the connection: {}"),
)
_EXITS: Final[Mapping[int, Ending]] = MappingProxyType({255: Ending(reason="ssh ended with an error")})


def check_key(token: str) -> None:
    """A private key without a passphrase; raises ValueError with a reason that shows nothing of it."""
    if _has_passphrase(token):
        raise ValueError("has a passphrase, and nobody is there to type it: give a key without one")
    load = serialization.load_ssh_private_key if _IS_OPENSSH in token else serialization.load_pem_private_key
    try:
        load(key_file(token), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("is no private key that OpenSSH reads (-----BEGIN OPENSSH PRIVATE KEY-----)") from None


def key_file(token: str) -> bytes:
    """A private key as ssh reads it: it wants the last line to have an end, and no other kind of ends."""
    return "".join(f"{line.strip()}\n" for line in token.strip().splitlines()).encode()


def host_keys(text: str) -> list[str]:
    """The keys as `type base64`, from lines of a known_hosts or a .pub file; raises ValueError with the reason."""
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise ValueError("is empty")
    return [_host_key(words) for words in lines]


def split_destination(value: str) -> tuple[str, str, int]:
    """User, host and port of `user@host[:port]`; raises ValueError with the reason."""
    user, at, rest = value.removeprefix("ssh://").rstrip("/").rpartition("@")
    if not at or not _USER.fullmatch(user):
        raise ValueError("must be user@host, with :port if it is not 22")
    host, port = split_server(rest, 22)
    return user, host, port


def identity(spec: TunnelSpec) -> str:
    """The port of the server: a second forward to it is refused there."""
    user, host, port = split_destination(spec.options["server"])
    return f"ssh:{user}@{host}:{port}/{_listen(spec)}"


def plan(spec: TunnelSpec, place: Place) -> Launch:
    """The spawn of ssh for a reverse forward."""
    user, host, port = split_destination(spec.options["server"])
    known = "".join(f"{_ALIAS} {key}\n" for key in host_keys(spec.options["host_key"]))
    forward = f"{_listen(spec)}:127.0.0.1:{place.local_port}"
    options = (word for name, value in _settings(place) for word in ("-o", f"{name}={value}"))
    return Launch(
        argv=(
            *(program(PROGRAMS, place), "-F", "none", "-N", "-T", *options),
            *(("-C",) if spec.options.get("compression") == "yes" else ()),
            *("-R", forward, "-l", user, "-p", str(port), "--", bare(host)),
        ),
        env=environment(place),
        files=(
            File(name="key", content=key_file(spec.token)),
            File(name="known_hosts", content=known.encode()),
        ),
        secrets=(spec.token,),
        edge=(LogProbe(),),
        read_line=read_line,
        exits=_EXITS,
        # It holds no requests of its own: what is under way is cut either way.
        grace_s=3.0,
        identity=identity(spec),
        url=public_url(spec),
    )


def read_line(text: str) -> Line:
    """A message, with what it means; the lines that `-v` would add are understood as well."""
    said = _TAG.sub("", _DEBUG.sub("", text))
    if match := _FORWARD.search(said):
        told = Told(edge=True, routing="yes") if match[1] == "success" else Told(edge=False, reason=_TRANSIENT[0][1])
        return Line(text=said, level="info", told=told)
    level: Level = "debug" if text.startswith("debug") else "info"
    for pattern, meaning in _PERMANENT:
        if match := pattern.search(said):
            return Line(text=said, level="error", told=Told(edge=False, permanent=meaning.format(*match.groups())))
    for pattern, meaning in _TRANSIENT:
        if match := pattern.search(said):
            return Line(text=said, level="warning", told=Told(edge=False, reason=meaning.format(*match.groups())))
    return Line(text=said, level=level, told=NOTHING)


def _has_passphrase(token: str) -> bool:
    if _IS_OPENSSH not in token:
        return "ENCRYPTED" in token
    body = "".join(line.strip() for line in token.splitlines() if "-----" not in line)
    try:
        blob = base64.b64decode(body, validate=True).removeprefix(_MAGIC)
    except binascii.Error:
        return False
    # What it is encrypted with comes first (PROTOCOL.key of OpenSSH).
    return blob[4 : 4 + int.from_bytes(blob[:4])] not in {b"", b"none"}


def _settings(place: Place) -> Iterator[tuple[str, str]]:
    yield from (
        ("BatchMode", "yes"),
        # Without it ssh stays, connected and of no use.
        ("ExitOnForwardFailure", "yes"),
        ("StrictHostKeyChecking", "yes"),
        ("UpdateHostKeys", "no"),
        ("CheckHostIP", "no"),
        ("HostKeyAlias", _ALIAS),
        ("UserKnownHostsFile", _quoted(place.path("known_hosts"))),
        ("GlobalKnownHostsFile", "/dev/null"),
        ("IdentityFile", _quoted(place.path("key"))),
        # No key but this one: neither of an agent's nor of somebody's home.
        ("IdentitiesOnly", "yes"),
        ("IdentityAgent", "none"),
        ("PreferredAuthentications", "publickey"),
        ("ForwardAgent", "no"),
        ("ControlMaster", "no"),
        ("ControlPath", "none"),
        # A server that is gone is noticed after half a minute; TCP alone takes hours.
        ("ServerAliveInterval", "15"),
        ("ServerAliveCountMax", "2"),
        ("ConnectTimeout", "10"),
        # The one line that says that the forward is there, without the others of -v that come with every connection.
        ("LogVerbose", "*:ssh_confirm_remote_forward():*"),
    )


def _quoted(path: str) -> str:
    # Otherwise a space begins another file, and `%` stands for something else (ssh_config(5), TOKENS).
    return '"{}"'.format(path.replace("%", "%%"))


def _listen(spec: TunnelSpec) -> str:
    return f"{_check_bind(spec.options.get('remote_bind') or '127.0.0.1')}:{spec.options['remote_port']}"


def _host_key(words: list[str]) -> str:
    for place, word in enumerate(words[:-1]):
        if word in _KEY_TYPES:
            _check_blob(word, words[place + 1])
            return f"{word} {words[place + 1]}"
    raise ValueError("has a line without a host key, as `ssh-keyscan` or the server's .pub file shows it")


def _check_blob(kind: str, text: str) -> None:
    try:
        blob = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("has a host key that is not all there") from None
    # RFC 4253 section 6.6: parts with their lengths before them, of which the first is the type.
    first, rest = None, blob
    while len(rest) >= 4:
        size = int.from_bytes(rest[:4])
        part, rest = rest[4 : 4 + size], rest[4 + size :] if len(rest) >= 4 + size else b"?"
        first = part if first is None else first
    if rest or first != kind.encode() or len(blob) < 32:
        raise ValueError("has a host key that is not all there")


def _check_bind(value: str) -> str:
    return value if value == "*" else fold_host(value)


def _problems(spec: TunnelSpec) -> Iterator[Problem]:
    if spec.options.get("remote_bind") == "*" and spec.hostname is None and not spec.options.get("url"):
        yield Problem("options.remote_bind", "opens the port to everybody: say the hostname by which they come")


PROVIDER: Final = Provider(
    name="ssh",
    title="OpenSSH",
    programs=lambda _: PROGRAMS,
    install=INSTALL,
    credential="required",
    check_token=check_key,
    options=MappingProxyType(
        {
            "server": Option(what="user@host of the server", check=split_destination, is_required=True),
            "host_key": Option(
                what="the server's host key, as `ssh-keyscan` shows it", check=host_keys, is_required=True
            ),
            "remote_port": Option(what="the port of the server to listen on", check=check_port, is_required=True),
            "remote_bind": Option(what="the address of the server to listen on", check=_check_bind),
            "compression": Option(what="whether to compress", check=one_of("yes", "no")),
            "url": URL_OPTION,
        }
    ),
    identity=identity,
    plan=plan,
    check_rest=_problems,
)
