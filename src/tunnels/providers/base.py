"""What a provider is: from a spec to the program that is started, and from what that says to what is true."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from state.hosts import fold_host, is_address
from state.refusal import Problem
from state.tunnels import TunnelProvider, TunnelSpec

Level = Literal["debug", "info", "warning", "error"]
RoutingAnswer = Literal["yes", "no", "unknown"]
Credential = Literal["required", "optional", "none"]

# A shorter secret stands in too many places where it is none, and cannot be taken out of what a program says.
LEAST_SECRET: Final = 8

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PRINTABLE: Final = re.compile(r"[\x20-\x7e]+")


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a line of output or a page of the program tells; None, and "" of a detail, is nothing of that.

    `edge`: whether it is connected to its provider. `permanent`: why no new start can help. `reason`: why it is not
    connected, in plain words. `routing`: whether the provider sends requests to the tunnel's local port.
    """

    edge: bool | None = None
    url: str | None = None
    routing: RoutingAnswer | None = None
    routing_detail: str = ""
    latency_ms: float | None = None
    permanent: str | None = None
    reason: str | None = None


NOTHING: Final = Told()


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line of output without its time and level, and what it tells."""

    text: str
    level: Level = "info"
    told: Told = NOTHING


class PageProbe(msgspec.Struct, frozen=True, kw_only=True):
    """GET a page of the program's own and read its status and body; no answer within `timeout_s` is none."""

    url: str
    read: Callable[[int, bytes], Told]
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    timeout_s: float = 2.0


class FileProbe(msgspec.Struct, frozen=True, kw_only=True):
    """Connected as long as a file is there that was written after the program was started."""

    path: str


class LogProbe(msgspec.Struct, frozen=True, kw_only=True):
    """Connected or not as the last line said that told anything of it; not, until one did."""


class CommandProbe(msgspec.Struct, frozen=True, kw_only=True):
    """Connected while a command ends with status 0 within `timeout_s`; its environment is that of the program."""

    argv: tuple[str, ...]
    timeout_s: float = 5.0


Probe: TypeAlias = PageProbe | FileProbe | LogProbe | CommandProbe


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file in the private folder of the tunnel, to be made with mode 0600 before each spawn and removed after it."""

    name: str
    content: bytes

    def __repr__(self) -> str:
        """Its name only: it may be a key."""
        return f"File({self.name!r})"


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """What the end of a program means."""

    reason: str
    is_permanent: bool = False


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where one spawn of a program lives.

    `folder` is the tunnel's private one (mode 0700), empty before each spawn; `metrics_port` a port of loopback that is
    free for the program's own pages; `local_port` where requests arrive; `programs` the absolute paths of those
    that were found, by name; `nonce` a new random text of letters and digits, for a page that has a password.
    """

    folder: str
    metrics_port: int
    local_port: int
    programs: Mapping[str, str]
    nonce: str

    def path(self, name: str) -> str:
        """Of a file in the folder."""
        return f"{self.folder}/{name}"

    def page(self, path: str) -> str:
        """The URL of a page of the program's own."""
        return f"http://127.0.0.1:{self.metrics_port}{path}"


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """One spawn of a program, and how to judge it.

    It is connected while every one of `edge` says so (with none of them: while it runs), from the first time on that
    they do. `pages` are asked along for what else they tell: their silence means nothing, but an `edge` of False there
    is a veto. `exits` says what a status means, by its number. `env` is the whole environment. `secrets` must not be
    seen in any output. After `url` was learnt, `visit_s` is how long to wait at most until it answers before it is
    shown to people; a name that has just been made takes a while to be known.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    files: tuple[File, ...] = ()
    secrets: tuple[str, ...] = ()
    edge: tuple[Probe, ...] = ()
    pages: tuple[PageProbe, ...] = ()
    read_line: Callable[[str], Line]
    exits: Mapping[int, Ending] = msgspec.field(default_factory=dict)
    grace_s: float = 10.0
    identity: str
    url: str | None = None
    visit_s: float = 0.0

    def __repr__(self) -> str:
        """Nothing that a log must not hold."""
        return f"Launch({self.identity!r})"


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """One option of a provider: what it is for, in a phrase, and the check of a value, which raises ValueError."""

    what: str
    check: Callable[[str], object]
    is_required: bool = False


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """A provider as data.

    `programs` gives the names (or the absolute path) of programs of which any one will do, the best first; `install`
    says how to get one. `check_token` raises ValueError with a reason that does not show the token. `identity` names
    what must not be connected twice; it is safe to show. `check_rest` finds what is wrong between the fields.
    """

    name: TunnelProvider
    title: str
    programs: Callable[[TunnelSpec], tuple[str, ...]]
    install: str
    credential: Credential
    check_token: Callable[[str], object]
    options: Mapping[str, Option]
    identity: Callable[[TunnelSpec], str]
    plan: Callable[[TunnelSpec, Place], Launch]
    check_rest: Callable[[TunnelSpec], Iterable[Problem]] = lambda _: ()

    def problems(self, spec: TunnelSpec) -> tuple[Problem, ...]:
        """Everything that is wrong with a spec, before anything is started; none of it shows a secret."""
        found = (*self._problems_of_token(spec), *self._problems_of_options(spec))
        return found or tuple(self.check_rest(spec))

    def missing(self, spec: TunnelSpec) -> str:
        """What to say when none of the programs is there."""
        return f"{' or '.join(self.programs(spec))} is not installed: {self.install}"

    def _problems_of_token(self, spec: TunnelSpec) -> Iterator[Problem]:
        if self.credential == "none":
            if spec.token:
                yield Problem("token", f"must be empty: {self.title} has no account")
            return
        if not spec.token:
            if self.credential == "required":
                yield Problem("token", "is missing")
            return
        if reason := _reason(self.check_token, spec.token):
            yield Problem("token", reason)

    def _problems_of_options(self, spec: TunnelSpec) -> Iterator[Problem]:
        for name, option in self.options.items():
            if option.is_required and not spec.options.get(name):
                yield Problem(f"options.{name}", f"is missing: {option.what}")
        for name, value in spec.options.items():
            known = self.options.get(name)
            if known is None:
                names = ", ".join(self.options) or "none"
                yield Problem(f"options.{name}", f"is no option of {self.title}; known are: {names}")
            elif value and (reason := _reason(known.check, value)):
                yield Problem(f"options.{name}", reason)


def ending(launch: Launch, status: int, told: Told = NOTHING) -> Ending:
    """What the end of a program means.

    Args:
        launch: What was started.
        status: The exit status, or a signal as a negative number.
        told: What the last lines told that told anything of why.
    """
    if told.permanent is not None:
        return Ending(reason=told.permanent, is_permanent=True)
    if status < 0:
        return Ending(reason=f"was ended by {signal_name(-status)}")
    known = launch.exits.get(status)
    if known is not None and known.is_permanent:
        return known
    if told.reason is not None:
        return Ending(reason=told.reason)
    return known or Ending(reason="ended by itself" if status == 0 else f"ended with status {status}")


def signal_name(number: int) -> str:
    """As `SIGTERM`."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def environment(place: Place, **more: str) -> dict[str, str]:
    """An environment from zero: where programs are, the private folder as home, one language, and `more`."""
    return {"PATH": _PATH, "HOME": place.folder, "TMPDIR": place.folder, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", **more}


def program(names: Iterable[str], place: Place) -> str:
    """The path of the first program that was found; raises LookupError when none was."""
    for name in names:
        if name in place.programs:
            return place.programs[name]
    raise LookupError("no program was found")


def public_url(spec: TunnelSpec, scheme: str = "https") -> str | None:
    """What visitors use, if the operator has said it: the option `url`, or the hostname."""
    if url := spec.options.get("url"):
        return url.rstrip("/")
    return f"{scheme}://{spec.hostname}" if spec.hostname else None


def one_of(*words: str) -> Callable[[str], str]:
    """A check for exactly these words."""

    def check(value: str) -> str:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return value

    return check


def check_port(value: str) -> str:
    """A port in decimal digits; raises ValueError."""
    if not re.fullmatch(r"[1-9][0-9]{0,4}", value) or int(value) > 65535:
        raise ValueError("must be a port, 1 to 65535")
    return value


def check_url(value: str) -> str:
    """An address for visitors; raises ValueError."""
    if not re.fullmatch(r"https?://[^\s/?#@\\\"]+(?:/[^\s\"\\]*)?", value):
        raise ValueError("must be a URL that begins with https:// or http://")
    return value


def check_line(value: str) -> str:
    """Printable ASCII in one line; raises ValueError."""
    if not _PRINTABLE.fullmatch(value):
        raise ValueError("must be printable ASCII in one line")
    return value


def split_server(value: str, default_port: int) -> tuple[str, int]:
    """Host (IPv6 in brackets) and port of `host[:port]`; raises ValueError with the reason."""
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]/@]+)(?::([0-9]{1,5}))?", value)
    if match is None:
        raise ValueError("must be a host, with :port if that is not the usual one")
    # No folded host begins with a hyphen, so that no program takes it for an option.
    return fold_host(match[1]), int(check_port(match[2])) if match[2] else default_port


def bare(host: str) -> str:
    """An address without its brackets, or the name."""
    return host.removeprefix("[").removesuffix("]") if is_address(host) else host


URL_OPTION: Final = Option(what="what visitors use, when it is not https:// and the hostname", check=check_url)


def _reason(check: Callable[[str], object], value: str) -> str:
    try:
        check(value)
    except ValueError as reason:
        return str(reason)
    return ""
