"""The figures on a page of metrics: as much of the text format as is needed to find a few of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

_SAMPLE: Final = re.compile(rb"([A-Za-z_:][A-Za-z0-9_:]*)(?:\{(.*?)\})?[ \t]+([^ \t]+)(?:[ \t].*)?\r?")
_LABEL: Final = re.compile(rb'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"')


class Sample(msgspec.Struct, frozen=True):
    """One figure and its labels."""

    labels: Mapping[str, str]
    value: float


def samples(body: bytes, name: str) -> list[Sample]:
    """All figures of one name; lines that make no sense are passed over."""
    wanted = name.encode()
    found = []
    for line in body.split(b"\n"):
        if not line.startswith(wanted):
            continue
        match = _SAMPLE.fullmatch(line)
        if match is None or match[1] != wanted:
            continue
        try:
            value = float(match[3])
        except ValueError:
            continue
        labels = {key.decode(): text.decode(errors="replace") for key, text in _LABEL.findall(match[2] or b"")}
        found.append(Sample(labels, value))
    return found


def total(body: bytes, name: str, **labels: str) -> float | None:
    """The sum of the figures of one name with these labels; None when there are none."""
    values = [
        sample.value
        for sample in samples(body, name)
        if all(sample.labels.get(key) == value for key, value in labels.items())
    ]
    return sum(values) if values else None
