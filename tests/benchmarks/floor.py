"""The floor: the same rows of the same tables written by hand, in batches of 500. `python -m tests.benchmarks.floor`.

What the dispatcher and the recorder write for one execution, in their two transactions: nothing that keeps the same
books can be faster. A test compares what it leaves in the tables with what the scheduler leaves.
"""

from __future__ import annotations

import asyncio
import sqlite3
from argparse import ArgumentParser, Namespace
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from modules.core.ids import new_id
from tests.benchmarks import measure, ours, seeding

BATCH = 500
SESSION = "0199c0de-0000-7000-8000-000000000000"

SQLITE_DUE = (
    "SELECT id FROM scheduler_events WHERE status = 'pending' AND active_execution_id IS NULL"
    " AND next_execution <= :now ORDER BY next_execution LIMIT :batch"
)
SQLITE_TRANSACTIONS = (
    (
        "INSERT INTO scheduler_executions (id, event_id, start_time, trace_session_id, scheduled_for, kind, attempt,"
        " failures, abandonments, state, run_at, priority, node_id, fence, lease_expires_at,"
        " cancel_requested, lateness_ms)"
        " VALUES (:run, :id, :now, :session, :now, 'schedule', 1, 0, 0, 'running', :now, 0, :session, 1, :lease,"
        " 0, 1.5)",
        "UPDATE scheduler_events SET next_execution = NULL, fired_count = 1, fence = 1, active_execution_id = :run"
        " WHERE id = :id AND status = 'pending' AND active_execution_id IS NULL AND fence = 0",
    ),
    (
        "UPDATE scheduler_executions SET state = 'succeeded', success = 1, end_time = :now, duration_ms = 0.5,"
        " cpu_ms = 0.1, lease_expires_at = NULL WHERE id = :run AND fence = 1 AND state = 'running'",
        "UPDATE scheduler_events SET status = 'completed', active_execution_id = NULL, fence = 2, execution_count = 1,"
        " last_execution = :now WHERE id = :id",
    ),
)

POSTGRESQL_DUE = (
    "SELECT id FROM scheduler_events WHERE status = 'pending' AND active_execution_id IS NULL"
    " AND next_execution <= $1 ORDER BY next_execution LIMIT $2 FOR UPDATE SKIP LOCKED"
)
POSTGRESQL_CLAIM = (
    "INSERT INTO scheduler_executions (id, event_id, start_time, trace_session_id, scheduled_for, kind, attempt,"
    " failures, abandonments, state, run_at, priority, node_id, fence, lease_expires_at, cancel_requested, lateness_ms)"
    " SELECT run, event, $3, $4, $3, 'schedule', 1, 0, 0, 'running', $3, 0, $4, 1, $5, false, 1.5"
    " FROM unnest($1::text[], $2::text[]) AS given(run, event)",
    "UPDATE scheduler_events SET next_execution = NULL, fired_count = 1, fence = 1, active_execution_id = run"
    " FROM unnest($1::text[], $2::text[]) AS given(run, event)"
    " WHERE id = event AND status = 'pending' AND active_execution_id IS NULL AND fence = 0",
)
# `success IS NULL` is what "still open" is here. `state = 'running'` would let the planner read the partial index on
# running rows, where every row that was closed since the last vacuum still has its entry: three times slower at 20,000.
POSTGRESQL_FINISH = (
    "UPDATE scheduler_executions SET state = 'succeeded', success = true, end_time = finished, duration_ms = 0.5,"
    " cpu_ms = 0.1, lease_expires_at = NULL FROM unnest($1::text[], $2::timestamptz[]) AS given(run, finished)"
    " WHERE id = run AND fence = 1 AND success IS NULL",
    "UPDATE scheduler_events SET status = 'completed', active_execution_id = NULL, fence = 2, execution_count = 1,"
    " last_execution = started FROM unnest($1::text[], $2::timestamptz[]) AS given(event, started) WHERE id = event",
)


def on_sqlite(url: str, synchronous: str) -> measure.Meter:
    """The standard library's sqlite3, two transactions a batch."""
    with closing(sqlite3.connect(measure.sqlite_path(url), isolation_level=None)) as database:
        database.execute(f"PRAGMA synchronous = {synchronous}")
        meter = measure.Meter()
        while True:
            now, lease = (_text(moment) for moment in _now_and_lease())
            due = database.execute(SQLITE_DUE, {"now": now, "batch": BATCH}).fetchall()
            if not due:
                break
            common = {"session": SESSION, "now": now, "lease": lease}
            rows = [{"id": event, "run": new_id(), **common} for (event,) in due]
            for statements in SQLITE_TRANSACTIONS:
                database.execute("BEGIN IMMEDIATE")
                for statement in statements:
                    database.executemany(statement, rows)
                database.execute("COMMIT")
        meter.stop()
        return meter


async def on_postgresql(url: str) -> measure.Meter:
    """asyncpg, prepared statements over arrays, two transactions a batch."""
    connection = await asyncpg.connect(url)
    due, *claim = [await connection.prepare(text) for text in (POSTGRESQL_DUE, *POSTGRESQL_CLAIM)]
    close, settle = [await connection.prepare(text) for text in POSTGRESQL_FINISH]
    meter = measure.Meter()
    while True:
        now, lease = _now_and_lease()
        async with connection.transaction():
            events = [row["id"] for row in await due.fetch(now, BATCH)]
            runs = [new_id() for _ in events]
            await claim[0].fetch(runs, events, now, SESSION, lease)
            await claim[1].fetch(runs, events)
        if not events:
            break
        finished = [now] * len(events)
        async with connection.transaction():
            await close.fetch(runs, finished)
            await settle.fetch(events, finished)
    meter.stop()
    await connection.close()
    return meter


def _now_and_lease() -> tuple[datetime, datetime]:
    now = datetime.now(UTC)
    return now, now + timedelta(seconds=30)


def _text(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(" ", "microseconds")


def drain(arguments: Namespace) -> measure.Figures:
    asyncio.run(_make(arguments))
    sqlite = arguments.url.startswith("sqlite")
    synchronous = arguments.synchronous or "NORMAL"
    meter = on_sqlite(arguments.url, synchronous) if sqlite else asyncio.run(on_postgresql(arguments.url))
    with seeding.connected(arguments.url) as reader:
        done = seeding.count(reader, seeding.EXECUTIONS, "state = 'succeeded'")
    countdown = measure.Countdown(arguments.number)
    countdown.count = done
    return measure.drained(countdown, meter, done)


async def _make(arguments: Namespace) -> None:
    async def no_op(parameters: dict[str, Any]) -> None:
        raise AssertionError("the floor runs no task functions")

    async with ours.opened(arguments, {"no_op": no_op}) as service:
        await seeding.make_due(arguments.url, service, arguments.number)


def arguments() -> ArgumentParser:
    return ours.arguments()


if __name__ == "__main__":
    measure.main("core-scheduler", {"drain": drain}, given=arguments())
