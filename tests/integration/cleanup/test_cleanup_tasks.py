"""The task that runs a cleanup is its own, and nobody else's; cancelling it holds until somebody wants it back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from modules.core.scheduler.db_ops import cleanup_key
from modules.core.scheduler.db_ops.base import EVENTS
from tests.integration.cleanup.test_housekeeper import HISTORY, register, work
from tests.support.app import NOON, App, manual_clock, running_app

HOURLY = {**HISTORY, "cleanup_interval": "1 hour"}


@pytest.fixture
async def app(database_url: str, tmp_path: Path) -> AsyncIterator[App]:
    async with running_app(database_url, work, clock=manual_clock(), data_dir=tmp_path / "data") as app:
        yield app


async def tasks_of(app: App, key: str = "cleanup:shop:things") -> list[dict[str, Any]]:
    """All tasks that have or had this key, the newest last."""
    tasks = (await app.service.list_tasks(limit=200)).unwrap()["tasks"]
    return sorted((task for task in tasks if task["unique_key"] == key), key=lambda task: task["created_at"])


async def change(app: App, task_id: str, **values: Any) -> None:
    async with app.context.database.transaction() as connection:
        await connection.execute(update(EVENTS).where(EVENTS.c.id == task_id).values(**values))


async def test_a_task_of_somebody_else_with_that_key_is_not_taken_over(app: App) -> None:
    """Whoever made it keeps it, and is told what to do."""
    mine = await app.schedule("work", interval="5 hours", parameters={"fail": False})
    await change(app, mine, unique_key="cleanup:shop:things")
    before = await app.task(mine)
    refused = await app.service.register_cleanup_task("shop", "things", HOURLY)
    assert refused.error is not None
    assert refused.error["code"] == "DUPLICATE_TASK"
    assert mine in refused.error["message"]
    assert "cancel that task" in refused.error["message"]
    assert await app.task(mine) == before
    assert await app.service.housekeeper.cleanups() == []


async def test_a_task_of_somebody_else_with_that_key_is_neither_shown_nor_cancelled(app: App) -> None:
    cleanup_id = await register(app, HOURLY)
    [own] = await tasks_of(app)
    await app.service.cancel_task(own["id"])
    mine = await app.schedule("work", interval="5 hours")
    await change(app, mine, unique_key="cleanup:shop:things")
    await app.service.run_cleanup("things")
    assert (await app.service.housekeeper.cleanup(cleanup_id))["next_run"] is None
    await app.service.housekeeper.remove(cleanup_id)
    assert (await app.task(mine))["status"] == "pending"


def test_keys_are_plain_where_they_can_be_and_always_one_of_a_kind() -> None:
    assert cleanup_key("shop.user_auth", "expired sessions") == "cleanup:shop.user_auth:expired sessions"
    pairs = [("a:b", "c"), ("a", "b:c"), ("a%3Ab", "c"), ("a%253Ab", "c"), ("a%", "c"), ("a%25", "c"), ("a", ":c")]
    assert len({cleanup_key(*pair) for pair in pairs}) == len(pairs)


async def test_cleanups_whose_names_hold_colons_have_tasks_of_their_own(app: App) -> None:
    for module_id, cleanup_type in (("a:b", "c"), ("a", "b:c")):
        (await app.service.register_cleanup_task(module_id, cleanup_type, HOURLY)).unwrap()
    assert [cleanup["next_run"] for cleanup in await app.service.housekeeper.cleanups()] == [
        NOON + timedelta(hours=1)
    ] * 2
    app.clock.advance(hours=1)
    assert len(await app.run_due()) == 2


async def test_a_cancelled_cleanup_stays_cancelled_over_a_restart(database_url: str) -> None:
    """Modules register at every start; that is no wish to have it back, not even after finished tasks were deleted."""
    clock = manual_clock()
    for start in range(3):
        async with running_app(database_url, work, clock=clock, keep_finished_tasks=5) as app:
            cleanup_id = await register(app, {**HOURLY, "keep_days": 30 + start})
            [task] = await tasks_of(app)
            if start == 0:
                await app.service.cancel_task(task["id"])
            assert (await app.task(task["id"]))["status"] == "cancelled"
            cleanup = await app.service.housekeeper.cleanup(cleanup_id)
            assert (cleanup["next_run"], cleanup["config"]["keep_days"]) == (
                None if start else cleanup["next_run"],
                30 + start,
            )
            clock.advance(days=10)
            assert await app.run_due() == []
            await app.service.run_cleanup("things")


async def test_switching_a_cancelled_cleanup_on_brings_it_back(app: App) -> None:
    cleanup_id = await register(app, HOURLY)
    [task] = await tasks_of(app)
    await app.service.cancel_task(task["id"])
    await app.service.housekeeper.set_enabled(cleanup_id, False)
    assert len(await tasks_of(app)) == 1
    app.clock.advance(hours=3)
    for _ in range(2):
        cleanup = await app.service.housekeeper.set_enabled(cleanup_id, True)
        assert (cleanup["enabled"], cleanup["next_run"]) == (True, NOON + timedelta(hours=4))
    assert [task["status"] for task in await tasks_of(app)] == ["cancelled", "pending"]
    app.clock.advance(hours=1)
    [execution] = await app.run_due()
    assert execution["success"] is True
    assert await register(app, HOURLY) == cleanup_id
    assert len(await tasks_of(app)) == 2


async def test_switching_on_leaves_a_live_task_alone(app: App) -> None:
    cleanup_id = await register(app, HOURLY)
    [before] = await tasks_of(app)
    await app.service.pause_task(before["id"])
    [paused] = await tasks_of(app)
    app.clock.advance(minutes=10)
    await app.service.housekeeper.set_enabled(cleanup_id, True)
    assert await tasks_of(app) == [paused]


async def test_a_cleanup_that_was_removed_gets_a_new_task_when_it_is_registered_anew(app: App) -> None:
    cleanup_id = await register(app, HOURLY)
    [task] = await tasks_of(app)
    await app.service.cancel_task(task["id"])
    await app.service.housekeeper.remove(cleanup_id)
    app.clock.advance(hours=1)
    await register(app, HOURLY)
    assert [task["status"] for task in await tasks_of(app)] == ["cancelled", "pending"]


@pytest.mark.parametrize("status", ["completed", "failed"])
async def test_a_cleanup_whose_task_ended_goes_on_when_it_is_registered_again(app: App, status: str) -> None:
    await register(app, HOURLY)
    [task] = await tasks_of(app)
    await change(app, task["id"], status=status, next_execution=None)
    app.clock.advance(hours=5)
    await register(app, HOURLY)
    [again] = await tasks_of(app)
    assert (again["id"], again["status"], again["next_execution"]) == (task["id"], "pending", NOON + timedelta(hours=6))


async def test_a_folder_that_cannot_be_opened_is_a_failure_and_a_missing_one_is_not(app: App, tmp_path: Path) -> None:
    app.context.get_service("core.scheduler.cleanup").allow_directory(tmp_path / "files")
    (tmp_path / "real").mkdir()
    config = {"directory": str(tmp_path / "files"), "max_age_hours": 1, "cleanup_interval": "1 hour"}
    await register(app, config)
    done = (await app.service.run_cleanup("things")).unwrap()
    assert (done["failed"], done["reports"][0]["errors"]) == (0, ["the folder does not exist yet"])
    (tmp_path / "files").symlink_to(tmp_path / "real")
    done = (await app.service.run_cleanup("things")).unwrap()
    assert (done["failed"], done["reports"][0]["error"]["code"]) == (1, "INVALID_CLEANUP")
    app.clock.advance(hours=1)
    [execution] = await app.run_due()
    assert execution["success"] is False
    assert "symbolic link" in execution["error"]


async def test_a_directory_that_cannot_be_expanded_is_refused(app: App) -> None:
    for directory in ("~nosuchuser/x", "~/x", "x"):
        config = {"directory": directory, "max_age_hours": 1}
        refused = await app.service.register_cleanup_task("shop", "things", config)
        assert (refused.error or {})["code"] == "UNKNOWN_CLEANUP_TARGET"


@pytest.mark.parametrize("data_dir", ["/etc/shop", "/usr/lib/shop"])
async def test_a_data_folder_that_belongs_to_the_system_stops_no_start(
    sqlite_url: str, data_dir: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Only cleanup_old_logs fails then, and says what to do."""
    async with running_app(sqlite_url, work, clock=manual_clock(), data_dir=Path(data_dir)) as app:
        assert "Set APP_DATA_DIR" in caplog.text
        task = {
            "name": "logs",
            "module_id": "core.scheduler",
            "function_name": "cleanup_old_logs",
            "schedule_time": NOON,
        }
        (await app.service.schedule_task(task)).unwrap()
        [execution] = await app.run_due()
        assert execution["success"] is False
        assert "Set APP_DATA_DIR to a folder of this application's own" in execution["error"]


@pytest.mark.parametrize("data_dir", ["../data", "x/../../data"])
async def test_a_data_folder_may_be_written_with_dots(
    sqlite_url: str, tmp_path: Path, data_dir: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_app(sqlite_url, work, clock=manual_clock(), data_dir=Path(data_dir)) as app:
        logs = tmp_path.parent / "data" / "logs"
        target, _ = app.context.get_service("core.scheduler.cleanup").directory(str(logs))
        assert target.root == logs
        assert "APP_DATA_DIR" not in caplog.text


@pytest.mark.parametrize(
    ("column", "value"), [("parameters", "'{half'"), ("next_execution", "'never'"), ("version", "'first'")]
)
async def test_a_damaged_task_of_a_cleanup_is_mended_by_registering_again(
    sqlite_url: str, column: str, value: str
) -> None:
    """Modules register at every start: one bad row must not keep the application from starting."""
    async with running_app(sqlite_url, work, clock=manual_clock()) as app:
        cleanup_id = await register(app, HOURLY)
        await app.sql(f"UPDATE scheduler_events SET {column} = {value}")
        assert await register(app, HOURLY) == cleanup_id
        [task] = await tasks_of(app)
        assert (task["damaged"], task["parameters"]) == ([], {"config_id": cleanup_id})
        app.clock.advance(hours=1)
        [execution] = await app.run_due()
        assert execution["success"] is True
