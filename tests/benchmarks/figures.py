"""Arithmetic of the bench, and nothing else: figures of a run, ratios of pairs of runs, medians, verdicts. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Better = Literal["more", "less"]
Answer = Mapping[str, Any]  # what a contestant's script printed


def _per_second(answer: Answer) -> float:
    return float(answer["done"]) / float(answer["elapsed"])


def _cpu_each(answer: Answer) -> float:
    return float(answer["cpu_seconds"]) * 1000 / float(answer["done"])


def _done(answer: Answer) -> float:
    return float(answer["done"]) / float(answer["expected"])


def _lateness(name: str) -> Callable[[Answer], float]:
    return lambda answer: float(answer["lateness_ms"][name])


def _plain(name: str) -> Callable[[Answer], float]:
    return lambda answer: float(answer[name])


@dataclass(frozen=True)
class Figure:
    """One number of a run: its unit, and which way is better."""

    unit: str
    better: Better
    of: Callable[[Answer], float]


FIGURES = {
    "rate": Figure("/s", "more", _per_second),
    "CPU each": Figure("ms", "less", _cpu_each),
    "done": Figure("of all", "more", _done),
    "p50": Figure("ms late", "less", _lateness("p50")),
    "p99": Figure("ms late", "less", _lateness("p99")),
    "idle CPU": Figure("s/min", "less", _plain("idle_cpu_per_minute")),
    "memory": Figure("MiB", "less", _plain("rss_mb")),
    "statements": Figure("/min", "less", _plain("statements_per_minute")),
    "transactions": Figure("/min", "less", _plain("transactions_per_minute")),
}


@dataclass(frozen=True)
class Measured:
    """The medians of some pairs: of each side, and of the pairs' ratios, with the lowest and the highest ratio.

    Where there is no other side, `value` is the median itself and not a ratio.
    """

    pairs: int
    ours: float
    other: float | None
    value: float
    lowest: float
    highest: float


def ratio(ours: float, other: float) -> float:
    """Ours over the other's. Nothing over nothing is 1."""
    if other == 0:
        return 1.0 if ours == 0 else math.copysign(math.inf, ours)
    return ours / other


def measured(figure: str, pairs: Sequence[tuple[Answer, Answer | None]]) -> Measured:
    """One figure of a row's pairs of answers. The two of a pair were run one after the other."""
    of = FIGURES[figure].of
    ours = [of(one) for one, _ in pairs]
    others = [of(other) for _, other in pairs if other is not None]
    values = [ratio(*both) for both in zip(ours, others, strict=True)] if others else ours
    return Measured(
        pairs=len(pairs),
        ours=statistics.median(ours),
        other=statistics.median(others) if others else None,
        value=statistics.median(values),
        lowest=min(values),
        highest=max(values),
    )


def verdict(value: float, better: Better, must: float | None, stretch: float | None) -> str:
    """A word: "reached", "stretch reached", "not reached", or nothing where nothing is demanded."""

    def meets(limit: float | None) -> bool:
        return limit is not None and (value >= limit if better == "more" else value <= limit)

    if must is None and stretch is None:
        return ""
    if meets(stretch):
        return "stretch reached"
    return "reached" if meets(must) else "not reached"


def incomplete(answer: Answer) -> str | None:
    """Why an answer is no figure: work that was left undone. None when it is complete, or the script cannot do it."""
    if "unavailable" in answer:
        return None
    done, expected = answer.get("done"), answer.get("expected")
    if done is not None and done != expected:
        return f"{done} of {expected} done"
    ran = answer.get("ran")
    return f"{ran} runs of {expected} tasks" if ran is not None and ran > expected else None
