"""Rows that somebody damaged: each is dealt with alone, and no loop stops for it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from tests.integration.scheduler.conftest import fail, work
from tests.support.app import NOON, App, manual_clock, running_app


async def test_an_event_that_cannot_be_read_is_parked_and_blocks_nobody(sqlite_url: str) -> None:
    async with running_app(sqlite_url, work, clock=manual_clock()) as app:
        broken = await app.schedule(interval="1 hour")
        good = await app.schedule(schedule_time=NOON + timedelta(hours=1))
        await app.sql("UPDATE scheduler_events SET \"trigger\" = '{broken' WHERE id = :id", id=broken)
        app.clock.advance(hours=1)
        assert [row["task_id"] for row in await app.run_due()] == [good]
        await app.sql('UPDATE scheduler_events SET "trigger" = NULL WHERE id = :id', id=broken)
        task = await app.task(broken)
        assert task["status"] == "paused"
        assert task["pause_reason"].startswith("Parked:")
        await app.service.resume_task(broken)
        app.clock.advance(hours=1)
        assert [row["task_id"] for row in await app.run_due()] == [broken]


async def test_a_waiting_execution_that_cannot_be_read_is_closed_and_blocks_nobody(sqlite_url: str) -> None:
    async with running_app(sqlite_url, work, clock=manual_clock()) as app:
        broken = await app.schedule(interval="1 day")
        good = await app.schedule(interval="1 day")
        for task_id in (broken, good):
            (await app.service.execute_task(task_id)).unwrap()
        await app.sql("UPDATE scheduler_executions SET result = '{broken' WHERE event_id = :id", id=broken)
        assert [row["task_id"] for row in await app.run_due()] == [good]
        await app.sql("UPDATE scheduler_executions SET result = NULL WHERE event_id = :id", id=broken)
        [row] = await app.history(broken)
        assert (row["state"], row["error_type"]) == ("failed", "storage")
        app.clock.advance(days=1)
        assert len(await app.run_due()) == 2


async def test_an_outcome_whose_consequences_cannot_be_told_is_recorded_all_the_same(app: App) -> None:
    broken = await app.schedule("fail", interval="1 hour")
    good = await app.schedule("work", interval="1 hour")
    await app.sql("UPDATE scheduler_events SET retry = '\"junk\"' WHERE id = :id", id=broken)
    app.clock.advance(hours=1)
    assert len(await app.run_due()) == 2
    assert [row["state"] for row in await app.history(broken)] == ["failed"]
    assert [row["state"] for row in await app.history(good)] == ["succeeded"]
    await app.sql("UPDATE scheduler_events SET retry = NULL WHERE id = :id", id=broken)
    assert (await app.task(broken))["status"] == "paused"
    assert (await app.task(good))["status"] == "pending"


async def test_parameters_that_are_no_object_fail_their_own_execution_only(app: App) -> None:
    broken, good = await app.schedule(), await app.schedule()
    await app.sql("UPDATE scheduler_events SET parameters = '[1]' WHERE id = :id", id=broken)
    rows = {row["task_id"]: row for row in await app.run_due()}
    assert rows[broken]["error_type"] == "INVALID_PARAMETERS"
    assert rows[good]["success"] is True
    assert (await app.task(broken))["parameters"] == {}


async def test_a_database_that_is_away_is_told_and_nothing_is_lost(sqlite_url: str) -> None:
    """Outcomes wait in memory until they can be written; callers get an error that says to try again."""
    release = asyncio.Event()

    async def slow(parameters: dict[str, object]) -> str:
        await release.wait()
        return "kept"

    async with running_app(sqlite_url, slow, fail, enabled=True, poll_ceiling_seconds=0.1) as app:
        task_id = await app.schedule("slow")
        while not app.service.job_manager.running:
            await asyncio.sleep(0.01)
        await app.sql("ALTER TABLE scheduler_executions RENAME TO away")
        release.set()
        while not app.service.job_manager.recorder.failures:
            await asyncio.sleep(0.01)
        refused = await app.service.list_executions()
        assert refused.error is not None
        assert refused.error["code"] == "DATABASE_UNAVAILABLE"
        await app.sql("ALTER TABLE away RENAME TO scheduler_executions")
        while (await app.history(task_id))[0]["state"] != "succeeded":
            await asyncio.sleep(0.01)
        assert (await app.history(task_id))[0]["result"] == "kept"
