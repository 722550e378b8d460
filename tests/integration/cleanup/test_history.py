"""Our own history stays in bounds: what is young, open, or the last of its kind stays; finished tasks go when asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, update

from modules.core.scheduler import housekeeper
from modules.core.scheduler.cleanup.history import clean_history
from modules.core.scheduler.cleanup.report import Budget, CleanupReport
from modules.core.scheduler.db_ops.base import EVENTS, EXECUTIONS, MISSED_RUNS
from tests.integration.cleanup.test_housekeeper import HISTORY, register, work
from tests.support.app import NOON, App, manual_clock, running_app

KEPT_FOR = 40


@pytest.fixture
async def app(database_url: str) -> AsyncIterator[App]:
    async with running_app(database_url, work, clock=manual_clock(), keep_finished_tasks=KEPT_FOR) as app:
        yield app


async def add_execution(app: App, task_id: str, number: int, began: float, ended: float | None, **values: Any) -> None:
    """A row of the history that began and ended that many days before now; open where it did not end."""
    start, end = (None if days is None else app.clock.now() - timedelta(days=days) for days in (began, ended))
    closed = {"end_time": end, "success": True, "state": "succeeded"} | values
    still_open = {"state": "running", "node_id": "n", "lease_expires_at": app.clock.now()}
    row = {
        "id": f"{number:036}", "event_id": task_id, "start_time": start, "scheduled_for": start, "run_at": start,
        "kind": "manual", "attempt": number, "failures": 0, "abandonments": 0, "priority": 0, "fence": 1,
        "cancel_requested": False,
    }  # fmt: skip
    async with app.context.database.transaction() as connection:
        await connection.execute(insert(EXECUTIONS).values(**row, **(closed if end else still_open)))


async def add_missed(app: App, task_id: str, number: int, days: float) -> None:
    """A span of missed fire times, recorded that many days before now."""
    at = app.clock.now() - timedelta(days=days)
    row = {"id": f"{number:036}", "event_id": task_id, "from_time": at, "until_time": at, "count": 1}
    async with app.context.database.transaction() as connection:
        await connection.execute(insert(MISSED_RUNS).values(**row, reason="disabled", recorded_at=at))


async def numbers(app: App, task_id: str) -> list[int]:
    return [int(row["id"]) for row in await app.history(task_id)]


async def clean(app: App, budget: Budget | None = None, batch_size: int = 5) -> CleanupReport:
    budget = budget or Budget(60, lambda: 0.0)
    now = app.clock.now()
    return await clean_history(app.context.database, 30, now, budget, batch_size=batch_size, dry_run=False)


def spent() -> Budget:
    """A budget whose time is used up before it is asked for the first time."""
    ticks = iter([0.0] + [99.0] * 99)
    return Budget(1, lambda: next(ticks))


async def test_history_keeps_what_is_young_open_or_the_last_of_its_kind(app: App) -> None:
    task_id = await app.schedule("work", interval="1 day")
    flips = [False, True, False, True, False]
    for fail in flips:
        await app.service.update_task(task_id, {"parameters": {"fail": fail}})
        app.clock.advance(days=1)
        await app.run_due()
    rows = await app.history(task_id)
    assert [row["success"] for row in rows] == [True, False, True, False, True]
    app.clock.advance(days=60)
    await app.service.execute_task(task_id)
    await app.sql("UPDATE scheduler_executions SET run_at = end_time WHERE end_time IS NOT NULL")
    done = (await app.service.housekeeper.register_cleanup_task("shop", "history", HISTORY)).unwrap()
    dry = (await app.service.run_cleanup("history", dry_run=True)).unwrap()
    assert (dry["deleted"], dry["reports"][0]["matched"]) == (0, 3)
    assert len(await app.history(task_id)) == 6
    assert (await app.service.run_cleanup("history")).unwrap()["deleted"] == 3
    kept = await app.history(task_id)
    assert [row["id"] for row in kept[:2]] == [rows[3]["id"], rows[4]["id"]]
    assert kept[2]["state"] == "ready"
    assert (await app.service.housekeeper.cleanup(done["cleanup_id"]))["last_report"]["deleted"] == 3


async def test_only_the_end_of_an_execution_says_how_old_it_is(app: App) -> None:
    """One that runs for weeks is not history, nor is one that ended lately."""
    task_id = await app.schedule("work", interval="1000 days")
    await add_execution(app, task_id, 1, began=60, ended=59)
    await add_execution(app, task_id, 2, began=60, ended=29)
    await add_execution(app, task_id, 3, began=60, ended=None)
    await add_execution(app, task_id, 4, began=1, ended=1)
    assert (await clean(app)).deleted == 1
    assert await numbers(app, task_id) == [2, 3, 4]


async def test_history_is_deleted_in_batches(app: App) -> None:
    task_id = await app.schedule("work", interval="1 minute")
    for _ in range(12):
        app.clock.advance(minutes=1)
        await app.run_due()
    last = (await app.history(task_id))[-1]["id"]
    app.clock.advance(days=31)
    report = await clean(app)
    assert (report.deleted, report.batches, report.complete) == (11, 3, True)
    assert [row["id"] for row in await app.history(task_id)] == [last]


async def test_when_the_time_is_up_the_rest_of_the_history_is_left_to_the_next_run(app: App) -> None:
    task_id = await app.schedule("work", interval="1000 days")
    for number in range(1, 13):
        await add_execution(app, task_id, number, began=60, ended=60)
        await add_missed(app, task_id, number, days=60)
    first = await clean(app, spent())
    assert (first.deleted, first.batches, first.complete) == (5, 1, False)
    assert await numbers(app, task_id) == [6, 7, 8, 9, 10, 11, 12]
    ticks = iter([0.0, 0.0] + [99.0] * 99)
    second = await clean(app, Budget(1, lambda: next(ticks)))
    assert (second.deleted, second.complete) == (6 + 5, False)
    assert (len(await numbers(app, task_id)), len(await app.missed(task_id))) == (1, 7)
    third = await clean(app)
    assert (third.deleted, third.complete) == (7, True)


async def test_missed_spans_are_history_too(app: App) -> None:
    task_id = await app.schedule("work", interval="1 hour")
    app.clock.advance(days=1)
    await app.run_due()
    assert await app.missed(task_id) != []
    await register(app, HISTORY)
    app.clock.advance(days=31)
    await app.service.run_cleanup()
    assert await app.missed(task_id) == []


async def test_a_young_missed_span_stays(app: App) -> None:
    task_id = await app.schedule("work", interval="1000 days")
    for number, days in enumerate((31, 29)):
        await add_missed(app, task_id, number, days)
    assert (await clean(app)).deleted == 1
    assert [until for _, until, _, _ in await app.missed(task_id)] == [NOON - timedelta(days=29)]


OLD, YOUNG = timedelta(days=KEPT_FOR + 1), timedelta(days=KEPT_FOR - 1)


async def finished(app: App, **values: Any) -> str:
    """A task that was completed long ago, but for these columns."""
    task_id = await app.schedule("work", name="keep?", interval="1000 days")
    done = {"status": "completed", "next_execution": None, "updated_at": NOON - OLD, "last_execution": NOON - OLD}
    async with app.context.database.transaction() as connection:
        await connection.execute(update(EVENTS).where(EVENTS.c.id == task_id).values(**(done | values)))
    return task_id


async def names(app: App) -> list[str]:
    return [task["name"] for task in (await app.service.list_tasks(limit=200, name="keep")).unwrap()["tasks"]]


@pytest.mark.parametrize(
    "values",
    [{}, {"status": "failed"}, {"status": "cancelled"}, {"last_execution": None}, {"unique_key": "shop:once"}],
)
async def test_a_task_that_can_never_run_again_goes(app: App, values: dict[str, Any]) -> None:
    task_id = await finished(app, **values)
    await add_execution(app, task_id, 1, began=60, ended=KEPT_FOR + 1)
    await register(app, HISTORY)
    [report] = (await app.service.run_cleanup("things", dry_run=True)).unwrap()["reports"]
    assert (report["matched_tasks"], "deleted_tasks" in report, len(await names(app))) == (1, False, 1)
    assert await numbers(app, task_id) == [1], "the last success of a task, until the task itself goes"
    [report] = (await app.service.run_cleanup("things")).unwrap()["reports"]
    assert (report["deleted_tasks"], report["complete"], len(await names(app))) == (1, True, 0)


@pytest.mark.parametrize(
    "values",
    [
        {"status": "pending"},
        {"status": "paused"},
        {"active_execution_id": "1"},
        {"updated_at": NOON - YOUNG},
        {"last_execution": NOON - YOUNG},
    ],
)
async def test_a_task_that_may_run_again_or_ended_lately_stays(app: App, values: dict[str, Any]) -> None:
    await finished(app, **values)
    await register(app, HISTORY)
    [dry] = (await app.service.run_cleanup("things", dry_run=True)).unwrap()["reports"]
    [report] = (await app.service.run_cleanup("things")).unwrap()["reports"]
    assert (dry["matched_tasks"], report["deleted_tasks"], len(await names(app))) == (0, 0, 1)


@pytest.mark.parametrize("ended", [None, KEPT_FOR - 1])
async def test_a_task_with_an_open_or_a_young_execution_stays(app: App, ended: float | None) -> None:
    task_id = await finished(app)
    await add_execution(app, task_id, 1, began=60, ended=ended)
    assert await app.service.housekeeper.delete_finished_tasks(KEPT_FOR) == 0
    assert await numbers(app, task_id) == [1]


async def test_without_the_setting_finished_tasks_stay(database_url: str) -> None:
    async with running_app(database_url, work, clock=manual_clock()) as app:
        await finished(app)
        await register(app, HISTORY)
        for dry_run in (True, False):
            [report] = (await app.service.run_cleanup("things", dry_run=dry_run)).unwrap()["reports"]
            assert not {"matched_tasks", "deleted_tasks"} & report.keys()
        assert len(await names(app)) == 1


async def test_the_history_of_a_finished_task_goes_first_and_in_batches(app: App) -> None:
    task_id = await finished(app)
    for number in range(1, 13):
        await add_execution(app, task_id, number, began=60, ended=60)
        await add_missed(app, task_id, number, days=60)
    left = []
    for _ in range(4):
        done = await app.runtime.db_ops.delete_finished_tasks(NOON - timedelta(days=KEPT_FOR), 5)
        left.append((done, len(await numbers(app, task_id)), len(await app.missed(task_id))))
    assert left == [((0, True), 7, 12), ((0, True), 2, 12), ((0, True), 0, 7), ((0, True), 0, 2)]
    for expected in ((1, False), (0, False)):
        assert await app.runtime.db_ops.delete_finished_tasks(NOON - timedelta(days=KEPT_FOR), 5) == expected


async def test_finished_tasks_keep_to_the_time_budget(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        await finished(app)
    await register(app, HISTORY)
    monkeypatch.setattr(housekeeper, "FINISHED_AT_ONCE", 1)
    delete = app.runtime.db_ops.delete_finished_tasks

    async def slowly(*arguments: Any) -> Any:
        app.clock.advance(seconds=61)
        return await delete(*arguments)

    monkeypatch.setattr(app.runtime.db_ops, "delete_finished_tasks", slowly)
    [report] = (await app.service.run_cleanup("things")).unwrap()["reports"]
    assert (report["deleted_tasks"], report["complete"], len(await names(app))) == (1, False, 2)
