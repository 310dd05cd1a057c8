"""A program of the operator's own: an argv, and a pattern or a page that says when it is connected."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

import msgspec

from state.refusal import Problem
from state.tunnels import TunnelSpec
from tunnels.providers.base import (
    LEAST_SECRET,
    NOTHING,
    URL_OPTION,
    File,
    Launch,
    Line,
    LogProbe,
    Option,
    PageProbe,
    Place,
    Probe,
    Provider,
    Told,
    check_url,
    environment,
    public_url,
)

_PLACEHOLDER: Final = re.compile(r"\{(local_port|metrics_port|folder|token_file|hostname|name)\}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
# What would change the program before it reads its first line.
_NO_VARIABLE: Final = re.compile(r"LD_.*|DYLD_.*|PATH|HOME|TMPDIR")
_MOST_PATTERN: Final = 500


class Patterns(msgspec.Struct, frozen=True, kw_only=True):
    """What to look for in each line; None is nothing."""

    ready: re.Pattern[str] | None = None
    lost: re.Pattern[str] | None = None
    fail: re.Pattern[str] | None = None
    url: re.Pattern[str] | None = None


def argv_of(value: str) -> list[str]:
    """The arguments of a JSON list; raises ValueError with the reason."""
    try:
        argv = msgspec.json.decode(value, type=list[str])
    except msgspec.DecodeError:
        raise ValueError('must be a JSON list of texts, as ["/usr/bin/program", "--port", "{local_port}"]') from None
    if not argv or not argv[0] or any("\0" in word for word in argv):
        raise ValueError("must begin with a program")
    if "/" in argv[0] and not argv[0].startswith("/"):
        raise ValueError("must begin with an absolute path, or a name without slashes")
    return argv


def variables(value: str) -> dict[str, str]:
    """The variables of a JSON object; raises ValueError with the reason."""
    try:
        found = msgspec.json.decode(value, type=dict[str, str])
    except msgspec.DecodeError:
        raise ValueError('must be a JSON object of texts, as {"LEVEL": "info"}') from None
    for name, text in found.items():
        check_variable(name)
        if "\0" in text:
            raise ValueError(f"has a NUL in {name}")
    return found


def check_variable(name: str) -> str:
    """The name of a variable that may be set; raises ValueError with the reason."""
    if not _VARIABLE.fullmatch(name):
        raise ValueError("has a name that is none for a variable")
    if _NO_VARIABLE.fullmatch(name):
        raise ValueError(f"has {name}, which is not the operator's to set")
    return name


def check_pattern(value: str) -> re.Pattern[str]:
    """A regular expression; raises ValueError with the reason."""
    if len(value) > _MOST_PATTERN:
        raise ValueError(f"must have at most {_MOST_PATTERN} characters")
    try:
        return re.compile(value)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None


def identity(spec: TunnelSpec) -> str:
    """The tunnel's own name: what is the same for this program is not known."""
    return f"command:{spec.name}"


def plan(spec: TunnelSpec, place: Place) -> Launch:
    """The spawn of the program."""
    values = {
        "local_port": str(place.local_port),
        "metrics_port": str(place.metrics_port),
        "folder": place.folder,
        "token_file": place.path("token"),
        "hostname": spec.hostname or "",
        "name": spec.name,
    }
    first, *rest = argv_of(spec.options["argv"])
    path = first if first.startswith("/") else place.programs[first]
    env = {name: _filled(text, values) for name, text in variables(spec.options.get("env") or "{}").items()}
    if spec.token and (name := spec.options.get("token_env")):
        env[name] = spec.token
    return Launch(
        argv=(path, *(_filled(word, values) for word in rest)),
        env={**environment(place), **env},
        files=(File(name="token", content=spec.token.encode()),) if spec.token else (),
        secrets=(spec.token,) if spec.token else (),
        edge=tuple(_probes(spec, values)),
        read_line=partial(read_line, _patterns(spec)),
        grace_s=float(spec.options.get("grace_s") or 10),
        identity=identity(spec),
        url=public_url(spec),
    )


def read_line(patterns: Patterns, text: str) -> Line:
    """Any line, with what the operator's patterns find in it."""
    if patterns.fail is not None and patterns.fail.search(text):
        return Line(text=text, level="error", told=Told(edge=False, permanent=text[:200]))
    url = patterns.url.search(text) if patterns.url is not None else None
    edge = None
    if patterns.lost is not None and patterns.lost.search(text):
        edge = False
    elif patterns.ready is not None and patterns.ready.search(text):
        edge = True
    if url is None and edge is None:
        return Line(text=text, told=NOTHING)
    return Line(text=text, told=Told(edge=edge, url=(url[1] if url.re.groups else url[0]) if url else None))


def read_page(status: int, _body: bytes) -> Told:
    """Connected when the page answers with success."""
    is_good = 200 <= status < 300
    return Told(edge=is_good, reason=None if is_good else f"its page answers with {status}")


def _probes(spec: TunnelSpec, values: Mapping[str, str]) -> Iterator[Probe]:
    if spec.options.get("ready_pattern"):
        yield LogProbe()
    if url := spec.options.get("ready_url"):
        yield PageProbe(url=_filled(url, values), read=read_page)


def _patterns(spec: TunnelSpec) -> Patterns:
    found = {name: spec.options.get(f"{name}_pattern") for name in ("ready", "lost", "fail", "url")}
    return Patterns(**{name: check_pattern(value) for name, value in found.items() if value})


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)


def _programs(spec: TunnelSpec) -> tuple[str, ...]:
    try:
        return (argv_of(spec.options.get("argv") or "")[0],)
    except ValueError:
        return ()


def _check_token(token: str) -> None:
    if len(token) < LEAST_SECRET:
        raise ValueError(f"must have {LEAST_SECRET} characters or more")


def _check_ready_url(value: str) -> None:
    check_url(_PLACEHOLDER.sub("1", value))


def _check_grace(value: str) -> None:
    if not re.fullmatch(r"[0-9]{1,3}", value) or int(value) > 300:
        raise ValueError("must be 0 to 300 seconds")


def _problems(spec: TunnelSpec) -> Iterator[Problem]:
    if spec.token and any(spec.token in value for value in spec.options.values()):
        yield Problem("options", "hold the token, which others would see: use {token_file} or `token_env`")
    if spec.options.get("token_env") and not spec.token:
        yield Problem("token", "is missing, though `token_env` names a variable for it")


PROVIDER: Final = Provider(
    name="command",
    title="a command",
    programs=_programs,
    install="install it, or give its absolute path in `argv`",
    credential="optional",
    check_token=_check_token,
    options=MappingProxyType(
        {
            "argv": Option(what="the program and its arguments, a JSON list", check=argv_of, is_required=True),
            "env": Option(what="variables, a JSON object", check=variables),
            "token_env": Option(what="the variable that the token is given in", check=check_variable),
            "ready_pattern": Option(what="a line that says that it is connected", check=check_pattern),
            "lost_pattern": Option(what="a line that says that it is not any more", check=check_pattern),
            "ready_url": Option(what="a page that answers with success while connected", check=_check_ready_url),
            "url_pattern": Option(what="where in a line the public address stands", check=check_pattern),
            "fail_pattern": Option(what="a line after which no new start can help", check=check_pattern),
            "grace_s": Option(what="seconds between TERM and KILL", check=_check_grace),
            "url": URL_OPTION,
        }
    ),
    identity=identity,
    plan=plan,
    check_rest=_problems,
)
