"""Results as a table for the terminal, as a page for docs/performance.md, and as JSON to keep. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.benchmarks.catalogue import PEERS
from tests.benchmarks.figures import FIGURES, Measured, verdict
from tests.benchmarks.rows import DATABASES, WORKLOADS, Row

BEGIN = "<!-- made by `python -m tests.benchmarks --markdown docs/performance.md`: begin -->"
END = "<!-- made by `python -m tests.benchmarks --markdown docs/performance.md`: end -->"
DATABASE_NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


@dataclass(frozen=True)
class Result:
    """What became of a row: `measured`, or `problem` (a run failed), or `left_out` (why there is no figure)."""

    key: str
    workload: str
    database: str
    name: str
    figure: str
    is_ratio: bool
    must: float | None
    stretch: float | None
    note: str
    measured: Measured | None = None
    problem: str = ""
    left_out: str = ""

    @property
    def verdict(self) -> str:
        if self.problem:
            return "failed"
        if self.measured is None:
            return ""
        return verdict(self.measured.value, FIGURES[self.figure].better, self.must, self.stretch)


def result(row: Row, measured: Measured | None = None, *, problem: str = "", left_out: str = "") -> Result:
    return Result(
        row.key,
        row.workload,
        row.ours.database,
        row.name,
        row.figure,
        row.other is not None,
        row.must,
        row.stretch,
        row.note,
        measured,
        problem,
        left_out,
    )


def to_json(results: Iterable[Result], about: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: a ratio over nothing is written as text."""
    saved = [asdict(one) | {"verdict": one.verdict} for one in results]
    for one in saved:
        one["measured"] = _each(one["measured"], lambda value: str(value) if value in (math.inf, -math.inf) else value)
    return {"about": dict(about), "results": saved}


def from_json(saved: Mapping[str, Any]) -> list[Result]:
    """The results of `to_json`."""
    results = []
    for one in saved["results"]:
        fields = {name: value for name, value in one.items() if name != "verdict"}
        found = _each(fields["measured"], lambda value: float(value) if isinstance(value, str) else value)
        measured = Measured(**found) if found else None
        results.append(Result(**(fields | {"measured": measured})))
    return results


def _each(fields: dict[str, Any] | None, change: Callable[[Any], Any]) -> dict[str, Any] | None:
    return None if fields is None else {name: change(value) for name, value in fields.items()}


def number(value: float) -> str:
    """Three digits that matter, and a comma between thousands."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 1 else f"{value:.3f}"


def limit(value: float | None, better: str) -> str:
    if value is None:
        return ""
    return f"{'>=' if better == 'more' else '<='} {value:g}"


def terminal(results: Sequence[Result]) -> str:
    """The whole table, with the absolute figures, which mean nothing on another machine."""
    heads = ("", "database", "against", "figure", "ours", "theirs", "ratio", "lowest-highest", "must", "stretch", "")
    lines = [heads, *(_cells(one) for one in results)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    text.insert(1, "-" * max(len(line) for line in text))
    return "\n".join(text) + "\n"


def _cells(one: Result) -> tuple[str, ...]:
    figure = FIGURES[one.figure]
    start = (one.workload, one.database, one.name, one.figure)
    limits = (limit(one.must, figure.better), limit(one.stretch, figure.better))
    found = one.measured
    if found is None:
        return (*start, "", "", "", "", *limits, one.verdict or f"no figure: {one.left_out}")
    ours, theirs = (f"{number(side)} {figure.unit}" if side is not None else "" for side in (found.ours, found.other))
    between = f"{number(found.lowest)}-{number(found.highest)}"
    return (*start, ours, theirs, number(found.value) if one.is_ratio else "", between, *limits, one.verdict)


def problems(results: Iterable[Result]) -> list[str]:
    """A sentence for each row whose runs failed."""
    return [f"{one.key}: {one.problem}" for one in results if one.problem]


def markdown(results: Sequence[Result], about: Mapping[str, Any]) -> str:
    """The generated part of docs/performance.md: the figures as ratios, and the peers."""
    parts = []
    if about:
        parts.append("Measured with " + ", ".join(f"{name} {value}" for name, value in about.items()) + ".")
    for workload, what in WORKLOADS.items():
        rows = [one for one in results if one.workload == workload]
        parts.append(f"### {workload}, {what}\n\n{_page_table(rows)}" if rows else f"### {workload}, {what}")
        if not rows:
            parts.append("Not measured yet.")
    parts.append(f"### The peers\n\n{_peers_table()}")
    return "\n\n".join(parts) + "\n"


def _page_table(rows: Sequence[Result]) -> str:
    lines = ["| | against | figure | ratio | of the pairs | must | stretch | |", "|---|---|---|---|---|---|---|---|"]
    for one in sorted(rows, key=lambda one: DATABASES.index(one.database)):
        figure, found = FIGURES[one.figure], one.measured
        if found is None:
            value, between = "", one.problem or one.left_out
        else:
            value = number(found.value) + ("" if one.is_ratio else f" {figure.unit}")
            between = f"{number(found.lowest)} to {number(found.highest)}"
        limits = [limit(one.must, figure.better), limit(one.stretch, figure.better)]
        last = "; ".join(part for part in (one.verdict, one.note) if part)
        cells = [DATABASE_NAMES[one.database], one.name, one.figure, value, between, *limits, last]
        lines.append("| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines)


def _peers_table() -> str:
    lines = ["| peer | what it keeps | best settings | default settings |", "|---|---|---|---|"]
    for peer in PEERS.values():
        versions = ", ".join(requirement.split(";")[0] for requirement in peer.requirements)
        lines.append(f"| {peer.title} (`{versions}`) | {peer.keeps} | {peer.best} | {peer.default} |")
    return "\n".join(lines)


def filled(page: str, generated: str) -> str:
    """The page with its generated part replaced. Raises ValueError when the page has no place for one."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no generated part: put these two lines where it goes:\n{BEGIN}\n{END}")
    return f"{before}{BEGIN}\n\n{generated}\n{END}{after}"
