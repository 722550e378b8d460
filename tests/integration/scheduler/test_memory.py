"""What the process keeps does not grow with what waits in the tables, nor with how long it runs."""

from __future__ import annotations

import gc
import sys
from datetime import timedelta

from tests.support.app import App

PENDING = 100_000
TASKS = 20
PERIOD = timedelta(seconds=10)
# Blocks of Python's allocator; one row kept for each task or execution would be thousands.
FLAT = 1_500


def _blocks() -> int:
    """The memory blocks that live objects hold; unlike the size of the process, garbage does not count."""
    gc.collect()
    return sys.getallocatedblocks()


async def _run(app: App, duration: timedelta) -> int:
    taken = 0
    for _ in range(duration // PERIOD):
        app.clock.advance(seconds=PERIOD.total_seconds())
        taken += len(await app.service.run_due())
    return taken


async def test_a_hundred_thousand_waiting_tasks_stay_in_the_tables(app: App) -> None:
    for number in range(TASKS):
        await app.schedule(interval="10 seconds", unique_key=f"task {number}")
    await _run(app, 10 * PERIOD)
    before = _blocks()
    await app.schedule(schedule_time=app.clock.now() + timedelta(days=1))
    await app.sql(
        f"WITH RECURSIVE counter(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM counter WHERE i < {PENDING - 1}) "
        "INSERT INTO scheduler_events (id, name, module_id, function_name, parameters, recurring, timezone, "
        "next_execution, status, execution_count, fired_count, fence, overlap, catch_up, priority, delivery, version, "
        "created_at, updated_at) "
        "SELECT 'waiting ' || CAST(i AS TEXT), name, module_id, function_name, parameters, recurring, timezone, "
        "next_execution, status, 0, 0, 0, overlap, catch_up, priority, delivery, 1, created_at, updated_at "
        "FROM counter, (SELECT * FROM scheduler_events WHERE unique_key IS NULL) AS waiting"
    )
    counted = (await app.service.status()).unwrap()
    assert counted["tasks"]["pending"] == PENDING + TASKS
    assert await _run(app, 10 * PERIOD) == 10 * TASKS
    assert _blocks() - before < FLAT


async def test_an_hour_of_work_leaves_nothing_behind(app: App) -> None:
    for number in range(TASKS):
        await app.schedule(interval="10 seconds", unique_key=f"task {number}")
    await _run(app, timedelta(minutes=5))
    before = _blocks()
    assert await _run(app, timedelta(hours=1)) == TASKS * 360
    assert _blocks() - before < FLAT
