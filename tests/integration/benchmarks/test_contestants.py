"""The bench's own contestants work on both databases, and the floor keeps the same books as the scheduler."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.benchmarks import seeding
from tests.conftest import ROOT

NUMBER = 20
# Here it matters whether there is a value, not which.
DIFFER = {
    "id", "event_id", "trace_session_id", "node_id", "next_execution", "anchor_time", "last_execution", "created_at",
    "updated_at", "start_time", "end_time", "scheduled_for", "run_at", "duration_ms", "cpu_ms", "lateness_ms",
}  # fmt: skip


@pytest.fixture
def url(database_url: str) -> str:
    return database_url.replace("+aiosqlite", "").replace("+psycopg", "")


def run(module: str, workload: str, url: str, **options: Any) -> dict[str, Any]:
    """The answer of one of our own contestants, in a process of its own."""
    words = [sys.executable, "-m", f"tests.benchmarks.{module}", workload, f"--url={url}"]
    words += [f"--{name}={value}" for name, value in options.items()]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def books(url: str, table: str) -> dict[str, set[Any]]:
    """What stands in each column, over all rows; for those that differ by nature, whether anything does."""
    with seeding.connected(url) as connection:
        cursor = connection.execute(f"SELECT * FROM {table}")
        names = [column[0] for column in cursor.description]
        rows = cursor.fetchall()
    assert len(rows) == NUMBER
    return {
        name: {row[place] is not None if name in DIFFER else repr(row[place]) for row in rows}
        for place, name in enumerate(names)
    }


def test_a_drain_is_complete(url: str) -> None:
    answer = run("ours", "drain", url, number=NUMBER, everything=1)
    assert (answer["done"], answer["ran"]) == (NUMBER, NUMBER)
    assert "retry" in answer["options"]
    assert answer["elapsed"] > 0
    assert answer["cpu_seconds"] > 0


def test_the_floor_writes_what_the_scheduler_writes(url: str) -> None:
    """Column by column: a floor that left something out would not be one."""
    run("ours", "drain", url, number=NUMBER)
    ours = {table: books(url, table) for table in (seeding.EVENTS, seeding.EXECUTIONS)}
    with seeding.connected(url) as connection:
        for table in (seeding.EXECUTIONS, seeding.EVENTS):
            connection.execute(f"DELETE FROM {table}")
    answer = run("floor", "drain", url, number=NUMBER)
    assert answer["done"] == NUMBER
    assert {table: books(url, table) for table in (seeding.EVENTS, seeding.EXECUTIONS)} == ours


def test_a_seeded_database_can_be_drained(url: str) -> None:
    """Beside tasks of tomorrow and old executions, only what is due runs."""
    words = [sys.executable, "-m", "tests.benchmarks.seeding", f"--url={url}", "--pending=50", "--history=70"]
    subprocess.run(words, cwd=ROOT, check=True, timeout=60)
    with seeding.connected(url) as connection:
        assert seeding.count(connection, seeding.EVENTS, "status = 'pending'") == 50
        assert seeding.count(connection, seeding.EXECUTIONS, "state = 'succeeded'") == 71  # and the one copied from
    answer = run("ours", "drain", url, number=NUMBER)
    assert answer["done"] == NUMBER
    with seeding.connected(url) as connection:
        assert seeding.count(connection, seeding.EVENTS, "status = 'pending'") == 50
        assert seeding.count(connection, seeding.EXECUTIONS, "state = 'succeeded'") == 71 + NUMBER


def test_calls_of_many_callers_are_all_stored(url: str) -> None:
    answer = run("ours", "schedule", url, number=30, callers=10)
    assert (answer["done"], answer["expected"]) == (30, 30)
