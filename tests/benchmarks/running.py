"""Runs a contestant's script in a process of its own and reads what it answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.catalogue import PEERS
from tests.benchmarks.databases import ROOT, Databases
from tests.benchmarks.environments import interpreter
from tests.benchmarks.figures import Answer, incomplete
from tests.benchmarks.rows import Run

TIMEOUT = 900.0
LAST_WORDS = 600
OTHERS_SETTINGS = ("APP_", "CORE_", "STANDARD_", "PG", "TINYJOBS_", "HUEY_", "PROCRASTINATE_", "CHANCY_")
# A recurring run counts how far it came; the share of what was due is a figure of its own.
MAY_FALL_BEHIND = {"recurring"}


class RunFailed(Exception):
    """A contestant did not do its work; the message says what is wrong."""


class Runner:
    """Runs contestants. Peers' environments are in `cache`, and are made there when `install` says so."""

    def __init__(self, databases: Databases, cache: Path, *, install: bool) -> None:
        self._databases = databases
        self._cache = cache
        self._install = install

    def answer(self, run: Run) -> Answer:
        """The figures of one run. Raises RunFailed when it failed or left work undone, NotInstalled."""
        python = sys.executable if run.is_ours else str(self.interpreter(run))
        with self._databases.fresh(run.database, run.template) as url:
            marks: dict[str, int] = {}
            counts = run.workload == "idle" and run.database == "postgresql"

            def marked(name: str) -> None:
                if counts:
                    marks[name] = self._databases.transactions(url)

            answer = _answer(run, command(run, python, url), marked, profiled="profile" in dict(run.options))
            if counts and len(marks) == 2:
                per_minute = (marks["end"] - marks["begin"]) * 60 / float(dict(run.options)["seconds"])
                answer["transactions_per_minute"] = per_minute
        problem = None if run.workload in MAY_FALL_BEHIND else incomplete(answer)
        if problem:
            raise RunFailed(f"{run}: {problem}")
        return answer

    def interpreter(self, run: Run) -> Path:
        """The Python that runs a peer. Raises NotInstalled."""
        return interpreter(PEERS[run.who], self._cache, install=self._install)


def command(run: Run, python: str, url: str) -> list[str]:
    """The command line of a run."""
    if run.is_ours:
        script = [python, "-m", f"tests.benchmarks.{run.who}"]
    else:
        # -P: a script called huey.py must not be what `import huey` finds.
        script = [python, "-P", str(ROOT / "tests" / "benchmarks" / "peers" / f"{run.who}.py")]
    options = [f"--{name}={value}" for name, value in run.options]
    return [*script, run.workload, f"--url={url}", *options]


def _answer(run: Run, words: list[str], marked: Callable[[str], None], *, profiled: bool) -> dict[str, Any]:
    answer: dict[str, Any] | None = None
    with tempfile.TemporaryFile("w+") as errors, _started(words, None if profiled else errors) as process:
        for line in process.stdout or ():
            said = json.loads(line)
            if "mark" in said:
                marked(said["mark"])
            else:
                answer = said
        code = process.wait()
        errors.seek(0)
        told = errors.read().strip()
    if code == -signal.SIGKILL:
        raise RunFailed(f"{run}: it was ended after {TIMEOUT:.0f} s")
    if code != 0 or answer is None:
        raise RunFailed(f"{run}: it ended with code {code}: {told[-LAST_WORDS:]}")
    return answer


@contextmanager
def _started(words: list[str], errors: Any) -> Iterator[subprocess.Popen[str]]:
    """The process, ended with its children when it takes too long or when the bench is stopped."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS_SETTINGS)}
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        start_new_session=True,
    )

    def end() -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(TIMEOUT, end)
    timer.start()
    try:
        with process:
            yield process
    finally:
        timer.cancel()
        end()
