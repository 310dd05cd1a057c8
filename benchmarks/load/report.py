"""A run as text for the terminal, as Markdown for the README and as JSON for machines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from benchmarks.load.chart import draw
from benchmarks.load.goal import Goal
from benchmarks.load.goals import judge
from benchmarks.load.row import Row

# Column titles by value; a value that is not here is saved and not shown.
COLUMNS = {
    "handshakes_s": "handshakes/s",
    "handshake_us": "CPU us/handshake",
    "resumed": "resumed",
    "messages_s": "messages/s",
    "messages_cpu_s": "messages/CPU second",
    "message_us": "CPU us/message",
    "requests_s": "requests/s",
    "requests_cpu_s": "requests/CPU second",
    "capacity_s": "requests/s with a core each",
    "of_saturation": "of saturation",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "max_ms": "max ms",
    "p99_added_ms": "p99 added ms",
    "sent_p99_ms": "p99 from send",
    "generator_busy": "generator busy",
    "cpu_us": "CPU us/request",
    "user_us": "user",
    "system_us": "system",
    "load_busy": "load busy",
    "busiest": "of it the busiest worker",
    "cores_busy": "cores busy",
    "rss_mib": "RSS MiB",
    "rss_all_mib": "RSS all MiB",
    "connections": "connections",
    "still_open": "still open",
    "connection_kib": "KiB/connection",
    "rss_after_mib": "RSS MiB",
    "mb_per_cpu_s": "MB/CPU second",
    "mb_s": "MB/s",
    "user_s": "user s",
    "system_s": "system s",
    "rss_peak_mib": "peak RSS MiB",
    "rss_growth_mib": "growth MiB",
    "changes": "changes",
    "changes_s": "changes/s",
    "cut": "WebSockets cut",
    "quiet_p99_ms": "p99 ms in peace",
    "times_p99": "times",
    "attackers": "attackers",
    "cut_off": "cut off",
    "refused": "refused",
    "at_once": "most at once",
    "longest_s": "longest s",
    "kills": "kills",
    "paused_ms": "paused ms",
    "requests": "requests",
    "domains": "domains",
    "issued_s": "issued/s",
    "took_s": "seconds",
    "orders": "orders",
    "orders_most": "most allowed",
    "checks": "challenge requests",
    "check_us": "CPU us/challenge request",
    "load_cpu_us": "worker CPU us/request",
    "domain_us": "worker CPU us/domain",
    "unserved": "without HTTPS",
    "admin_p50_ms": "admin GET p50 ms",
    "admin_p99_ms": "admin GET p99 ms",
    "admin_max_ms": "admin GET max ms",
    "control_cpu_ms": "control CPU ms/domain",
    "control_mib": "control RSS MiB",
    "put_p50_ms": "PUT p50 ms",
    "put_p99_ms": "PUT p99 ms",
    "live_p50_ms": "live p50 ms",
    "live_p99_ms": "live p99 ms",
    "aborted": "aborted",
    "first_rss_mib": "RSS MiB first",
    "begin_rss_mib": "settled",
    "end_rss_mib": "at the end",
    "gained_rss_mib": "growth",
    "begin_files": "files settled",
    "end_files": "at the end",
    "gained_files": "growth",
    "gained_threads": "threads growth",
    "done": "done",
    "files_before": "files before",
    "files_after": "files after",
    "answers": "answers",
    "failed": "failed",
}

Line = list[str]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one run."""

    machine: dict[str, object]
    rows: tuple[Row, ...]

    @property
    def goals(self) -> list[Goal]:
        """The budget held against the rows."""
        return judge(self.rows)


def text(rows: Sequence[Row]) -> str:
    """The rows of one scenario as an aligned table, with a word on those that have one."""
    return "\n".join([_aligned(_lines(rows)), *_words(rows)])


def goals_text(goals: Sequence[Goal]) -> str:
    """The goals as an aligned table, with a word on those that are not met."""
    return "\n".join([_aligned(_goal_lines(goals)), *_notes(goals)])


def markdown(report: Report) -> str:
    """The run for the README: one table a scenario, then the goals."""
    machine = report.machine
    versions = ", ".join(f"{name} {number}" for name, number in _versions(machine).items())
    made = f"`{machine['command']}`, {machine['date']}, commit {machine['commit']}, {machine['cores']} cores of"
    parts = [f"{made} {machine['cpu']}, Linux {machine['kernel']}, Python {machine['python']}, {versions};"]
    parts[0] += f" the hot modules of zexio: {machine['zexio_code']}."
    for scenario in dict.fromkeys(row.scenario for row in report.rows):
        parts.append(f"**{scenario}**")
        rows = [row for row in report.rows if row.scenario == scenario]
        parts += [_markdown(_lines(rows)), *_words(rows)]
    parts += ["**goals**", _markdown(_goal_lines(report.goals)), *_notes(report.goals)]
    return "\n\n".join(parts) + "\n"


def save(report: Report, folder: Path, stem: str) -> list[Path]:
    """Write STEM.json, STEM.md and STEM.svg; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    goals = [[goal.name, goal.bound, goal.found, goal.verdict] for goal in report.goals]
    saved = {"machine": report.machine, "goals": goals, "rows": report.rows}
    contents = {
        "json": msgspec.json.format(msgspec.json.encode(saved), indent=1).decode() + "\n",
        "md": markdown(report),
        "svg": draw(report.rows),
    }
    paths = [folder / f"{stem}.{kind}" for kind in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        path.write_text(content)
    return paths


def _versions(machine: dict[str, object]) -> dict[str, str]:
    return msgspec.convert(machine["versions"], dict[str, str])


def _lines(rows: Sequence[Row]) -> list[Line]:
    names = [name for name in COLUMNS if any(name in row.values for row in rows)]
    if not any(row.values.get("failed") for row in rows):
        names = [name for name in names if name != "failed"]
    lines = [["", "variant", *(COLUMNS[name] for name in names)]]
    lines += ([row.subject, row.variant, *(_number(row.values.get(name)) for name in names)] for row in rows)
    if any(row.ratio is not None for row in rows):
        _add(lines, "ratio", ("-" if row.ratio is None else f"{row.ratio:.2f}x" for row in rows))
    if any(row.verdict for row in rows):
        _add(lines, "verdict", (row.verdict or "-" for row in rows))
    return lines


def _words(rows: Iterable[Row]) -> list[str]:
    return [f"{row.subject}, {row.variant}: {row.note}" for row in rows if row.note]


def _add(lines: list[Line], title: str, cells: Iterable[str]) -> None:
    for line, cell in zip(lines, (title, *cells), strict=True):
        line.append(cell)


def _goal_lines(goals: Iterable[Goal]) -> list[Line]:
    return [["goal", "bound", "measured", ""], *([goal.name, goal.bound, goal.found, goal.verdict] for goal in goals)]


def _notes(goals: Iterable[Goal]) -> list[str]:
    return [f"{goal.name}: {goal.note}" for goal in goals if goal.note and goal.verdict == "not met"]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _aligned(lines: Sequence[Line]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(_padded(line, widths) for line in lines)


def _padded(line: Line, widths: Sequence[int]) -> str:
    named = [cell.ljust(width) for cell, width in zip(line[:2], widths[:2], strict=True)]
    figures = [cell.rjust(width) for cell, width in zip(line[2:], widths[2:], strict=True)]
    return "  ".join([*named, *figures]).rstrip()


def _markdown(lines: Sequence[Line]) -> str:
    rule = ["---" if column < 2 else "---:" for column in range(len(lines[0]))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (lines[0], rule, *lines[1:]))
