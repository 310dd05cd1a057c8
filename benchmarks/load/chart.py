"""The bar chart of a run, as SVG: CPU time per request of every proxy, user and system apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from benchmarks.load.row import Row

WIDTH, LABEL, FIGURE, BAR, GAP, TOP, HEADING = 760, 120, 140, 16, 10, 66, 30

# The chart shows what a proxy that remembers heads can profit from and what it cannot, side by side.
GROUPS = {"varied": "64 different heads in turn", "unique": "no head is ever sent twice"}

_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-size: 15px; font-weight: 600 }
  .faint { fill: #6e7781; font-size: 12px }
  .ours { font-weight: 600 }
  .card { fill: #ffffff; stroke: #d0d7de }
  .user { fill: #0a7ea4 } .system { fill: #9fd3e6 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .faint { fill: #8d96a0 } .card { fill: #0d1117; stroke: #30363d }
    .user { fill: #4cc3e8 } .system { fill: #1f5f75 }
  }
"""


def draw(rows: Iterable[Row]) -> str:
    """The chart of the plain scenario; an empty card when it was not run."""
    shown = [row for row in rows if row.scenario == "plain" and row.variant in GROUPS]
    most = max((row.values["cpu_us"] for row in shown), default=1.0)
    parts, top = _title(), TOP
    for variant, heading in GROUPS.items():
        group = [row for row in shown if row.variant == variant]
        parts.append(f'<text class="faint" x="20" y="{top + 16}">{heading}</text>')
        parts += _bars(group, top + HEADING, (WIDTH - LABEL - FIGURE - 40) / most)
        top += HEADING + len(group) * (BAR + GAP)
    return "\n".join([*_frame(top + GAP), *parts, "</svg>\n"])


def _frame(height: int) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" role="img">',
        "<title>CPU time per request of each proxy</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
    ]


def _title() -> list[str]:
    return [
        '<text class="title" x="20" y="28">CPU time per proxied request, microseconds (less is better)</text>',
        '<rect class="user" x="20" y="42" width="12" height="12" rx="2"/><text class="faint" x="38" y="52">user</text>',
        '<rect class="system" x="80" y="42" width="12" height="12" rx="2"/>',
        '<text class="faint" x="98" y="52">system; keep-alive GET, browser heads, one worker each</text>',
    ]


def _bars(rows: Sequence[Row], top: int, scale: float) -> list[str]:
    parts = []
    for row in rows:
        user, system = row.values["user_us"] * scale, row.values["system_us"] * scale
        name_class = ' class="ours"' if row.subject.startswith("zexio") else ""
        ratio = "" if row.ratio is None else f" ({row.ratio:.2f}x nginx)"
        baseline = top + 13
        parts += [
            f'<text{name_class} x="{LABEL + 10}" y="{baseline}" text-anchor="end">{escape(row.subject)}</text>',
            f'<rect class="user" x="{LABEL + 20}" y="{top}" width="{user:.1f}" height="{BAR}"/>',
            f'<rect class="system" x="{LABEL + 20 + user:.1f}" y="{top}" width="{system:.1f}" height="{BAR}"/>',
            f'<text x="{LABEL + 28 + user + system:.1f}" y="{baseline}">{row.values["cpu_us"]:.1f}{ratio}</text>',
        ]
        top += BAR + GAP
    return parts
