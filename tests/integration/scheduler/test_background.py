"""The loops with real clocks: asleep until there is work, woken by it, and gone without a trace when stopped."""

from __future__ import annotations

import asyncio
import gc
import threading
from pathlib import Path
from typing import Any

import pytest

from modules.core.clock import SystemClock
from modules.core.scheduler.db_ops.base import NODES
from tests.support.app import App, running_app


async def work(parameters: dict[str, Any]) -> str:
    return "done"


async def _until(app: App, task_id: str, state: str) -> dict[str, Any]:
    """The last execution of a task once it has that state; the test's own timeout is the limit."""
    while True:
        rows = await app.history(task_id)
        if rows and rows[-1]["state"] == state:
            return rows[-1]
        await asyncio.sleep(0.01)


class NotedWaits(SystemClock):
    """The machine's clocks. `waits` holds the seconds of each wait() under way or over."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        self.waits.append(seconds)
        await super().wait(event, seconds)


async def test_a_schedule_call_wakes_the_sleeping_loop(database_url: str) -> None:
    clock = NotedWaits()
    async with running_app(database_url, work, clock=clock, enabled=True, poll_ceiling_seconds=3600) as app:
        while not any(3590 < seconds <= 3600 for seconds in clock.waits):
            await asyncio.sleep(0.001)
        task_id = await app.schedule()
        row = await _until(app, task_id, "succeeded")
        assert (row["result"], row["attempt"]) == ("done", 1)
        later = await app.schedule(interval="1 second")
        row = await _until(app, later, "succeeded")
        assert row["start_time"] >= row["scheduled_for"], "it was woken too early"
        assert set(clock.waits) & {0.1, 0.5, 1.0} == set(), "it looks every so often instead of being woken"


async def test_the_loop_goes_on_after_its_tables_were_away(sqlite_url: str) -> None:
    async with running_app(sqlite_url, work, enabled=True, poll_ceiling_seconds=0.1) as app:
        await app.sql("ALTER TABLE scheduler_missed_runs RENAME TO away")
        await app.sql("ALTER TABLE scheduler_events RENAME TO events_away")
        while not app.service.dispatcher.loop.failures:
            await asyncio.sleep(0.01)
        assert (await app.service.vitals()).health() == "degraded"
        await app.sql("ALTER TABLE events_away RENAME TO scheduler_events")
        await app.sql("ALTER TABLE away RENAME TO scheduler_missed_runs")
        task_id = await app.schedule()
        await _until(app, task_id, "succeeded")
        assert (await app.service.vitals()).health() == "ok"


async def test_a_stop_waits_for_what_runs(database_url: str) -> None:
    began = asyncio.Event()
    release = asyncio.Event()

    async def slow(parameters: dict[str, Any]) -> str:
        began.set()
        await release.wait()
        return "finished in peace"

    async with running_app(database_url, slow, enabled=True) as app:
        task_id = await app.schedule("slow")
        await began.wait()
        draining = asyncio.Event()
        drain = app.service.dispatcher.drain

        async def tell(seconds: float) -> None:
            draining.set()
            await drain(seconds)

        app.service.dispatcher.drain = tell  # type: ignore[method-assign]
        stopping = asyncio.create_task(app.service.stop())
        await draining.wait()
        async with app.context.database.read() as connection:
            assert [row.state for row in await connection.execute(NODES.select())] == ["draining"]
        assert not stopping.done()
        assert len(app.service.job_manager.running) == 1
        release.set()
        await stopping
        [row] = await app.history(task_id)
        assert (row["state"], row["result"]) == ("succeeded", "finished in peace")


@pytest.mark.parametrize("hurried", [False, True])
async def test_what_a_stop_interrupts_is_ready_again_at_once(database_url: str, hurried: bool) -> None:
    began = asyncio.Event()
    attempts: list[int] = []

    async def endless(parameters: dict[str, Any], context: Any) -> None:
        attempts.append(context.attempt)
        began.set()
        if len(attempts) == 1:
            await asyncio.Event().wait()

    drain = 3600 if hurried else 0.05
    async with running_app(database_url, endless, enabled=True, drain_timeout_seconds=drain) as app:
        task_id = await app.schedule("endless", retry={"max_attempts": 1})
        await began.wait()
        stopping = asyncio.create_task(app.service.stop())
        if hurried:
            await asyncio.sleep(0)
            while not stopping.done():
                app.service.hurry()
                await asyncio.sleep(0.01)
        await stopping
        first, second = await app.history(task_id)
        assert (first["state"], first["success"]) == ("interrupted", False)
        assert (second["state"], second["attempt"]) == ("ready", 2)
        async with app.context.database.read() as connection:
            assert (await connection.execute(NODES.select())).all() == []
        await app.service.start_background_processing()
        await _until(app, task_id, "succeeded")
        assert attempts == [1, 2]
        assert (await app.task(task_id))["status"] == "completed"


async def test_a_blocked_event_loop_does_not_lose_the_leases(database_url: str) -> None:
    import time

    async def blocks(parameters: dict[str, Any]) -> str:
        time.sleep(2.5)
        return "survived"

    async with running_app(database_url, blocks, enabled=True, lease_seconds=1) as app:
        task_id = await app.schedule("blocks")
        row = await _until(app, task_id, "succeeded")
        assert row["attempt"] == 1
        assert app.service.recovery.recovered == 0


async def test_starting_and_stopping_a_hundred_times_leaks_nothing(database_url: str) -> None:
    async with running_app(database_url, work) as app:
        await app.service.start_background_processing()
        await app.service.stop()
        gc.collect()
        before = _counts()
        for _ in range(100):
            await app.service.start_background_processing()
            await app.service.stop()
        gc.collect()
        after = _counts()
    assert after["tasks"] <= before["tasks"]
    assert after["threads"] <= before["threads"]
    assert after["files"] <= before["files"] + 8, "more than the connections that a pool keeps"


async def test_opening_and_closing_applications_leaks_nothing(sqlite_url: str) -> None:
    async def once() -> None:
        async with running_app(sqlite_url, work, enabled=True, housekeeping=True) as app:
            await _until(app, await app.schedule(), "succeeded")

    for _ in range(2):
        await once()
    gc.collect()
    before = _counts()
    for _ in range(20):
        await once()
    gc.collect()
    after = _counts()
    assert after["tasks"] <= before["tasks"]
    assert after["threads"] <= before["threads"]
    assert after["files"] <= before["files"]


async def test_start_and_stop_are_idempotent(database_url: str) -> None:
    async with running_app(database_url, work) as app:
        await app.service.stop()
        await app.service.start_background_processing()
        node = app.runtime.node_id
        await app.service.start_background_processing()
        assert app.runtime.node_id == node
        await app.service.stop()
        await app.service.stop()
        assert not app.service.is_running


async def test_two_nodes_share_the_work_and_run_nothing_twice(database_url: str) -> None:
    ran: list[str] = []

    async def note(parameters: dict[str, Any], context: Any) -> None:
        ran.append(context.task_id)
        await asyncio.sleep(0.001)

    async with (
        running_app(database_url, note, enabled=True, poll_ceiling_seconds=0.1) as first,
        running_app(database_url, note, enabled=True, poll_ceiling_seconds=0.1) as second,
    ):
        assert (await first.service.status()).unwrap()["nodes"] == 2
        ids = [await (first, second)[number % 2].schedule("note") for number in range(60)]
        while (await first.service.status()).unwrap()["tasks"].get("completed", 0) < 60:
            await asyncio.sleep(0.02)
        assert sorted(ran) == sorted(ids)
        history = (await first.service.list_executions(limit=200)).unwrap()["executions"]
        assert len(history) == 60


def _counts() -> dict[str, int]:
    return {
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
        "files": len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0,
    }
