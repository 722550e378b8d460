"""`make bench`: the scheduler beside its peers, as ratios measured side by side. docs/performance.md says what is what.

Each pair of runs is A B; a row is the median of the ratios of several pairs. The exit code is 1 when a run failed to
do its work, and 0 however fast or slow it was.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sqlite3
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.benchmarks import report
from tests.benchmarks.databases import ROOT, Databases
from tests.benchmarks.environments import NotInstalled
from tests.benchmarks.figures import Answer, measured
from tests.benchmarks.rows import DATABASES, QUICK, WORKLOADS, Row, Run, Sizes, Table
from tests.benchmarks.running import RunFailed, Runner

CACHE = ROOT / ".bench"
PAIRS, QUICK_PAIRS = 5, 1
Contest = tuple[Run, Run | None]


class Bench:
    """Measures rows. With `shared`, the runs of a round are shared by all rows that need them: quicker, less exact."""

    def __init__(self, runner: Runner, databases: Databases, *, pairs: int, shared: bool) -> None:
        self._runner = runner
        self._databases = databases
        self._pairs = pairs
        self._shared = shared
        self._round: dict[Run, Answer] = {}

    def measure(self, rows: Sequence[Row]) -> list[report.Result]:
        """Every contest once, however many rows it serves. A row that cannot be measured says why."""
        left_out = self._left_out(rows)
        present = [row for row in rows if (row.ours, row.other) not in left_out]
        contests = _contests(present)
        answers: dict[Contest, list[tuple[Answer, Answer | None]]] = {contest: [] for contest in contests}
        problems: dict[Contest, str] = {}
        idle = [contest for contest in contests if contest[0].workload == "idle"]
        others = [contest for contest in contests if contest not in idle]
        if self._shared:
            for number in range(self._pairs):
                self._round = {}
                for contest in others:
                    self._pair(contest, number, answers, problems)
        else:
            for contest in others:
                for number in range(self._pairs):
                    self._pair(contest, number, answers, problems)
        for number in range(self._pairs if idle else 0):
            self._idle_together(idle, number, answers, problems)
        return [self._result(row, left_out, problems, answers) for row in rows]

    def _left_out(self, rows: Sequence[Row]) -> dict[Contest, str]:
        """Contests whose peer is not there, with the reason."""
        reasons: dict[Contest, str] = {}
        for row in rows:
            if row.other is not None and not row.other.is_ours:
                try:
                    self._runner.interpreter(row.other)
                except NotInstalled as error:
                    reasons[row.ours, row.other] = str(error)
        return reasons

    def _pair(self, contest: Contest, number: int, answers: Any, problems: dict[Contest, str]) -> None:
        if contest in problems:
            return
        ours, other = contest
        say(f"{number + 1}/{self._pairs} {ours}{f' | {other}' if other else ''}")
        try:
            answers[contest].append((self._answer(ours), self._answer(other) if other else None))
        except RunFailed as error:
            problems[contest] = str(error)
            say(f"failed: {error}")

    def _answer(self, run: Run) -> Answer:
        if not self._shared:
            return self._runner.answer(run)
        if run not in self._round:
            self._round[run] = self._runner.answer(run)
        return self._round[run]

    def _idle_together(self, contests: Sequence[Contest], number: int, answers: Any, problems: Any) -> None:
        """All idle contestants in one window: they have nothing to do, and so do not disturb each other."""
        runs = list(dict.fromkeys(run for contest in contests for run in contest if run is not None))
        say(f"{number + 1}/{self._pairs} {len(runs)} idle contestants on {runs[0].database} at the same time")
        with ThreadPoolExecutor(len(runs)) as threads:
            if runs[0].database == "postgresql":
                with self._databases.without_autovacuum():
                    found = dict(zip(runs, threads.map(self._answer_or_problem, runs), strict=True))
            else:
                found = dict(zip(runs, threads.map(self._answer_or_problem, runs), strict=True))
        for contest in contests:
            both = [found[run] for run in contest if run is not None]
            if wrong := next((one for one in both if isinstance(one, str)), None):
                problems[contest] = wrong
            else:
                answers[contest].append((both[0], both[1] if len(both) == 2 else None))

    def _answer_or_problem(self, run: Run) -> Answer | str:
        try:
            return self._runner.answer(run)
        except RunFailed as error:
            return str(error)

    def _result(self, row: Row, left_out: Any, problems: Any, answers: Any) -> report.Result:
        contest = (row.ours, row.other)
        if contest in left_out:
            return report.result(row, left_out=left_out[contest])
        if contest not in answers:  # ours alone: any contest that we took part in has the answers
            contest = next(each for each in answers if each[0] == row.ours)
        if contest in problems:
            return report.result(row, problem=problems[contest])
        pairs = answers[contest]
        sides = [one for ours, other in pairs for one in (ours, other if row.other else None)]
        unavailable = [one["unavailable"] for one in sides if one and "unavailable" in one]
        if unavailable:
            return report.result(row, left_out=unavailable[0])
        if row.other is None:
            pairs = [(ours, None) for ours, _ in pairs]
        return report.result(row, measured(row.figure, pairs))


def _contests(rows: Sequence[Row]) -> list[Contest]:
    """Each pair of runs once. Ours alone is no run of its own where we run against somebody all the same."""
    contests = dict.fromkeys((row.ours, row.other) for row in rows)
    accompanied = {ours for ours, other in contests if other is not None}
    return [(ours, other) for ours, other in contests if other is not None or ours not in accompanied]


def say(line: str) -> None:
    sys.stderr.write(line + "\n")


def about(pairs: int) -> dict[str, Any]:
    """What the figures depend on, without the names of anybody's machine."""
    return {
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "processors": os.cpu_count(),
        "pairs": pairs,
    }


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="a minute's smoke: few tasks, one pair, installed peers")
    parser.add_argument("--only", default="", help="workloads, such as W1,W3")
    parser.add_argument("--pairs", type=int, default=0, help=f"pairs of runs for each row; {PAIRS}")
    parser.add_argument("--sqlite", action="store_true", help="only SQLite")
    parser.add_argument("--postgres", action="store_true", help="only PostgreSQL")
    parser.add_argument("--driver", choices=("psycopg", "asyncpg"), default="psycopg", help="our PostgreSQL driver")
    parser.add_argument("--match", default="", help="only rows whose name contains this, such as huey")
    parser.add_argument("--no-peers", action="store_true", help="only ourselves and the floors")
    parser.add_argument("--install-peers", action="store_true", help="with --quick: install missing peers too")
    parser.add_argument("--profile", action="store_true", help="only show where the time of our W1 goes")
    parser.add_argument("--json", type=Path, help="write the results there")
    parser.add_argument(
        "--from", type=Path, nargs="+", default=[], dest="saved", help="show saved results; run nothing"
    )
    parser.add_argument("--markdown", type=Path, help="fill the generated part of that page")
    found = parser.parse_args(given)
    found.workloads = [name for name in found.only.upper().split(",") if name] or list(WORKLOADS)
    if unknown := set(found.workloads) - set(WORKLOADS):
        parser.error(f"--only knows {', '.join(WORKLOADS)}, and not {', '.join(sorted(unknown))}")
    found.pairs = found.pairs or (QUICK_PAIRS if found.quick else PAIRS)
    chosen = [name for name, wanted in zip(DATABASES, (found.sqlite, found.postgres), strict=True) if wanted]
    found.databases = chosen or list(DATABASES)
    return found


def chosen_rows(options: argparse.Namespace) -> dict[str, list[Row]]:
    """The rows that the options ask for, by database."""
    sizes = QUICK if options.quick else Sizes()
    rows = {}
    for database in options.databases:
        table = Table(database, sizes, options.driver, frozenset(options.workloads))
        rows[database] = [
            row
            for row in table.rows()
            if options.match.lower() in row.name.lower()
            and not (options.no_peers and row.other is not None and not row.other.is_ours)
        ]
    return rows


def profile(options: argparse.Namespace, runner: Runner) -> None:
    """One profiled drain for each database."""
    sizes = QUICK if options.quick else Sizes()
    for database in options.databases:
        more = (("driver", options.driver),) if database == "postgresql" else ()
        runner.answer(Run("ours", "drain", database, (("number", sizes.drain), ("profile", 1), *more)))


def main() -> int:
    options = arguments()
    # So that the server and the runs are ended by the same steps as on Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    saved = [json.loads(path.read_text()) for path in options.saved]
    results = [one for each in saved for one in report.from_json(each)]
    facts = saved[0]["about"] if saved else about(options.pairs)
    if not saved:
        with Databases(CACHE / "work") as databases:
            runner = Runner(databases, CACHE, install=options.install_peers or not options.quick)
            if options.profile:
                profile(options, runner)
                return 0
            bench = Bench(runner, databases, pairs=options.pairs, shared=options.quick)
            for rows in chosen_rows(options).values():
                results += bench.measure(rows)
    if options.json:
        options.json.write_text(json.dumps(report.to_json(results, facts), indent=2) + "\n")
    if options.markdown:
        page = options.markdown.read_text(encoding="utf-8")
        options.markdown.write_text(report.filled(page, report.markdown(results, facts)), encoding="utf-8")
    sys.stdout.write(report.terminal(results))
    if options.quick:
        say("quick: this shows that the bench works; so few tasks and pairs tell nothing about speed")
    failed = report.problems(results)
    for line in failed:
        say(f"FAILED {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
