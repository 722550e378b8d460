"""Several processes on one SQLite file: nobody hears that it is locked, and no count is lost."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from tests.support.server import patience

PROCESSES = 4
TASKS_EACH = 25
TOTAL = PROCESSES * TASKS_EACH
HOLD = 0.1  # seconds for which somebody else has the file for himself, again and again


def test_nobody_hears_that_the_file_is_locked_and_no_count_is_lost(tmp_path: Path) -> None:
    """They start at the same moment on a new file, and each runs what the others schedule."""
    file = tmp_path / "shared.sqlite3"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE counter (value INTEGER NOT NULL)")
        connection.execute("INSERT INTO counter VALUES (0)")
    connection.close()
    command = [sys.executable, "-m", "tests.support.counting_process"]
    processes = [
        subprocess.Popen(
            [*command, str(number), str(tmp_path), str(TASKS_EACH), str(TOTAL)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    try:
        _keep_it_busy(file, processes)
        told = [process.communicate(timeout=60) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [errors for _, errors in told] == [""] * PROCESSES
    assert [json.loads(output)["wrong"] for output, _ in told] == [[]] * PROCESSES

    connection = sqlite3.connect(file)
    try:
        assert connection.execute("SELECT value FROM counter").fetchone() == (TOTAL,)
        results = connection.execute("SELECT state, attempt, result FROM scheduler_executions").fetchall()
        nodes = connection.execute("SELECT count(DISTINCT node_id) FROM scheduler_executions").fetchone()
    finally:
        connection.close()
    assert {(state, attempt) for state, attempt, _ in results} == {("succeeded", 1)}
    assert sorted(int(result) for *_, result in results) == list(range(1, TOTAL + 1))
    assert nodes > (1,)


def _keep_it_busy(file: Path, processes: list[subprocess.Popen[str]]) -> None:
    """Somebody from outside writes too, and takes his time, until half of the work is done."""
    connection = sqlite3.connect(file, timeout=30, isolation_level=None)
    try:
        for _ in patience():
            [counted] = connection.execute("SELECT value FROM counter").fetchone()
            if counted >= TOTAL // 2 or any(process.poll() for process in processes):
                return
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(HOLD)
            connection.execute("COMMIT")
    finally:
        connection.close()
