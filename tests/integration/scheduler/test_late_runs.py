"""Fire times that could not start on time: what runs, what is recorded, and by whose word."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from modules.core.ids import new_id
from tests.integration.scheduler.conftest import work
from tests.support.app import NOON, App, manual_clock, running_app


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


async def details(app: App, task_id: str) -> list[tuple[int, str, str | None]]:
    """Count, reason and setting of each span of fire times that did not run."""
    from modules.core.scheduler.db_ops.base import MISSED_RUNS

    query = MISSED_RUNS.select().where(MISSED_RUNS.c.event_id == task_id).order_by(MISSED_RUNS.c.from_time)
    async with app.context.database.read() as connection:
        return [(row.count, row.reason, row.detail) for row in await connection.execute(query)]


async def test_all_of_them_run_one_after_the_other(app: App) -> None:
    task_id = await app.schedule(interval="1 hour", catch_up="all")
    app.clock.advance(hours=5, minutes=20)
    executions = await app.run_due()
    assert [row["scheduled_for"] for row in executions] == [at(60 * hour) for hour in range(1, 6)]
    assert [row["lateness_ms"] for row in executions] == [(20 + 60 * hours) * 60_000 for hours in range(4, -1, -1)]
    assert await details(app, task_id) == []
    assert (await app.task(task_id))["next_execution"] == at(360)


async def test_no_more_than_the_newest_few_of_them(app: App) -> None:
    task_id = await app.schedule(interval="1 second", catch_up="all", catch_up_limit=3)
    app.clock.advance(days=365)
    now = app.clock.now()
    executions = await app.run_due()
    # Those of the last minute are on time; the three before them are caught up with.
    assert [row["scheduled_for"] for row in executions] == [now - timedelta(seconds=63 - n) for n in range(64)]
    assert await app.missed(task_id) == [
        (NOON + timedelta(seconds=1), now - timedelta(seconds=64), 365 * 86_400 - 64, "cap")
    ]
    assert await details(app, task_id) == [(365 * 86_400 - 64, "cap", "catch_up_limit=3")]


async def test_the_executions_of_a_limit_are_exact(app: App) -> None:
    task_id = await app.schedule(interval="1 hour", max_executions=3, catch_up="all")
    app.clock.advance(hours=9)
    assert [row["scheduled_for"] for row in await app.run_due()] == [at(60), at(120), at(180)]
    assert await details(app, task_id) == [(6, "limit", "max_executions")]
    task = await app.task(task_id)
    assert (task["status"], task["next_execution"], task["execution_count"]) == ("completed", None, 3)


async def test_nothing_that_is_late(app: App) -> None:
    task_id = await app.schedule(interval="1 hour", catch_up="none")
    app.clock.advance(hours=5, minutes=20)
    assert await app.run_due() == []
    assert await details(app, task_id) == [(5, "late", "catch_up=none")]
    app.clock.advance(minutes=40)
    [execution] = await app.run_due()
    assert execution["scheduled_for"] == at(360)


async def test_only_what_is_not_too_late(app: App) -> None:
    task_id = await app.schedule(interval="1 hour", max_lateness_seconds=600)
    app.clock.advance(hours=5, minutes=20)
    assert await app.run_due() == []
    assert await details(app, task_id) == [(5, "late", "max_lateness_seconds=600")]
    app.clock.advance(minutes=50)
    [execution] = await app.run_due()
    assert execution["scheduled_for"] == at(360)


@pytest.mark.parametrize(
    ("rules", "reason", "setting"),
    [
        ({"max_lateness_seconds": 600}, "late", "max_lateness_seconds=600"),
        ({"expires_at": at(30)}, "expired", "expires_at=2026-03-02T12:30:00+00:00"),
    ],
)
async def test_a_one_time_task_that_is_too_late_has_failed_and_says_why(
    app: App, rules: dict[str, Any], reason: str, setting: str
) -> None:
    task_id = await app.schedule(schedule_time=at(10), **rules)
    app.clock.advance(minutes=31)
    assert await app.run_due() == []
    assert await details(app, task_id) == [(1, reason, setting)]
    task = await app.task(task_id)
    assert (task["status"], task["next_execution"], task["execution_count"]) == ("failed", None, 0)
    assert setting in task["last_error"]
    app.clock.advance(days=1)
    assert await app.run_due() == []


async def test_what_passes_while_others_are_caught_up_with_is_not_lost(database_url: str) -> None:
    """Fire times that come while older ones still wait have their turn after them; only behind the last one of them
    a run is again what the next fire time overlaps with."""
    clock = manual_clock()

    async def slow(parameters: dict[str, Any]) -> None:
        clock.advance(minutes=50)

    async with running_app(database_url, slow, clock=clock) as app:
        task_id = await app.schedule("slow", interval="1 hour", catch_up="all")
        clock.advance(hours=3)
        executions = await app.run_due()
        assert [row["scheduled_for"] for row in executions] == [at(60 * hour) for hour in range(1, 9)]
        assert [row["start_time"] for row in executions] == [at(180 + 50 * runs) for runs in range(8)]
        assert await app.missed(task_id) == [(at(540), at(540), 1, "overlap")]


async def test_a_clock_that_is_put_forward_is_a_downtime(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    app.clock.set(at(60 * 24 * 40 + 5))
    [execution] = await app.run_due()
    assert execution["scheduled_for"] == at(60 * 24 * 40)
    assert await details(app, task_id) == [(959, "coalesced", "catch_up=latest")]
    app.clock.set(at(61))
    assert await app.run_due() == []
    assert (await app.task(task_id))["next_execution"] == at(60 * (24 * 40 + 1))


async def test_jitter_moves_the_start_and_nothing_else(app: App) -> None:
    task_id = await app.schedule(interval="1 hour", jitter_seconds=1800)
    app.clock.advance(hours=1)
    assert await app.run_due() == []
    [waiting] = await app.history(task_id)
    assert (waiting["state"], waiting["scheduled_for"]) == ("ready", at(60))
    start = waiting["start_time"]
    assert at(60) < start <= at(90)
    app.clock.set(start - timedelta(seconds=1))
    assert await app.run_due() == []
    app.clock.set(start + timedelta(seconds=2))
    [execution] = await app.run_due()
    assert (execution["scheduled_for"], execution["lateness_ms"]) == (at(60), 2000)
    assert (await app.task(task_id))["next_execution"] == at(120)
    assert await details(app, task_id) == []


async def test_the_start_of_an_occurrence_is_the_same_after_a_downtime(app: App) -> None:
    task_id = await app.schedule(interval="1 hour", jitter_seconds=1800)
    app.clock.advance(hours=1)
    await app.run_due()
    [waiting] = await app.history(task_id)
    app.clock.set(at(110))  # the process was away when it should have started
    [execution] = await app.run_due()
    assert execution["lateness_ms"] == (at(110) - waiting["start_time"]) / timedelta(milliseconds=1)


async def test_overdue_starts_are_put_off_after_a_downtime_and_run_once(app: App) -> None:
    tasks = [await app.schedule(interval="1 hour") for _ in range(25)]
    once = await app.schedule(schedule_time=at(5))
    app.clock.advance(hours=3, minutes=10)
    app.runtime.back_since = app.clock.now()
    assert await app.run_due() == [], "one of 26 draws nothing: most unlikely"
    starts = sorted([(await app.history(task_id))[0]["start_time"] for task_id in [*tasks, once]])
    assert len(set(starts)) == 26
    assert starts[-1] <= app.clock.now() + timedelta(seconds=60)
    assert starts[-1] - starts[0] > timedelta(seconds=20)
    app.clock.advance(seconds=30)
    first = await app.run_due()
    assert [row["start_time"] for row in first] == [app.clock.now()] * len(first)
    app.clock.advance(seconds=30)
    second = await app.run_due()
    assert {row["task_id"] for row in [*first, *second]} == {*tasks, once}
    assert len(first) + len(second) == 26
    assert [len(await app.history(task_id)) for task_id in tasks] == [1] * 25
    # How late it really is does not depend on how it was spread.
    by_task = {row["task_id"]: row for row in [*first, *second]}
    assert by_task[once]["lateness_ms"] >= 185 * 60_000
    assert all(by_task[task_id]["scheduled_for"] == at(180) for task_id in tasks)
    assert all(by_task[task_id]["lateness_ms"] >= 600_000 for task_id in tasks)


async def test_nodes_that_come_back_together_double_nothing(database_url: str) -> None:
    clock = manual_clock()
    async with (
        running_app(database_url, work, clock=clock) as one,
        running_app(database_url, work, clock=clock) as another,
    ):
        tasks = [await one.schedule(interval="1 hour", catch_up="all", catch_up_limit=2) for _ in range(12)]
        clock.advance(hours=5, minutes=10)
        for app in (one, another):
            app.runtime.node_id = new_id()
            app.runtime.back_since = clock.now()
        for _ in range(7):
            await asyncio.gather(one.run_due(), another.run_due())
            clock.advance(seconds=10)
        for task_id in tasks:
            history = await one.history(task_id)
            assert [(row["scheduled_for"], row["state"]) for row in history] == [
                (at(240), "succeeded"),
                (at(300), "succeeded"),
            ]
            assert await one.missed(task_id) == [(at(60), at(180), 3, "cap")]


async def test_what_falls_due_after_a_downtime_is_not_put_off(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    app.runtime.back_since = at(59.5)
    app.clock.advance(hours=1)
    [execution] = await app.run_due()
    assert (execution["task_id"], execution["lateness_ms"]) == (task_id, 0)


async def test_a_task_that_is_cancelled_while_its_start_is_put_off_does_not_run(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    app.clock.advance(hours=3, minutes=10)
    app.runtime.back_since = app.clock.now()
    assert await app.run_due() == []
    (await app.service.cancel_task(task_id)).unwrap()
    app.clock.advance(minutes=5)
    assert await app.run_due() == []
    assert [row["state"] for row in await app.history(task_id)] == ["cancelled"]
