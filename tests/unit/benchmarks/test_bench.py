"""How the bench goes through its rows: in pairs, each contest once, with a reason for every row without a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.__main__ import Bench, arguments, chosen_rows
from tests.benchmarks.catalogue import PEERS
from tests.benchmarks.databases import ROOT, Databases
from tests.benchmarks.environments import NotInstalled
from tests.benchmarks.rows import Row, Run, Sizes, Table
from tests.benchmarks.running import RunFailed, Runner, command

OURS, HUEY = Run("ours", "drain", "sqlite"), Run("huey", "drain", "sqlite")
TINYJOBS, FLOOR = Run("tinyjobs", "drain", "sqlite"), Run("floor", "drain", "sqlite")


class Runs(Runner):
    """Answers at once, and remembers who ran; `failing` and `missing` name contestants."""

    def __init__(self, databases: Databases, *, failing: str = "", missing: str = "") -> None:
        super().__init__(databases, Path("nowhere"), install=False)
        self.ran: list[str] = []
        self.failing, self.missing = failing, missing

    def answer(self, run: Run) -> dict[str, Any]:
        self.ran.append(run.who)
        if run.who == self.failing:
            raise RunFailed(f"{run}: 9 of 10 done")
        seconds = {"ours": 1.0, "huey": 2.0, "floor": 0.5}[run.who]
        return {"done": 10, "expected": 10, "elapsed": seconds, "cpu_seconds": seconds}

    def interpreter(self, run: Run) -> Path:
        if run.who == self.missing:
            raise NotInstalled("not installed: no network")
        return Path("python")


@pytest.fixture
def databases(tmp_path: Path) -> Databases:
    return Databases(tmp_path)


def test_pairs_take_turns_and_a_contest_serves_all_its_rows(databases: Databases) -> None:
    runs = Runs(databases)
    rows = [Row("W1", "huey", figure, OURS, HUEY) for figure in ("rate", "CPU each")]
    found = Bench(runs, databases, pairs=3, shared=False).measure(rows)
    assert runs.ran == ["ours", "huey"] * 3
    assert [one.measured.value for one in found if one.measured] == [2.0, 0.5]


def test_ours_alone_takes_its_figure_from_a_contest(databases: Databases) -> None:
    runs = Runs(databases)
    rows = [Row("W1", "ours alone", "rate", OURS), Row("W1", "huey", "rate", OURS, HUEY)]
    alone, _ = Bench(runs, databases, pairs=1, shared=False).measure(rows)
    assert runs.ran == ["ours", "huey"]
    assert alone.measured is not None
    assert (alone.measured.value, alone.measured.other) == (10.0, None)


def test_a_quick_bench_runs_everybody_once_a_round(databases: Databases) -> None:
    runs = Runs(databases)
    rows = [Row("W1", "huey", "rate", OURS, HUEY), Row("W1", "floor", "rate", OURS, FLOOR)]
    Bench(runs, databases, pairs=2, shared=True).measure(rows)
    assert runs.ran == ["ours", "huey", "floor"] * 2


def test_a_failed_run_is_told_once_and_stops_its_own_contest_only(databases: Databases) -> None:
    runs = Runs(databases, failing="huey")
    rows = [Row("W1", "huey", "rate", OURS, HUEY), Row("W1", "floor", "rate", OURS, FLOOR)]
    failed, fine = Bench(runs, databases, pairs=3, shared=False).measure(rows)
    assert failed.problem == "huey drain: 9 of 10 done"
    assert runs.ran.count("huey") == 1
    assert fine.measured is not None


def test_a_peer_that_is_not_there_is_left_out_with_the_reason(databases: Databases) -> None:
    runs = Runs(databases, missing="tinyjobs")
    (row,) = Bench(runs, databases, pairs=1, shared=False).measure([Row("W1", "tinyjobs", "rate", OURS, TINYJOBS)])
    assert (row.left_out, row.problem, runs.ran) == ("not installed: no network", "", [])


def test_options_choose_rows() -> None:
    options = arguments(["--only", "w1", "--sqlite", "--match", "floor"])
    assert [row.name for row in chosen_rows(options)["sqlite"]] == ["floor, both at NORMAL"]
    alone = arguments(["--quick", "--no-peers"])
    assert {row.other.who for rows in chosen_rows(alone).values() for row in rows if row.other} == {"ours", "floor"}


def test_a_workload_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(["--only", "W9"])
    assert "--only knows W1, W2" in capsys.readouterr().err


def test_a_peer_is_not_shadowed_by_its_own_script() -> None:
    """`peers/huey.py` says `import huey`: the folder of the script must not be on the path."""
    words = command(Run("huey", "drain", "sqlite", (("number", 5),)), "python", "sqlite:////x")
    assert words[:2] == ["python", "-P"]
    assert words[3:] == ["drain", "--url=sqlite:////x", "--number=5"]


def test_every_peer_has_a_script_and_takes_part() -> None:
    scripts = {path.stem for path in (ROOT / "tests" / "benchmarks" / "peers").glob("*.py")}
    assert scripts == set(PEERS)
    for peer in PEERS.values():
        for database in peer.databases:
            rows = Table(database, Sizes()).rows()
            assert any(row.other is not None and row.other.who == peer.name for row in rows), (peer.name, database)
