"""Due tasks run, once each, at the right moments; what does not run is on record with its reason."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from tests.support.app import MODULE, NOON, App, manual_clock, running_app


async def test_a_one_time_task_runs_at_its_time_and_is_completed(app: App) -> None:
    task_id = await app.schedule(schedule_time=NOON + timedelta(hours=1), parameters={"a": [1, None, "é"]})
    assert await app.run_due() == []
    app.clock.advance(hours=1)
    [execution] = await app.run_due()
    assert execution["success"] is True
    assert execution["state"] == "succeeded"
    assert execution["result"] == {"a": [1, None, "é"]}
    assert execution["error"] is None
    assert execution["scheduled_for"] == execution["start_time"] == NOON + timedelta(hours=1)
    assert execution["attempt"] == 1
    assert execution["lateness_ms"] == 0
    assert execution["kind"] == "schedule"
    task = await app.task(task_id)
    assert (task["status"], task["next_execution"], task["execution_count"]) == ("completed", None, 1)
    assert task["last_execution"] == execution["start_time"]
    assert await app.run_due() == []


async def test_an_interval_keeps_its_grid_however_late_it_runs(app: App) -> None:
    task_id = await app.schedule(interval="10 minutes")
    app.clock.advance(minutes=10, seconds=30)
    [execution] = await app.run_due()
    assert execution["scheduled_for"] == NOON + timedelta(minutes=10)
    assert execution["lateness_ms"] == 30_000
    assert (await app.task(task_id))["next_execution"] == NOON + timedelta(minutes=20)
    assert await app.missed(task_id) == []


async def test_after_downtime_the_latest_fire_time_runs_and_the_others_are_one_span(app: App) -> None:
    task_id = await app.schedule(interval="1 minute")
    app.clock.advance(days=1, seconds=20)
    [execution] = await app.run_due()
    assert execution["scheduled_for"] == NOON + timedelta(days=1)
    assert await app.missed(task_id) == [
        (NOON + timedelta(minutes=1), NOON + timedelta(days=1, minutes=-1), 1439, "coalesced")
    ]
    assert (await app.task(task_id))["next_execution"] == NOON + timedelta(days=1, minutes=1)


async def test_a_one_time_task_runs_however_late(app: App) -> None:
    await app.schedule(schedule_time=NOON + timedelta(minutes=1))
    app.clock.advance(days=400)
    [execution] = await app.run_due()
    assert execution["success"] is True


async def test_max_executions_end_the_schedule(app: App) -> None:
    task_id = await app.schedule(interval="1 hour", max_executions=2)
    for _ in range(4):
        app.clock.advance(hours=1)
        await app.run_due()
    task = await app.task(task_id)
    assert (task["status"], task["next_execution"], task["execution_count"]) == ("completed", None, 2)


async def test_nothing_fires_after_the_end_time(app: App) -> None:
    task_id = await app.schedule(interval="1 hour", end_time=NOON + timedelta(hours=2))
    for _ in range(4):
        app.clock.advance(hours=1)
        await app.run_due()
    assert [row["scheduled_for"] for row in await app.history(task_id)] == [
        NOON + timedelta(hours=1),
        NOON + timedelta(hours=2),
    ]
    assert (await app.task(task_id))["status"] == "completed"


async def test_a_first_time_of_a_moment_ago_fires_now(app: App) -> None:
    await app.schedule(interval="1 day", schedule_time=NOON - timedelta(seconds=30))
    [execution] = await app.run_due()
    assert execution["scheduled_for"] == NOON - timedelta(seconds=30)


async def test_a_daily_task_whose_first_time_has_passed_waits_for_tomorrow(app: App) -> None:
    task_id = await app.schedule(interval="1 day", schedule_time=NOON - timedelta(hours=10))
    assert (await app.task(task_id))["next_execution"] == NOON + timedelta(hours=14)


async def test_fire_times_during_a_run_are_skipped_and_recorded(database_url: str) -> None:
    release = asyncio.Event()

    async def slow(parameters: dict[str, Any]) -> None:
        await release.wait()

    async with running_app(database_url, slow, clock=manual_clock()) as app:
        task_id = await app.schedule("slow", interval="1 minute")
        app.clock.advance(minutes=1)
        running = asyncio.create_task(app.run_due())
        while not app.service.job_manager.running:
            await asyncio.sleep(0)
        app.clock.advance(minutes=3, seconds=5)
        assert await app.service.dispatcher.tick() >= 0
        assert len(app.service.job_manager.running) == 1, "a second run was started beside the first"
        release.set()
        await running
        assert await app.missed(task_id) == [(NOON + timedelta(minutes=2), NOON + timedelta(minutes=4), 3, "overlap")]
        assert (await app.task(task_id))["next_execution"] == NOON + timedelta(minutes=5)
        assert len(await app.history(task_id)) == 1


async def test_no_more_tasks_run_at_once_than_there_are_slots(database_url: str) -> None:
    most = now = 0

    async def count(parameters: dict[str, Any]) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.005)
        now -= 1

    async with running_app(database_url, count, clock=manual_clock(), max_concurrent_tasks=3) as app:
        for _ in range(10):
            await app.schedule("count")
        executions = await app.run_due()
        assert len(executions) == 10
        assert most == 3


async def test_a_clock_that_is_set_back_does_not_fire_an_occurrence_twice(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    app.clock.advance(hours=1)
    await app.run_due()
    # As after a restored backup: the event waits for a fire time that has run already.
    await app.sql("UPDATE scheduler_events SET next_execution = anchor_time WHERE id = :id", id=task_id)
    await app.sql(
        "UPDATE scheduler_events SET next_execution = "
        "(SELECT scheduled_for FROM scheduler_executions WHERE event_id = :id) WHERE id = :id",
        id=task_id,
    )
    other = await app.schedule()
    executions = await app.run_due()
    assert [row["task_id"] for row in executions] == [other]
    assert len(await app.history(task_id)) == 1
    assert (await app.task(task_id))["next_execution"] == NOON + timedelta(hours=2)


async def test_a_task_whose_function_is_not_here_waits_and_blocks_nobody(app: App) -> None:
    foreign = await app.schedule()
    await app.sql("UPDATE scheduler_events SET function_name = 'elsewhere' WHERE id = :id", id=foreign)
    for _ in range(3):
        await app.schedule()
    assert len(await app.run_due()) == 3
    assert (await app.task(foreign))["status"] == "pending"
    status = (await app.service.status()).unwrap()
    assert status["unresolved"] == [{"module_id": MODULE, "function_name": "elsewhere", "tasks": 1}]


async def test_a_waiting_execution_whose_function_is_not_here_waits_and_is_shown(app: App) -> None:
    foreign, other = await app.schedule(interval="1 hour"), await app.schedule(interval="1 hour")
    for task_id in (foreign, other):
        (await app.service.execute_task(task_id)).unwrap()
    await app.sql("UPDATE scheduler_events SET function_name = 'elsewhere' WHERE id = :id", id=foreign)
    assert [row["task_id"] for row in await app.run_due()] == [other]
    assert [row["state"] for row in await app.history(foreign)] == ["ready"]
    assert (await app.task(foreign))["status"] == "running"
    status = (await app.service.status()).unwrap()
    assert status["unresolved"] == [{"module_id": MODULE, "function_name": "elsewhere", "tasks": 1}]
    assert status["executions"] == {"ready": 1}
    assert await app.service.dispatcher.tick() > 0, "the dispatcher turns in circles over what it cannot start"
    # Only the module and the function together are a function's name.
    await app.sql(
        "UPDATE scheduler_events SET module_id = 'another', function_name = 'work' WHERE id = :id", id=foreign
    )
    assert await app.run_due() == []
    await app.sql("UPDATE scheduler_events SET module_id = :module WHERE id = :id", module=MODULE, id=foreign)
    assert [row["success"] for row in await app.run_due()] == [True]


async def test_a_row_whose_schedule_makes_no_sense_is_parked_and_blocks_nobody(app: App) -> None:
    broken = await app.schedule(interval="1 hour")
    await app.sql("UPDATE scheduler_events SET interval_type = 'fortnights' WHERE id = :id", id=broken)
    good = await app.schedule(schedule_time=NOON + timedelta(hours=1))
    app.clock.advance(hours=1)
    assert [row["task_id"] for row in await app.run_due()] == [good]
    task = await app.task(broken)
    assert task["status"] == "paused"
    assert task["pause_reason"].startswith("Parked:")
    assert "PATCH" in task["pause_reason"]


async def test_the_session_of_the_caller_is_carried_to_the_execution(app: App) -> None:
    from modules.core.session import use_session

    with use_session("session-456"):
        await app.schedule()
    await app.schedule()
    first, second = await app.run_due()
    assert first["trace_session_id"] == "session-456"
    assert second["trace_session_id"] == app.context.session_id
