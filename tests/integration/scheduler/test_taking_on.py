"""What a node takes on, how much, in which order, and what it gives back."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from modules.core.clock import SystemClock
from modules.core.scheduler import ExecutionContext, dispatcher
from modules.core.scheduler.db_ops.base import EXECUTIONS
from modules.core.scheduler.pace import Pace
from tests.integration.scheduler.conftest import work
from tests.support.app import MODULE, App, manual_clock, running_app


async def _soon(condition: Any, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


async def test_the_higher_priority_goes_first_and_nobody_starves(database_url: str) -> None:
    async with running_app(database_url, work, clock=manual_clock(), max_concurrent_tasks=1) as app:
        long_ago = app.clock.now() - timedelta(minutes=10)
        low = await app.schedule(priority=-1)
        usual = await app.schedule()
        high = await app.schedule(priority=5)
        waited = await app.schedule(priority=0, schedule_time=long_ago, allow_past=True)
        assert [row["task_id"] for row in await app.run_due()] == [waited, high, usual, low]


async def test_a_second_attempt_takes_its_place_by_priority_too(app: App) -> None:
    retried = await app.schedule("fail", retry={"max_attempts": 2, "delay_seconds": 0}, priority=-50)
    assert [row["attempt"] for row in await app.run_due()] == [1, 2]
    async with app.context.database.read() as connection:
        rows = (await connection.execute(EXECUTIONS.select().where(EXECUTIONS.c.event_id == retried))).all()
    assert {row.priority for row in rows} == {-50}


async def test_rows_that_cannot_run_here_block_nobody_behind_them(database_url: str) -> None:
    """Another version's functions, a paused task's attempts: the node passes over them."""
    async with running_app(database_url, work, clock=manual_clock(), max_concurrent_tasks=2) as app:
        for _ in range(5):
            foreign = await app.schedule(priority=9)
            await app.sql("UPDATE scheduler_events SET function_name = 'elsewhere' WHERE id = :id", id=foreign)
        mine = await app.schedule()
        assert [row["task_id"] for row in await app.run_due()] == [mine]


async def test_no_more_of_a_function_run_than_its_limit_on_all_nodes_together(database_url: str) -> None:
    running, most = 0, 0

    async def narrow(parameters: dict[str, Any]) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1

    async def wide(parameters: dict[str, Any]) -> None:
        await asyncio.sleep(0)

    async with (
        running_app(database_url, wide, enabled=True) as one,
        running_app(database_url, wide, enabled=True) as two,
    ):
        for node in (one, two):
            node.context.get_service("core.scheduler.tasks").register(MODULE, narrow, max_running=2)
        narrow_ones = [await one.schedule("narrow") for _ in range(8)]
        wide_one = await two.schedule("wide")
        await _all_completed(one, [*narrow_ones, wide_one])
        assert most == 2, "fewer would be slower than allowed, more too many"


async def _all_completed(app: App, task_ids: list[str]) -> None:
    async with asyncio.timeout(30):
        while {(await app.task(task_id))["status"] for task_id in task_ids} != {"completed"}:
            await asyncio.sleep(0.02)


async def test_a_module_cannot_fill_a_node_that_keeps_room_for_others(sqlite_url: str) -> None:
    release = asyncio.Event()

    async def greedy(parameters: dict[str, Any]) -> None:
        await release.wait()

    async with running_app(sqlite_url, enabled=True, max_concurrent_tasks=4) as app:
        tasks = app.context.get_service("core.scheduler.tasks")
        tasks.register("test.greedy", greedy)
        tasks.limit_module("test.greedy", max_running_per_node=3)
        tasks.register(MODULE, work)
        many = [await app.schedule("greedy", module_id="test.greedy") for _ in range(6)]
        await _soon(lambda: app.service.dispatcher.running == 3)
        polite = await app.schedule()
        await _all_completed(app, [polite])
        assert app.service.dispatcher.running == 3
        release.set()
        await _all_completed(app, many)


async def test_what_is_claimed_ahead_never_starts_early_and_hardly_late(database_url: str) -> None:
    starts: list[tuple[datetime, datetime]] = []

    async def note(parameters: dict[str, Any], context: ExecutionContext) -> None:
        starts.append((SystemClock().now(), context.scheduled_for))

    async with running_app(database_url, note, enabled=True) as app:
        begin = app.clock.now() + timedelta(milliseconds=300)
        tasks = [
            await app.schedule("note", schedule_time=begin + timedelta(milliseconds=13 * number))
            for number in range(20)
        ]
        await _all_completed(app, tasks)
        assert len(starts) == 20
        assert all(started >= due for started, due in starts), "early"
        rows = [row for task_id in tasks for row in await app.history(task_id)]
        assert all(row["start_time"] >= row["scheduled_for"] for row in rows)
        assert all(row["lateness_ms"] >= 0 for row in rows)


@pytest.mark.parametrize("transaction", ["its own", "the caller's"])
@pytest.mark.parametrize("action", ["pause_task", "cancel_task"])
async def test_what_was_claimed_ahead_does_not_start_after_a_pause_or_a_cancellation(
    database_url: str, action: str, transaction: str
) -> None:
    """The answer is kept although the claim came first."""
    ran: list[str] = []

    async def note(parameters: dict[str, Any], context: ExecutionContext) -> None:
        ran.append(context.execution_id)

    async with running_app(database_url, note, enabled=True, look_ahead_seconds=1.0) as app:
        task_id = await app.schedule("note", schedule_time=app.clock.now() + timedelta(seconds=0.9))
        await _soon(lambda: app.service.dispatcher.waiting == 1)
        if transaction == "its own":
            assert (await getattr(app.service, action)(task_id)).success
        else:
            async with app.context.database.session() as session:
                assert (await getattr(app.service, action)(task_id, session=session)).success
                await session.commit()
        assert app.service.dispatcher.waiting == 0
        other = await app.schedule("note", schedule_time=app.clock.now() + timedelta(seconds=1.0))
        await _all_completed(app, [other])
        [row] = await app.history(task_id)
        assert row["state"] == ("ready" if action == "pause_task" else "cancelled")
        assert row["id"] not in ran
        if action == "pause_task":
            (await app.service.resume_task(task_id)).unwrap()
            await _all_completed(app, [task_id])
            assert [row["attempt"] for row in await app.history(task_id)] == [1], "it was never begun before"


async def test_claims_that_wait_long_for_a_slot_are_given_back(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slots are taken by what runs for long, after many that ran for a moment: another node takes the rest."""
    release = asyncio.Event()

    async def long(parameters: dict[str, Any]) -> None:
        await release.wait()

    async with (
        running_app(database_url, long, work, enabled=True, max_concurrent_tasks=2) as one,
        running_app(database_url, long, work, max_concurrent_tasks=2) as two,
    ):
        await asyncio.gather(*(one.schedule("long", priority=1) for _ in range(2)))
        await _soon(lambda: one.service.dispatcher.running == 2)
        monkeypatch.setattr(Pace, "measure", lambda *_: None)  # it would see that nothing ends any more
        one.service.dispatcher._pace.ahead = 50
        short = await asyncio.gather(*(one.schedule() for _ in range(5)))
        await _soon(lambda: one.service.dispatcher.waiting > 0)
        await _soon(lambda: one.service.dispatcher.waiting == 0)
        taken: set[str] = set()
        async with asyncio.timeout(20):
            while taken != set(short):
                taken |= {row["task_id"] for row in await two.run_due()}
        release.set()


async def test_whoever_waits_for_the_recorder_goes_on_when_it_has_caught_up(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a second later, when the dispatcher would look by itself."""
    monkeypatch.setattr(dispatcher, "MOST_UNRECORDED", 3)
    monkeypatch.setattr(dispatcher, "HELD_BACK", 3600.0)
    async with running_app(sqlite_url, work, enabled=True, max_concurrent_tasks=5, poll_ceiling_seconds=3600) as app:
        config = {"name": "n", "module_id": MODULE, "function_name": "work", "schedule_time": app.clock.now()}
        scheduled = (await app.service.schedule_tasks([config] * 200)).unwrap()["tasks"]
        await _all_completed(app, [task["task_id"] for task in scheduled])


async def test_a_backlog_is_worked_off_and_not_handed_to_and_fro(sqlite_url: str) -> None:
    """How long a claim waits counts from when this node has it, however long ago it was due."""
    given_back: list[Any] = []
    async with running_app(sqlite_url, work, enabled=True, max_concurrent_tasks=2) as app:
        release = app.runtime.db_ops.release

        async def noted(claims: Any, now: datetime) -> None:
            given_back.extend(claims)
            await release(claims, now)

        app.runtime.db_ops.release = noted  # type: ignore[method-assign]
        long_ago = app.clock.now() - timedelta(hours=1)
        config = {"name": "n", "module_id": MODULE, "function_name": "work", "schedule_time": long_ago}
        config |= {"allow_past": True}
        scheduled = (await app.service.schedule_tasks([config] * 300)).unwrap()["tasks"]
        await _all_completed(app, [task["task_id"] for task in scheduled])
        assert given_back == []


async def test_an_idle_node_asks_nothing_until_something_is_due(sqlite_url: str) -> None:
    """A task of the far future costs no statement of the dispatcher's when it is scheduled."""
    async with running_app(sqlite_url, work, enabled=True, poll_ceiling_seconds=3600) as app:
        asked: list[Any] = []
        await _soon(lambda: app.service.dispatcher._next_due is None and not app.service.dispatcher._must_look)
        claim = app.runtime.db_ops.fire_and_claim

        async def noted(request: Any) -> Any:
            asked.append(request)
            return await claim(request)

        app.runtime.db_ops.fire_and_claim = noted  # type: ignore[method-assign]
        for hours in range(1, 20):
            await app.schedule(schedule_time=app.clock.now() + timedelta(hours=hours))
        assert asked == []
        now = await app.schedule()
        await _all_completed(app, [now])
        assert len(asked) <= 3


async def test_a_node_that_runs_nothing_tells_the_one_that_does(database_url: str) -> None:
    """A web process schedules, a worker with a long poll starts at once."""
    async with (
        running_app(database_url, work, enabled=True, poll_ceiling_seconds=3600) as worker,
        running_app(database_url, work, poll_ceiling_seconds=3600) as web,
    ):
        await _soon(lambda: worker.service.cluster.wakeups.listening)
        task_id = await web.schedule()
        await _all_completed(web, [task_id])


async def test_many_tasks_are_scheduled_at_once_or_none(app: App) -> None:
    config = {"name": "n", "module_id": MODULE, "function_name": "work", "schedule_time": app.clock.now()}
    scheduled = (await app.service.schedule_tasks([config] * 700)).unwrap()["tasks"]
    assert len({task["task_id"] for task in scheduled}) == 700
    assert (await app.runtime.db_ops.count_by_status()) == {"pending": 700}
    for wrong in ({"function_name": "nothing"}, {"colour": "red"}):
        refused = await app.service.schedule_tasks([config, {**config, **wrong}])
        assert refused.error is not None
        assert refused.error["details"]["index"] == 1
        assert refused.error["message"].startswith("Task 1 of the list: ")
    keyed = {**config, "unique_key": "only one"}
    refused = await app.service.schedule_tasks([config, keyed, keyed])
    assert refused.error is not None
    assert (refused.error["code"], refused.error["details"]["index"]) == ("DUPLICATE_TASK", 2)
    assert (await app.runtime.db_ops.count_by_status()) == {"pending": 700}, "some were stored"
    for odd in ([], "text", {"a": 1}, [config] * 10_001):
        assert (await app.service.schedule_tasks(odd)).error is not None  # type: ignore[arg-type]


async def test_calls_that_come_together_share_transactions(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    create = app.runtime.db_ops.create_tasks

    async def noted(rows: Any, **options: Any) -> Any:
        batches.append(len(rows))
        return await create(rows, **options)

    monkeypatch.setattr(app.service.job_manager._intake, "_insert", noted)
    ids = await asyncio.gather(*(app.schedule() for _ in range(100)))
    assert len(set(ids)) == 100
    assert sum(batches) == 100
    assert len(batches) <= 3
    answers = await asyncio.gather(
        *(
            app.service.schedule_task(
                {"name": "n", "module_id": MODULE, "function_name": "work", "interval": "1 h", "unique_key": key}
            )
            for key in ("a", "b", "a")
        )
    )
    assert [answer.success for answer in answers] == [True, True, False], "one that is refused harms no other"


async def test_fast_and_careful_recording_write_the_same(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path without reads is a short cut, not another opinion."""
    seen = []
    for careful in (False, True):
        async with running_app(database_url, work, clock=manual_clock()) as app:
            if careful:
                monkeypatch.setattr(
                    app.runtime.db_ops, "complete_executions", app.runtime.db_ops._complete, raising=True
                )
            ids = [await app.schedule(), await app.schedule(interval="1 hour"), await app.schedule(interval="1 hour")]
            app.clock.advance(hours=1)
            assert len(await app.run_due()) == 3
            (await app.service.pause_task(ids[2])).unwrap()
            (await app.service.execute_task(ids[2])).unwrap()
            assert len(await app.run_due()) == 1
            tasks = [await app.task(task_id) for task_id in ids]
            history = [row for task_id in ids for row in await app.history(task_id)]
            volatile = {"id", "task_id", "node_id", "duration_ms", "cpu_ms", "trace_session_id", "parameters"}
            seen.append(
                [{key: value for key, value in row.items() if key not in volatile} for row in (*tasks, *history)]
            )
            await app.sql("DELETE FROM scheduler_events")
    assert seen[0] == seen[1]
