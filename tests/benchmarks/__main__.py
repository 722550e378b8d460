"""`make bench`: how fast due tasks are drained, as ratios measured side by side. `ARGS="--quick"` for a minute's look.

Contestants run in turns, several rounds; the medians are compared. The floor writes the same rows by hand with the
standard library's sqlite3, in batches: nothing that keeps the same books on SQLite can be faster.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from modules.core.app_context import AppContext
from modules.core.ids import new_id
from modules.core.scheduler.db_ops.base import EVENTS
from modules.core.scheduler.new_event import event_values
from modules.core.scheduler.runtime import Runtime
from modules.core.scheduler.task_config import parse_task_config
from modules.core.settings import AppSettings

BATCH = 500
# What our own dispatch and recorder write for one execution, in their two transactions, as SQL by hand.
FLOOR_TRANSACTIONS = (
    (
        "INSERT INTO scheduler_executions (id, event_id, start_time, trace_session_id, scheduled_for, kind, attempt,"
        " failures, abandonments, state, run_at, priority, node_id, fence, lease_expires_at,"
        " cancel_requested, lateness_ms)"
        " VALUES (:run, :id, :now, :session, :now, 'schedule', 1, 0, 0, 'running', :now, 0, :session, 1, :now, 0, 1.5)",
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


async def no_op(parameters: dict[str, Any]) -> None:
    """The work: none."""


async def drain(folder: Path, number: int, *, slots: int, synchronous: str) -> float:
    """Seconds from the start of dispatch to the last durable completion of `number` due tasks."""
    own = {"enabled": False, "housekeeping": False, "max_concurrent_tasks": slots}
    settings = AppSettings.load(
        data_dir=folder, sqlite_synchronous=synchronous, module_settings={"core.scheduler": own}
    )
    context = AppContext(settings)
    context.register_modules()
    context.get_service("core.scheduler.tasks").register("bench", no_op)
    async with context:
        service, runtime = context.get_service("core.scheduler.service"), Runtime.of(context)
        await _insert_due(context, runtime, number)
        began = time.perf_counter()
        await service.start_background_processing()
        while (await service.db_ops.count_by_status()).get("completed", 0) < number:
            await asyncio.sleep(0.01)
        return time.perf_counter() - began


async def _insert_due(context: AppContext, runtime: Runtime, number: int) -> None:
    now = runtime.clock.now()
    config = parse_task_config({"name": "bench", "module_id": "bench", "function_name": "no_op", "schedule_time": now})
    rows = [
        event_values(config, runtime.registry, now, default_timezone="UTC", session_id=context.session_id)
        for _ in range(number)
    ]
    async with context.database.transaction() as connection:
        await connection.execute(insert(EVENTS), rows)


def floor(folder: Path, number: int, *, synchronous: str) -> float:
    """The same rows of the same tables by hand: claim, history, completion, settle; two transactions a batch."""
    asyncio.run(_only_insert(folder, number))
    database = sqlite3.connect(folder / "scheduler.sqlite3", isolation_level=None)
    database.execute(f"PRAGMA synchronous = {synchronous}")
    session, now = "0199c0de-0000-7000-8000-000000000000", "2026-01-01 00:00:00.000000"
    began = time.perf_counter()
    while True:
        due = database.execute(
            "SELECT id FROM scheduler_events WHERE status = 'pending' AND active_execution_id IS NULL"
            " ORDER BY next_execution LIMIT ?",
            (BATCH,),
        ).fetchall()
        if not due:
            break
        rows = [{"id": event, "run": new_id(), "session": session, "now": now} for (event,) in due]
        for statements in FLOOR_TRANSACTIONS:
            database.execute("BEGIN IMMEDIATE")
            for statement in statements:
                database.executemany(statement, rows)
            database.execute("COMMIT")
    taken = time.perf_counter() - began
    database.close()
    return taken


async def _only_insert(folder: Path, number: int) -> None:
    own = {"enabled": False, "housekeeping": False}
    context = AppContext(AppSettings.load(data_dir=folder, module_settings={"core.scheduler": own}))
    context.register_modules()
    context.get_service("core.scheduler.tasks").register("bench", no_op)
    async with context:
        await _insert_due(context, Runtime.of(context), number)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--quick", action="store_true", help="fewer tasks and rounds")
    quick = parser.parse_args().quick
    number, rounds = (500, 2) if quick else (5_000, 5)
    contestants: dict[str, Callable[[Path], float]] = {
        "floor, FULL": lambda folder: floor(folder, number, synchronous="FULL"),
        "ours, FULL, 500 slots": lambda folder: asyncio.run(drain(folder, number, slots=500, synchronous="FULL")),
        "ours, NORMAL, 500 slots": lambda folder: asyncio.run(drain(folder, number, slots=500, synchronous="NORMAL")),
        "ours, FULL, 10 slots": lambda folder: asyncio.run(drain(folder, number, slots=10, synchronous="FULL")),
    }
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            with tempfile.TemporaryDirectory() as folder:
                rates[name].append(number / run(Path(folder)))
    out = sys.stdout
    out.write(f"W1 drain, SQLite, {number} due no-op tasks, {rounds} rounds in turns; medians\n\n")
    base = statistics.median(rates["floor, FULL"])
    for name, measured in rates.items():
        rate = statistics.median(measured)
        out.write(f"{name:26} {rate:9.0f}/s   {rate / base:6.3f} of the floor\n")
    full, normal = (statistics.median(rates[f"ours, {mode}, 500 slots"]) for mode in ("FULL", "NORMAL"))
    out.write(f"\nFULL against NORMAL: {full / normal:.2f}\n")


if __name__ == "__main__":
    main()
