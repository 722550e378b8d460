"""Pause, resume, cancel, run now, edit: what is acknowledged holds, and history stays."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from modules.core.database import ATTEMPTS
from modules.core.result import Result
from modules.core.scheduler.db_ops.base import EVENTS
from modules.core.scheduler.errors import DuplicateTask
from tests.integration.scheduler.conftest import work
from tests.support.app import MODULE, NOON, App, manual_clock, running_app
from tests.support.clock import WaitingClock

NO_SUCH_ID = "0199c0de-0000-7000-8000-000000000000"


def code_of(result: Result) -> str:
    assert result.error is not None
    assert result.error["message"]
    code: str = result.error["code"]
    return code


async def test_a_paused_task_does_not_start_and_its_times_are_recorded(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    paused = await app.service.pause_task(task_id, "maintenance")
    assert paused.data == {"task_id": task_id, "status": "paused"}
    assert (await app.task(task_id))["pause_reason"] == "maintenance"
    app.clock.advance(hours=3, minutes=30)
    assert await app.run_due() == []
    resumed = (await app.service.resume_task(task_id)).unwrap()
    assert resumed["status"] == "resumed"
    assert resumed["next_execution"] == NOON + timedelta(hours=4)
    assert await app.run_due() == []
    assert await app.missed(task_id) == [(NOON + timedelta(hours=1), NOON + timedelta(hours=3), 3, "paused")]
    assert (await app.task(task_id))["pause_reason"] is None


async def test_a_one_time_task_that_came_due_while_paused_runs_when_resumed(app: App) -> None:
    task_id = await app.schedule(schedule_time=NOON + timedelta(hours=1))
    await app.service.pause_task(task_id)
    app.clock.advance(hours=5)
    assert await app.run_due() == []
    await app.service.resume_task(task_id)
    assert len(await app.run_due()) == 1


async def test_cancelling_ends_the_task_and_keeps_its_history(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    app.clock.advance(hours=1)
    await app.run_due()
    assert (await app.service.cancel_task(task_id)).data == {"task_id": task_id, "status": "cancelled"}
    before = await app.task(task_id)
    app.clock.advance(1)
    assert (await app.service.cancel_task(task_id)).success, "cancelling again is harmless"
    assert await app.task(task_id) == before, "and changes nothing, the version included"
    app.clock.advance(hours=5)
    assert await app.run_due() == []
    assert len(await app.history(task_id)) == 1
    assert (await app.task(task_id))["status"] == "cancelled"


async def test_running_now_leaves_the_schedule_alone_and_works_while_paused(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    await app.service.pause_task(task_id)
    started = (await app.service.execute_task(task_id)).unwrap()
    assert started["status"] == "running"
    assert code_of(await app.service.execute_task(task_id)) == "ALREADY_RUNNING"
    [execution] = await app.run_due()
    assert execution["id"] == started["execution_id"]
    assert (execution["kind"], execution["success"]) == ("manual", True)
    task = await app.task(task_id)
    assert (task["status"], task["next_execution"]) == ("paused", NOON + timedelta(hours=1))


async def test_a_finished_task_may_be_run_again_by_hand(app: App) -> None:
    task_id = await app.schedule()
    await app.run_due()
    app.clock.advance(hours=1)
    await app.service.execute_task(task_id)
    assert len(await app.run_due()) == 1
    assert (await app.task(task_id))["status"] == "completed"


async def test_wrong_states_are_refused_with_the_state(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    assert code_of(await app.service.resume_task(task_id)) == "INVALID_STATE"
    await app.service.pause_task(task_id)
    assert code_of(await app.service.pause_task(task_id)) == "INVALID_STATE"
    await app.service.cancel_task(task_id)
    for action in (app.service.pause_task, app.service.resume_task, app.service.execute_task):
        refused = await action(task_id)
        assert code_of(refused) == "INVALID_STATE"
        assert refused.error is not None
        assert refused.error["details"] == {"status": "cancelled"}
    done = await app.schedule()
    await app.run_due()
    assert code_of(await app.service.cancel_task(done)) == "INVALID_STATE"


@pytest.mark.parametrize("task_id", [NO_SUCH_ID, "task-123", "", "x" * 500, "a\x00b", "' OR 1=1 --"])
async def test_unknown_ids_are_told(app: App, task_id: str) -> None:
    for action in (
        app.service.get_task,
        app.service.cancel_task,
        app.service.pause_task,
        app.service.resume_task,
        app.service.execute_task,
        app.service.list_executions,
    ):
        assert code_of(await action(task_id)) == "TASK_NOT_FOUND"
    assert code_of(await app.service.update_task(task_id, {"name": "n"})) == "TASK_NOT_FOUND"
    assert code_of(await app.service.get_execution(task_id)) == "EXECUTION_NOT_FOUND"


async def test_a_pause_and_a_cancel_during_a_run_survive_it(database_url: str) -> None:
    release = asyncio.Event()

    async def slow(parameters: dict[str, Any]) -> None:
        await release.wait()

    async with running_app(database_url, slow, clock=manual_clock()) as app:
        paused = await app.schedule("slow", interval="1 hour", schedule_time=NOON)
        cancelled = await app.schedule("slow", interval="1 hour", schedule_time=NOON)
        running = asyncio.create_task(app.run_due())
        while len(app.service.job_manager.running) < 2:
            await asyncio.sleep(0)
        (await app.service.pause_task(paused)).unwrap()
        (await app.service.cancel_task(cancelled)).unwrap()
        release.set()
        assert all(row["success"] for row in await running)
        assert (await app.task(paused))["status"] == "paused"
        assert (await app.task(cancelled))["status"] == "cancelled"


async def test_cancelling_closes_what_has_not_started(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    started = (await app.service.execute_task(task_id)).unwrap()
    await app.service.cancel_task(task_id)
    assert await app.run_due() == []
    row = (await app.service.get_execution(started["execution_id"])).unwrap()
    assert (row["state"], row["success"]) == ("cancelled", False)
    assert row["end_time"] is not None


async def test_an_edit_changes_only_the_future(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    app.clock.advance(minutes=90)
    edited = (await app.service.update_task(task_id, {"interval": "20 minutes", "name": "faster"})).unwrap()
    assert (edited["interval_type"], edited["interval_value"], edited["name"]) == ("minutes", 20, "faster")
    assert edited["next_execution"] == NOON + timedelta(minutes=100)
    assert edited["version"] == 2
    assert await app.run_due() == []
    assert await app.missed(task_id) == [(NOON + timedelta(hours=1), NOON + timedelta(hours=1), 1, "edited")]


async def test_a_rule_may_be_replaced_by_one_of_another_kind(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    edited = (await app.service.update_task(task_id, {"cron_expression": "0 6 * * *"})).unwrap()
    assert (edited["cron_expression"], edited["interval_type"], edited["recurring"]) == ("0 6 * * *", None, True)
    once = {"recurring": False, "schedule_time": NOON + timedelta(hours=3)}
    edited = (await app.service.update_task(task_id, once)).unwrap()
    assert (edited["cron_expression"], edited["recurring"]) == (None, False)
    assert edited["next_execution"] == NOON + timedelta(hours=3)


async def test_an_edit_of_a_stale_version_is_refused(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    assert (await app.service.update_task(task_id, {"name": "a", "version": 1})).success
    assert code_of(await app.service.update_task(task_id, {"name": "b", "version": 1})) == "VERSION_CONFLICT"
    assert (await app.task(task_id))["name"] == "a"


async def test_raising_max_executions_brings_a_task_back(app: App) -> None:
    task_id = await app.schedule(interval="1 hour", max_executions=1)
    app.clock.advance(hours=1)
    await app.run_due()
    assert (await app.task(task_id))["status"] == "completed"
    edited = (await app.service.update_task(task_id, {"max_executions": 2})).unwrap()
    assert (edited["status"], edited["next_execution"]) == ("pending", NOON + timedelta(hours=2))
    app.clock.advance(hours=1)
    assert len(await app.run_due()) == 1
    refused = await app.service.update_task(task_id, {"max_executions": 1})
    assert code_of(refused) == "INVALID_TASK"


async def test_a_limit_leaves_what_is_due_alone(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    app.clock.advance(hours=1)
    (await app.service.update_task(task_id, {"max_executions": 5})).unwrap()
    assert len(await app.run_due()) == 1
    assert await app.missed(task_id) == []


async def test_a_new_schedule_that_never_fires_is_refused(app: App) -> None:
    task_id = await app.schedule(cron_expression="0 7 * * *")
    refused = await app.service.update_task(task_id, {"start_time": "2199-12-31T23:59:59Z"})
    assert code_of(refused) == "INVALID_TASK"
    assert (await app.task(task_id))["status"] == "pending"


async def test_a_cancelled_task_gives_its_unique_key_back(app: App) -> None:
    first = await app.schedule(interval="1 hour", unique_key="only one")
    config = {
        "name": "n", "module_id": MODULE, "function_name": "work", "interval": "1 hour", "unique_key": "only one"
    }  # fmt: skip
    assert code_of(await app.service.schedule_task(config)) == "DUPLICATE_TASK"
    await app.service.cancel_task(first)
    assert (await app.service.schedule_task(config)).success
    assert code_of(await app.service.schedule_task(config)) == "DUPLICATE_TASK"


async def test_only_a_taken_key_is_told_as_one(app: App) -> None:
    """Any other rule that a row breaks is a mistake of the code, and must not be told as the caller's."""
    await app.schedule(interval="1 hour")
    async with app.context.database.read() as connection:
        stored = dict((await connection.execute(EVENTS.select())).one()._mapping)
    new_id = {"id": NO_SUCH_ID, "unique_key": "a key"}
    assert await app.runtime.db_ops.create_tasks([stored]) == [None], "a first try whose answer was lost"
    for wrong in (new_id | {"status": "odd"}, new_id | {"interval_value": 0}):
        with pytest.raises(IntegrityError):
            await app.runtime.db_ops.create_tasks([stored | wrong])
    assert await app.runtime.db_ops.create_tasks([stored | new_id]) == [None]
    [refused] = await app.runtime.db_ops.create_tasks([stored | new_id | {"id": NO_SUCH_ID.replace("9", "8")}])
    assert isinstance(refused, DuplicateTask)


async def test_a_task_that_somebody_else_holds_is_tried_again_and_then_told(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modules.core.postgresql.LOCK_TIMEOUT", "20ms")
    async with running_app(postgres_url, work, clock=WaitingClock()) as app:
        task_id = await app.schedule(interval="1 hour")
        async with app.context.database.transaction() as connection:
            await connection.execute(EVENTS.select().with_for_update())
            assert code_of(await app.service.pause_task(task_id)) == "DATABASE_UNAVAILABLE"
        assert app.context.database.retries == ATTEMPTS - 1
        assert (await app.service.pause_task(task_id)).success


async def test_a_due_time_written_by_hand_fires_once(sqlite_url: str) -> None:
    async with running_app(sqlite_url, work, clock=manual_clock()) as app:
        task_id = await app.schedule(interval="1 day")
        await app.sql("UPDATE scheduler_events SET next_execution = '2026-03-02 12:00:00' WHERE id = :id", id=task_id)
        assert len(await app.run_due()) == 1
        task = await app.task(task_id)
        assert (task["execution_count"], task["next_execution"]) == (1, NOON + timedelta(days=1))


async def test_a_cancelled_task_cannot_be_edited(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    await app.service.cancel_task(task_id)
    assert code_of(await app.service.update_task(task_id, {"name": "n"})) == "INVALID_STATE"


@pytest.mark.parametrize(
    "changes",
    [
        {"nmae": "x"},
        {"name": None},
        {"interval": "soon"},
        {"cron_expression": "61 * * * *"},
        {"timezone": "Mars/Base"},
        {"max_executions": 0},
        {"parameters": {"a": float("nan")}},
        {"module_id": "other"},
    ],
)
async def test_an_edit_that_makes_no_sense_changes_nothing(app: App, changes: dict[str, Any]) -> None:
    task_id = await app.schedule(interval="1 hour")
    before = await app.task(task_id)
    refused = await app.service.update_task(task_id, changes)
    assert code_of(refused).startswith("INVALID")
    assert await app.task(task_id) == before
