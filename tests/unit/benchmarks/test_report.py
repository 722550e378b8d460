"""The bench's table, its page, and what it keeps."""

from __future__ import annotations

import json

import pytest

from tests.benchmarks import report
from tests.benchmarks.figures import Measured
from tests.benchmarks.rows import DATABASES, Row, Run, Sizes, Table

OURS, THEIRS = Run("ours", "drain", "sqlite"), Run("huey", "drain", "sqlite")
ROW = Row("W1", "huey, best settings", "rate", OURS, THEIRS, 4, 6)
FOUND = Measured(pairs=5, ours=12_345.6, other=3_086.4, value=4.0, lowest=3.5, highest=4.25)


def test_a_row_shows_both_sides_the_ratio_and_the_verdict() -> None:
    line = report.terminal([report.result(ROW, FOUND)]).splitlines()[-1]
    cells = [part.strip() for part in line.split("  ") if part.strip()]
    assert cells == [
        "W1", "sqlite", "huey, best settings", "rate", "12,346 /s", "3,086 /s", "4.00", "3.50-4.25", ">= 4", ">= 6",
        "reached",
    ]  # fmt: skip


def test_a_row_without_a_figure_says_why() -> None:
    left_out = report.result(ROW, left_out="not installed")
    failed = report.result(ROW, problem="huey drain: 99 of 100 done")
    assert "no figure: not installed" in report.terminal([left_out])
    assert report.terminal([failed]).rstrip().endswith("failed")
    assert report.problems([left_out, failed]) == ["W1 sqlite: huey, best settings (rate): huey drain: 99 of 100 done"]


def test_kept_results_come_back_as_they_were() -> None:
    """Also a ratio over nothing, which JSON cannot write as a number."""
    endless = Measured(pairs=1, ours=3.0, other=0.0, value=float("inf"), lowest=float("inf"), highest=float("inf"))
    results = [report.result(ROW, FOUND), report.result(ROW, endless), report.result(ROW, problem="it failed")]
    saved = json.loads(json.dumps(report.to_json(results, {"pairs": 5}), allow_nan=False))
    assert report.from_json(saved) == results
    assert saved["about"] == {"pairs": 5}


def test_the_page_has_ratios_and_no_times() -> None:
    page = report.markdown([report.result(ROW, FOUND)], {"SQLite": "3.45"})
    assert "| SQLite | huey, best settings | rate | 4.00 | 3.50 to 4.25 | >= 4 | >= 6 | reached |" in page
    assert "12,346" not in page
    assert "Measured with SQLite 3.45." in page
    assert "Not measured yet." in page  # the other workloads


def test_only_the_generated_part_of_the_page_is_replaced() -> None:
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    assert report.filled(page, "new\n") == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
    assert report.filled(report.filled(page, "x\n"), "new\n") == report.filled(page, "new\n")
    with pytest.raises(ValueError, match="no generated part"):
        report.filled("before\nafter\n", "new\n")


@pytest.mark.parametrize("database", DATABASES)
def test_no_two_rows_have_one_name(database: str) -> None:
    keys = [row.key for row in Table(database, Sizes()).rows()]
    assert len(set(keys)) == len(keys)
