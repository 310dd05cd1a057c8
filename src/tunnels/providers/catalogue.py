"""All providers by name, and what is asked of any of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from state.refusal import Problem
from state.tunnels import TunnelProvider, TunnelSpec
from tunnels.providers import cloudflare, cloudflare_quick, command, frp, pangolin, ssh
from tunnels.providers.base import Launch, Place, Provider

PROVIDERS: Final[Mapping[TunnelProvider, Provider]] = MappingProxyType(
    {
        provider.name: provider
        for provider in (
            cloudflare.PROVIDER,
            cloudflare_quick.PROVIDER,
            pangolin.PROVIDER,
            ssh.PROVIDER,
            frp.PROVIDER,
            command.PROVIDER,
        )
    }
)


def check(spec: TunnelSpec) -> tuple[Problem, ...]:
    """What is wrong with a spec, before anything is started; no reason shows a secret."""
    return PROVIDERS[spec.provider].problems(spec)


def plan(spec: TunnelSpec, place: Place) -> Launch:
    """The spawn of a spec that was checked.

    Raises LookupError when no program is there, and ValueError when a secret would stand where every user of the
    machine can read it.
    """
    launch = PROVIDERS[spec.provider].plan(spec, place)
    if any(secret in word for secret in launch.secrets for word in launch.argv):
        raise ValueError("a secret would stand on the command line")
    return launch


def identity(spec: TunnelSpec) -> str:
    """What must not be connected twice, of a spec that was checked; it is safe to show."""
    return PROVIDERS[spec.provider].identity(spec)


def missing(spec: TunnelSpec) -> str:
    """What to say when no program is there: what is missing, and how to install it."""
    return PROVIDERS[spec.provider].missing(spec)


def programs(spec: TunnelSpec) -> tuple[str, ...]:
    """The names of the programs of which any one will do, the best first; an absolute path stands for itself."""
    return PROVIDERS[spec.provider].programs(spec)
