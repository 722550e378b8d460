"""A server that is told to stop: in time, in order, and so that others go on at once with what it could not finish."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from tests.acceptance.test_outages import until
from tests.support import ledger
from tests.support.server import Server, serving

LISTENING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
DRAIN, GRACE = 1.0, 1.0
# What Python needs to end a process on a busy machine is not the scheduler's.
SLACK = 1.0 + 2.0
SETTINGS = {
    "CORE_SCHEDULER_DRAIN_TIMEOUT_SECONDS": str(DRAIN),
    "CORE_SCHEDULER_CANCEL_GRACE_SECONDS": str(GRACE),
    "CORE_SCHEDULER_POLL_CEILING_SECONDS": "30",
}


def start_tasks(server: Server, folder: Path, number: int, name: str = "note") -> None:
    before = len(ledger.lines(folder, "start"))
    for _ in range(number):
        assert server.client.post("/tasks", json=ledger.task(name, seconds=3600)).status_code == 201
    until(lambda: len(ledger.lines(folder, "start")) == before + number)


def seconds_to_end(server: Server, *, within: float, send: Callable[[], Any] | None = None) -> float:
    began = time.monotonic()
    (send or server.process.terminate)()
    server.process.wait(within)
    return time.monotonic() - began


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()  # type: ignore[call-overload,no-any-return,unused-ignore]


def test_ten_running_tasks_are_drained_interrupted_and_taken_over(tmp_path: Path, postgres_url: str) -> None:
    """The second node is idle and would look in 30 s only: it is woken."""
    env = {**ledger.install(tmp_path), **SETTINGS}
    plain = postgres_url.replace("+psycopg", "")
    with serving(tmp_path, "--database-url", postgres_url, env=env) as first:
        start_tasks(first, tmp_path, 10)
        with serving(tmp_path, "--database-url", postgres_url, env=env) as second:
            until(lambda: rows(plain, LISTENING) == [(2,)])
            took = seconds_to_end(first, within=60)
            ended = time.monotonic()
            assert first.process.returncode == 0
            assert DRAIN <= took <= DRAIN + GRACE + SLACK
            until(lambda: len(ledger.lines(tmp_path, "start")) == 20)
            assert time.monotonic() - ended < 2.0
            assert {line["pid"] for line in ledger.lines(tmp_path, "start")[10:]} == {second.process.pid}
            states = rows(plain, "SELECT state, count(*) FROM scheduler_executions GROUP BY 1 ORDER BY 1")
            assert states == [("interrupted", 10), ("running", 10)]
            assert seconds_to_end(second, within=60) <= DRAIN + GRACE + SLACK
    assert rows(plain, "SELECT count(*) FROM scheduler_nodes") == [(0,)]
    connected = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    until(lambda: rows(plain, connected) == [(0,)], 5)


def test_tasks_that_ignore_their_cancellation_do_not_keep_the_process(tmp_path: Path) -> None:
    with serving(tmp_path, env={**ledger.install(tmp_path), **SETTINGS}) as server:
        start_tasks(server, tmp_path, 10, "stubborn")
        assert seconds_to_end(server, within=60) <= DRAIN + GRACE + SLACK
        assert server.process.returncode == 1
        assert "all but 10 task functions" in server.output()
    with closing(sqlite3.connect(tmp_path / "data" / "scheduler.sqlite3")) as database:
        states = database.execute("SELECT state, count(*) FROM scheduler_executions GROUP BY 1 ORDER BY 1").fetchall()
        # A function that ignores its cancellation is settled all the same; its next attempt waits for another process.
        assert states == [("interrupted", 10), ("ready", 10)]
        assert database.execute("SELECT count(*) FROM scheduler_nodes").fetchone() == (0,)


def test_a_third_signal_gives_up(tmp_path: Path) -> None:
    patient = {"CORE_SCHEDULER_DRAIN_TIMEOUT_SECONDS": "600", "CORE_SCHEDULER_CANCEL_GRACE_SECONDS": "600"}
    with serving(tmp_path, env={**ledger.install(tmp_path), **patient}) as server:
        start_tasks(server, tmp_path, 2, "stubborn")
        server.process.send_signal(signal.SIGTERM)
        until(lambda: "waiting up to 600 s for 2 running tasks" in server.output())
        assert ledger.lines(tmp_path, "cancelled") == []
        server.process.send_signal(signal.SIGTERM)
        until(lambda: len(ledger.lines(tmp_path, "cancelled")) == 2)
        assert server.process.poll() is None, "the second signal skips the drain, not the grace"
        assert seconds_to_end(server, within=60) < 3.0
        assert server.process.returncode == 1
        assert "third signal" in server.output()
