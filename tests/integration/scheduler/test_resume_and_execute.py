"""What a resume makes of the fire times that it missed, and runs by hand with parameters of their own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from modules.core.result import Result
from tests.integration.scheduler.conftest import work
from tests.integration.scheduler.test_control import code_of
from tests.support.app import NOON, App, manual_clock, running_app

HOUR = timedelta(hours=1)


class Export(BaseModel):
    format: str
    rows: int = 10


async def export(parameters: Export) -> dict[str, Any]:
    return parameters.model_dump()


async def fail_once(parameters: dict[str, Any], context: Any) -> Result:
    return Result.success(data=parameters) if context.attempt > 1 else Result.failure("NOT_YET", "not yet")


async def test_the_newest_missed_fire_time_runs_at_once(app: App) -> None:
    task_id = await app.schedule(interval="1 hour", max_executions=5)
    (await app.service.pause_task(task_id)).unwrap()
    app.clock.advance(hours=3, minutes=30)
    resumed = (await app.service.resume_task(task_id, catch_up="latest")).unwrap()
    assert resumed["next_execution"] == NOON + 4 * HOUR
    [execution] = await app.run_due()
    assert (execution["id"], execution["kind"]) == (resumed["execution_id"], "schedule")
    assert (execution["scheduled_for"], execution["success"]) == (NOON + 3 * HOUR, True)
    assert await app.missed(task_id) == [(NOON + HOUR, NOON + 2 * HOUR, 2, "paused")]
    app.clock.advance(minutes=30)
    assert len(await app.run_due()) == 1
    assert (await app.task(task_id))["execution_count"] == 2


async def test_nothing_was_missed_so_nothing_runs(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    (await app.service.pause_task(task_id)).unwrap()
    resumed = (await app.service.resume_task(task_id, catch_up="latest")).unwrap()
    assert "execution_id" not in resumed
    assert await app.run_due() == []


async def test_the_only_one_that_was_missed_runs(app: App) -> None:
    """And it is the last one that the task may run at all."""
    task_id = await app.schedule(interval="1 hour", max_executions=1)
    (await app.service.pause_task(task_id)).unwrap()
    app.clock.advance(minutes=61)
    resumed = (await app.service.resume_task(task_id, catch_up="latest")).unwrap()
    assert resumed["next_execution"] is None
    assert (await app.task(task_id))["status"] == "running"
    assert len(await app.run_due()) == 1
    assert (await app.task(task_id))["status"] == "completed"
    assert await app.missed(task_id) == []


async def test_a_task_that_runs_cannot_catch_up(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    (await app.service.pause_task(task_id)).unwrap()
    (await app.service.execute_task(task_id)).unwrap()
    app.clock.advance(hours=2)
    assert code_of(await app.service.resume_task(task_id, catch_up="latest")) == "ALREADY_RUNNING"
    assert (await app.task(task_id))["status"] == "paused"
    assert await app.missed(task_id) == []


async def test_what_ran_already_does_not_run_again(app: App) -> None:
    """A clock that was set back must not lead to two runs of one fire time."""
    task_id = await app.schedule(interval="1 hour")
    app.clock.advance(hours=1)
    assert len(await app.run_due()) == 1
    (await app.service.pause_task(task_id)).unwrap()
    await app.sql(
        "UPDATE scheduler_events SET next_execution = :due WHERE id = :id",
        id=task_id,
        due="2026-03-02 13:00:00.000000" if app.context.database.dialect_name == "sqlite" else NOON + HOUR,
    )
    app.clock.advance(minutes=10)
    resumed = (await app.service.resume_task(task_id, catch_up="latest")).unwrap()
    assert "execution_id" not in resumed
    assert await app.run_due() == []
    assert (await app.task(task_id))["execution_count"] == 1


@pytest.mark.parametrize("catch_up", ["some", "", None, 1, "LATEST"])
async def test_an_unknown_way_to_catch_up_is_refused(app: App, catch_up: Any) -> None:
    task_id = await app.schedule(interval="1 hour")
    (await app.service.pause_task(task_id)).unwrap()
    assert code_of(await app.service.resume_task(task_id, catch_up=catch_up)) == "INVALID_TASK"


async def test_parameters_of_one_run(app: App) -> None:
    """Keys given replace the task's own as a whole; the task keeps its parameters."""
    parameters = {"format": "csv", "columns": {"a": 1, "b": 2}}
    task_id = await app.schedule(interval="1 hour", parameters=parameters)
    given = {"format": "json", "columns": {"c": 3}, "extra": None}
    started = (await app.service.execute_task(task_id, given, actor="alice")).unwrap()
    [execution] = await app.run_due()
    assert execution["id"] == started["execution_id"]
    assert execution["result"] == execution["parameters"] == given
    assert execution["actor"] == "alice"
    app.clock.advance(hours=1)
    [execution] = await app.run_due()
    assert execution["result"] == parameters
    assert (execution["parameters"], execution["actor"]) == (None, None)
    (await app.service.execute_task(task_id, {})).unwrap()
    assert [row["result"] for row in await app.run_due()] == [parameters]


async def test_retries_have_the_parameters_of_their_run(database_url: str) -> None:
    async with running_app(database_url, fail_once, clock=manual_clock()) as app:
        retry = {"max_attempts": 2, "delay_seconds": 5.0, "jitter": False}
        task_id = await app.schedule("fail_once", interval="1 hour", parameters={"n": 1}, retry=retry)
        (await app.service.execute_task(task_id, {"n": 2}, actor="alice")).unwrap()
        assert len(await app.run_due()) == 1
        (await app.service.update_task(task_id, {"parameters": {"n": 3}})).unwrap()
        app.clock.advance(5)
        [execution] = await app.run_due()
        assert (execution["attempt"], execution["result"]) == (2, {"n": 2})
        assert (execution["parameters"], execution["actor"]) == ({"n": 2}, "alice")


async def test_a_run_whose_node_died_has_its_parameters_in_the_next_attempt(database_url: str) -> None:
    clock = manual_clock()
    async with (
        running_app(database_url, work, clock=clock) as first,
        running_app(database_url, work, clock=clock) as second,
    ):
        task_id = await first.schedule(interval="1 hour", parameters={"n": 1})
        (await first.service.execute_task(task_id, {"n": 2})).unwrap()
        first.service.dispatcher._accept = lambda _claims: None  # type: ignore[method-assign]
        await first.service.dispatcher.tick()  # claimed, and never heard of again
        clock.advance(minutes=2)
        await second.service.recovery.tick()
        [execution] = await second.run_due()
        assert (execution["attempt"], execution["result"]) == (2, {"n": 2})


async def test_parameters_of_one_run_are_checked_like_those_of_a_task(database_url: str) -> None:
    async with running_app(database_url, export, clock=manual_clock()) as app:
        task_id = await app.schedule("export", interval="1 hour", parameters={"format": "csv"})
        for given in (
            {"rows": "many"},
            {"format": None},
            {"a": float("nan")},
            {"a": "x" * 20_000},
            {"a": "\x00"},
            [],
            "a",
            5,
        ):
            refused = await app.service.execute_task(task_id, given)  # type: ignore[arg-type]
            assert code_of(refused) == "INVALID_PARAMETERS", given
        assert await app.history(task_id) == []
        (await app.service.execute_task(task_id, {"rows": 5})).unwrap()
        [execution] = await app.run_due()
        assert execution["result"] == {"format": "csv", "rows": 5}
