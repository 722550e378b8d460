"""Rows that somebody damaged: each is dealt with alone, and no loop stops for it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from modules.core.scheduler import schemas
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


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("parameters", "'not json'"),
        ("parameters", "'[1]'"),
        ("retry", "'\"x\"'"),
        ("tags", "'5'"),
        ("tags", "'[1, null]'"),
        ("next_execution", "'garbage'"),
        ("next_execution", "''"),
        ("last_execution", "'2026-13-45'"),
        ("created_at", "''"),
        ("interval_value", "'many'"),
        ("timeout_s", "'long'"),
        ("version", "'first'"),
        ("name", "x'ff'"),
        ("name", "CAST(x'ff' AS TEXT)"),
    ],
)
async def test_a_damaged_task_hides_no_other_and_can_be_mended_or_cancelled(
    sqlite_url: str, column: str, value: str
) -> None:
    async with running_app(sqlite_url, work, clock=manual_clock()) as app:
        broken, good = [await app.schedule(interval="1 hour") for _ in range(2)]
        await app.sql(f"UPDATE scheduler_events SET {column} = {value} WHERE id = :id", id=broken)
        tasks = {task["id"]: task for task in (await app.service.list_tasks()).unwrap()["tasks"]}
        assert tasks[broken]["damaged"] == [column]
        assert tasks[good]["damaged"] == []
        schemas.Task.model_validate(tasks[broken])
        app.clock.advance(hours=1)
        assert good in [row["task_id"] for row in await app.run_due()]
        if (await app.task(broken))["status"] == "paused":
            refused = await app.service.resume_task(broken)
            assert refused.error is not None
            assert "PATCH" in refused.error["message"]
        mend = {"name": "New", "parameters": {}, "retry": None, "tags": [], "timeout_seconds": None, "interval": "2 h"}
        mended = (await app.service.update_task(broken, mend)).unwrap()
        assert mended["damaged"] == ([column] if column == "created_at" else [])
        (await app.service.cancel_task(broken)).unwrap()


@pytest.mark.parametrize(
    ("column", "value"),
    [("result", "'{half'"), ("start_time", "'never'"), ("duration_ms", "'long'"), ("error", "x'ff'")],
)
async def test_a_damaged_execution_hides_no_other(sqlite_url: str, column: str, value: str) -> None:
    async with running_app(sqlite_url, work, clock=manual_clock()) as app:
        await app.schedule(), await app.schedule()
        broken, good = [row["id"] for row in await app.run_due()]
        await app.sql(f"UPDATE scheduler_executions SET {column} = {value} WHERE id = :id", id=broken)
        rows = {row["id"]: row for row in (await app.service.list_executions()).unwrap()["executions"]}
        assert set(rows) == {broken, good}
        schemas.Execution.model_validate(rows[broken])
        assert (await app.service.get_execution(broken)).success


async def test_a_damaged_time_is_looked_at_again_soon_but_not_at_once(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It stands first and hides the next ones: neither may they wait long, nor the dispatcher turn in circles."""
    async with running_app(sqlite_url, work, clock=manual_clock(), poll_ceiling_seconds=60) as app:
        broken = await app.schedule(interval="1 hour")
        assert await app.service.dispatcher.tick() == 60
        await app.sql("UPDATE scheduler_events SET next_execution = '1garbage' WHERE id = :id", id=broken)
        await app.sql("UPDATE scheduler_events SET fence = 7 WHERE id = :id", id=broken)
        app.service.wake()
        assert 0.5 < await app.service.dispatcher.tick() <= 1
        assert (await app.task(broken))["status"] == "paused", "it is parked"
        app.clock.advance(1)
        assert await app.service.dispatcher.tick() == 60
        hidden = await app.schedule(interval="1 hour")
        await app.sql("UPDATE scheduler_events SET next_execution = '2garbage' WHERE id = :id", id=hidden)
        caplog.clear()
        app.service.wake()
        assert 0.5 < await app.service.dispatcher.tick() <= 1
        assert (await app.task(hidden))["status"] == "pending"
        assert caplog.text == "", "nothing was undone and done again one by one"


async def test_a_waiting_execution_that_cannot_be_read_is_closed_and_blocks_nobody(sqlite_url: str) -> None:
    async with running_app(sqlite_url, work, clock=manual_clock()) as app:
        broken = await app.schedule(interval="1 day")
        good = await app.schedule(interval="1 day")
        for task_id in (broken, good):
            (await app.service.execute_task(task_id)).unwrap()
        await app.sql("UPDATE scheduler_executions SET scheduled_for = 'broken' WHERE event_id = :id", id=broken)
        assert [row["task_id"] for row in await app.run_due()] == [good]
        await app.sql("UPDATE scheduler_executions SET scheduled_for = run_at WHERE event_id = :id", id=broken)
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
