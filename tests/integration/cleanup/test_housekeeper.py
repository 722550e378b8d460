"""Cleanups as tasks: registered once, run on their interval, with a history; our own history stays in bounds."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from modules.core.scheduler.db_ops.base import EXECUTIONS
from tests.support.app import MODULE, NOON, App, manual_clock, running_app

HISTORY = {"history": "executions", "keep_days": 30}


async def work(parameters: dict[str, Any]) -> None:
    if parameters.get("fail"):
        raise ValueError("no")


@pytest.fixture
async def app(database_url: str, tmp_path: Path) -> AsyncIterator[App]:
    async with running_app(database_url, work, clock=manual_clock(), data_dir=tmp_path / "data") as app:
        yield app


async def register(app: App, config: dict[str, Any], cleanup_type: str = "things") -> str:
    done = (await app.service.register_cleanup_task("shop", cleanup_type, config)).unwrap()
    assert done["status"] == "registered"
    cleanup_id: str = done["cleanup_id"]
    return cleanup_id


async def task_of(app: App, cleanup_type: str = "things") -> dict[str, Any]:
    tasks = (await app.service.list_tasks(limit=200)).unwrap()["tasks"]
    [task] = [task for task in tasks if task["unique_key"] == f"cleanup:shop:{cleanup_type}"]
    found: dict[str, Any] = task
    return found


async def test_a_cleanup_runs_on_its_interval_with_a_history(app: App) -> None:
    cleanup_id = await register(app, {**HISTORY, "cleanup_interval": "6 hours"})
    assert await app.run_due() == []
    app.clock.advance(hours=6)
    [execution] = await app.run_due()
    assert execution["success"] is True
    assert execution["result"]["kind"] == "history"
    cleanup = await app.service.housekeeper.cleanup(cleanup_id)
    assert cleanup["last_run"] == NOON + timedelta(hours=6)
    assert cleanup["next_run"] == NOON + timedelta(hours=12)
    assert cleanup["last_report"] == execution["result"]


async def test_without_an_interval_the_setting_counts(app: App) -> None:
    await register(app, HISTORY)
    task = await task_of(app)
    assert (task["interval_type"], task["interval_value"]) == ("hours", 1)
    assert task["delivery"] == "at_most_once"


async def test_registering_again_keeps_the_schedule_or_changes_it(app: App) -> None:
    first = await register(app, {**HISTORY, "cleanup_interval": "6 hours"})
    before = await task_of(app)
    app.clock.advance(hours=2)
    assert await register(app, {**HISTORY, "keep_days": 7, "cleanup_interval": "6 hours"}) == first
    assert await task_of(app) == before
    assert (await app.service.housekeeper.cleanup(first))["config"]["keep_days"] == 7
    assert await register(app, {**HISTORY, "cleanup_interval": "1 hour"}) == first
    assert (await task_of(app))["next_execution"] == NOON + timedelta(hours=3)


async def test_a_cleanup_that_is_switched_off_does_nothing(app: App) -> None:
    cleanup_id = await register(app, {**HISTORY, "cleanup_interval": "1 hour"})
    await app.service.housekeeper.set_enabled(cleanup_id, False)
    app.clock.advance(hours=1)
    [execution] = await app.run_due()
    assert "skipped" in execution["result"]
    assert (await app.service.run_cleanup()).unwrap()["reports"] == []


async def test_a_removed_cleanup_does_not_run_and_can_come_back(app: App) -> None:
    cleanup_id = await register(app, {**HISTORY, "cleanup_interval": "1 hour"})
    await app.service.housekeeper.remove(cleanup_id)
    app.clock.advance(hours=2)
    assert await app.run_due() == []
    again = await register(app, {**HISTORY, "cleanup_interval": "1 hour"})
    assert again != cleanup_id
    app.clock.advance(hours=1)
    [execution] = await app.run_due()
    assert execution["success"] is True


async def test_a_failing_cleanup_stops_no_other(app: App, tmp_path: Path) -> None:
    from tests.integration.cleanup.test_rows import SESSIONS

    targets = app.context.get_service("core.scheduler.cleanup")
    targets.allow_table(SESSIONS.c.expires_at)
    await register(app, {"table_name": "sessions", "date_column": "expires_at"}, "a_missing_table")
    await register(app, HISTORY, "z_history")
    done = (await app.service.run_cleanup()).unwrap()
    assert done["failed"] == 1
    first, second = done["reports"]
    assert first["error"]["code"] == "INVALID_CLEANUP"
    assert second["complete"] is True


async def test_one_type_of_cleanup_can_be_run_and_a_mistyped_one_is_told(app: App) -> None:
    await register(app, HISTORY, "one")
    await register(app, HISTORY, "two")
    assert len((await app.service.run_cleanup("two")).unwrap()["reports"]) == 1
    refused = await app.service.run_cleanup("three")
    assert refused.error is not None
    assert refused.error["code"] == "CLEANUP_NOT_FOUND"


async def test_the_default_cleanup_is_set_up_once(database_url: str) -> None:
    for _ in range(2):
        async with running_app(database_url, work, clock=manual_clock(), housekeeping=True) as app:
            [cleanup] = await app.service.housekeeper.cleanups()
            assert (cleanup["module_id"], cleanup["cleanup_type"]) == ("core.scheduler", "execution_history")
            app.clock.advance(hours=1)
            [execution] = await app.run_due()
            assert execution["success"] is True
            async with app.context.database.transaction() as connection:
                await connection.execute(EXECUTIONS.delete())
            await app.sql("UPDATE scheduler_events SET next_execution = created_at, active_execution_id = NULL")


async def test_old_log_files_are_cleaned_as_the_specification_says(app: App, tmp_path: Path) -> None:
    logs = tmp_path / "data" / "logs"
    logs.mkdir(parents=True)
    old = (NOON - timedelta(days=31)).timestamp()
    for name in ("error.log", "debug.log.1", "info.log", "audit.log", "error.txt"):
        (logs / name).write_text("x")
        os.utime(logs / name, (old, old))
    os.utime(logs / "info.log", (NOON.timestamp(), NOON.timestamp()))
    result = await app.service.schedule_task(
        {
            "name": "Daily Log Cleanup",
            "module_id": "core.scheduler",
            "function_name": "cleanup_old_logs",
            "parameters": {"days_to_keep": 30, "log_types": ["error", "debug", "info"]},
            "schedule_time": NOON,
        }
    )
    assert result.success
    [execution] = await app.run_due()
    assert execution["result"]["deleted_count"] == 2
    assert sorted(path.name for path in logs.iterdir()) == ["audit.log", "error.txt", "info.log"]


async def test_jobs_that_ended_long_ago_are_cleaned_up_on_demand(app: App) -> None:
    await app.schedule("work")
    await app.run_due()
    assert (await app.service.job_manager.cleanup_completed_jobs()).data == {"deleted": 0}
    app.clock.advance(days=31)
    assert (await app.service.job_manager.cleanup_completed_jobs()).data == {"deleted": 1}
    assert MODULE not in {task["module_id"] for task in (await app.service.list_tasks()).unwrap()["tasks"]}
