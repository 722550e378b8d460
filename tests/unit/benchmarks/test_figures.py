"""The bench's arithmetic: what it makes of runs that are given to it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.benchmarks.figures import FIGURES, incomplete, measured, ratio, verdict


def drained(seconds: float, *, done: int = 100) -> dict[str, Any]:
    return {"done": done, "expected": 100, "ran": done, "elapsed": seconds, "cpu_seconds": seconds / 2}


def test_a_row_is_the_median_of_its_pairs_ratios() -> None:
    """Not the ratio of the medians: a machine that slows down slows both sides of a pair."""
    found = measured("rate", [(drained(1), drained(2)), (drained(10), drained(50)), (drained(2), drained(6))])
    assert (found.value, found.lowest, found.highest, found.pairs) == (3.0, 2.0, 5.0, 3)
    assert (found.ours, found.other) == (50.0, pytest.approx(100 / 6))


def test_without_another_side_the_figure_stands_for_itself() -> None:
    found = measured("CPU each", [(drained(1), None), (drained(3), None), (drained(2), None)])
    assert (found.value, found.other) == (10.0, None)  # 2 s, half of them CPU, 100 executions, in milliseconds


def test_every_figure_reads_an_answer() -> None:
    """Of those that the contestants give."""
    lateness = {"lateness_ms": {"p50": 1.0, "p99": 4.0}}
    idle = {"idle_cpu_per_minute": 0.1, "rss_mb": 50.0, "statements_per_minute": 6.0, "transactions_per_minute": 7.0}
    answer = drained(2) | lateness | idle
    found = {name: figure.of(answer) for name, figure in FIGURES.items()}
    assert found == {
        "rate": 50.0,
        "CPU each": 10.0,
        "done": 1.0,
        "p50": 1.0,
        "p99": 4.0,
        "idle CPU": 0.1,
        "memory": 50.0,
        "statements": 6.0,
        "transactions": 7.0,
    }


def test_a_ratio_over_nothing() -> None:
    assert ratio(0, 0) == 1.0
    assert ratio(3, 0) == math.inf


@pytest.mark.parametrize(
    ("value", "better", "must", "stretch", "word"),
    [
        (1.0, "more", 1.2, 1.6, "not reached"),
        (1.2, "more", 1.2, 1.6, "reached"),
        (1.6, "more", 1.2, 1.6, "stretch reached"),
        (0.6, "less", 0.5, 0.3, "not reached"),
        (0.5, "less", 0.5, 0.3, "reached"),
        (0.3, "less", 0.5, 0.3, "stretch reached"),
        (9.0, "more", 1.0, None, "reached"),
        (9.0, "more", None, None, ""),
    ],
)
def test_a_limit_counts_as_reached_from_its_value_on(
    value: float, better: Any, must: float | None, stretch: float | None, word: str
) -> None:
    assert verdict(value, better, must, stretch) == word


def test_work_left_undone_is_no_figure() -> None:
    assert incomplete(drained(1)) is None
    assert incomplete(drained(1, done=99)) == "99 of 100 done"
    assert incomplete(drained(1) | {"ran": 101}) == "101 runs of 100 tasks"
    assert incomplete({"unavailable": "no bulk call"}) is None
    assert incomplete({"idle_cpu_per_minute": 0.1}) is None
