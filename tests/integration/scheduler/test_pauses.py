"""A pause with a name, a reason and an end: it is over by itself, once, wherever somebody looks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from modules.core.scheduler.db_ops.base import MISSED_RUNS
from tests.integration.scheduler.conftest import work
from tests.integration.scheduler.test_control import code_of
from tests.support.app import NOON, App, manual_clock, running_app

HOUR = timedelta(hours=1)


async def details(app: App, task_id: str) -> list[str | None]:
    query = MISSED_RUNS.select().where(MISSED_RUNS.c.event_id == task_id).order_by(MISSED_RUNS.c.from_time)
    async with app.context.database.read() as connection:
        return [row.detail for row in await connection.execute(query)]


@pytest.fixture
async def two_nodes(database_url: str) -> AsyncIterator[tuple[App, App]]:
    clock = manual_clock()
    async with (
        running_app(database_url, work, clock=clock) as first,
        running_app(database_url, work, clock=clock) as second,
    ):
        yield first, second


async def test_a_pause_is_over_at_its_time(app: App) -> None:
    """Fire times before that moment are missed, the one at that moment runs."""
    task_id = await app.schedule(interval="1 hour")
    until = NOON + 3 * HOUR
    paused = await app.service.pause_task(task_id, "maintenance", until=until, actor="alice")
    assert paused.data == {"task_id": task_id, "status": "paused", "until": until}
    task = await app.task(task_id)
    assert (task["pause_reason"], task["pause_actor"]) == ("maintenance", "alice")
    assert (task["paused_at"], task["paused_until"]) == (NOON, until)
    app.clock.advance(hours=2, minutes=59)
    assert await app.run_due() == []
    assert (await app.task(task_id))["status"] == "paused"
    app.clock.advance(minutes=1)
    [execution] = await app.run_due()
    assert execution["scheduled_for"] == until
    task = await app.task(task_id)
    assert (task["status"], task["next_execution"], task["version"]) == ("pending", NOON + 4 * HOUR, 3)
    gone = ("pause_reason", "pause_actor", "paused_at", "paused_until")
    assert [task[name] for name in gone] == [None] * 4
    assert await app.missed(task_id) == [(NOON + HOUR, NOON + 2 * HOUR, 2, "paused")]
    assert await details(app, task_id) == [
        f"paused by alice from {NOON.isoformat()} until {until.isoformat()}: maintenance"
    ]


async def test_what_passed_after_the_pause_is_late_and_not_paused(app: App) -> None:
    """Nobody was there to end it in time."""
    task_id = await app.schedule(interval="1 hour")
    (await app.service.pause_task(task_id, until=NOON + timedelta(minutes=90))).unwrap()
    app.clock.advance(hours=4, minutes=30)
    [execution] = await app.run_due()
    assert execution["scheduled_for"] == NOON + 4 * HOUR
    assert await app.missed(task_id) == [
        (NOON + HOUR, NOON + HOUR, 1, "paused"),
        (NOON + 2 * HOUR, NOON + 3 * HOUR, 2, "coalesced"),
    ]


async def test_a_one_time_task_runs_when_its_pause_is_over(app: App) -> None:
    task_id = await app.schedule(schedule_time=NOON + HOUR)
    (await app.service.pause_task(task_id, until=(NOON + 2 * HOUR).isoformat())).unwrap()
    app.clock.advance(hours=1, minutes=30)
    assert await app.run_due() == []
    app.clock.advance(minutes=30)
    assert len(await app.run_due()) == 1
    assert (await app.task(task_id))["status"] == "completed"


async def test_a_pause_ends_once_on_two_nodes(two_nodes: tuple[App, App]) -> None:
    first, second = two_nodes
    task_id = await first.schedule(interval="1 hour")
    (await first.service.pause_task(task_id, until=NOON + 90 * timedelta(minutes=1))).unwrap()
    first.clock.advance(minutes=90)
    for app in (second, first, second):
        assert await app.run_due() == []
    assert await first.missed(task_id) == [(NOON + HOUR, NOON + HOUR, 1, "paused")]
    assert (await first.task(task_id))["version"] == 3


async def test_resuming_by_hand_comes_first(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    (await app.service.pause_task(task_id, until=NOON + 3 * HOUR)).unwrap()
    app.clock.advance(minutes=30)
    (await app.service.resume_task(task_id)).unwrap()
    (await app.service.pause_task(task_id)).unwrap()
    app.clock.advance(hours=5)
    assert await app.run_due() == []
    assert (await app.task(task_id))["status"] == "paused", "the second pause has no end"


async def test_the_loop_wakes_for_the_end_of_a_pause(app: App) -> None:
    """It sleeps exactly until then, neither looks all the time nor a poll too late."""
    task_id = await app.schedule(interval="1 hour")
    (await app.service.pause_task(task_id, until=NOON + timedelta(seconds=20))).unwrap()
    assert await app.service.dispatcher.tick() == pytest.approx(20.0)
    app.clock.advance(seconds=19.5)
    assert await app.service.dispatcher.tick() == pytest.approx(0.5)
    app.clock.advance(seconds=0.5)
    await app.service.dispatcher.tick()
    assert (await app.task(task_id))["status"] == "pending"


async def test_a_row_that_cannot_go_on_stays_paused_and_holds_up_no_other(sqlite_url: str) -> None:
    async with running_app(sqlite_url, work, clock=manual_clock()) as app:
        broken, damaged, whole = [await app.schedule(interval="1 hour") for _ in range(3)]
        for task_id in (broken, damaged, whole):
            (await app.service.pause_task(task_id, until=NOON + HOUR)).unwrap()
        await app.sql("UPDATE scheduler_events SET interval_type = 'moons' WHERE id = :id", id=broken)
        await app.sql("UPDATE scheduler_events SET paused_until = '' WHERE id = :id", id=damaged)
        app.clock.advance(hours=1)
        assert len(await app.run_due()) == 1
        assert (await app.task(whole))["status"] == "pending"
        for task_id in (broken, damaged):
            task = await app.task(task_id)
            assert (task["status"], task["paused_until"]) == ("paused", None)
            assert "cannot go on" in task["pause_reason"]


@pytest.mark.parametrize(
    "until",
    [NOON, NOON - HOUR, "yesterday", "", 5, True, "2026-13-01T00:00:00Z", datetime(2300, 1, 1), [], "2026-03-02\x00"],
    ids=repr,
)
async def test_an_end_that_makes_no_sense_is_refused(app: App, until: Any) -> None:
    task_id = await app.schedule(interval="1 hour")
    refused = await app.service.pause_task(task_id, until=until)
    assert code_of(refused) == "INVALID_TASK"
    assert (await app.task(task_id))["status"] == "pending"


@pytest.mark.parametrize("actor", ["", "x" * 101, "a\nb", 5, "\ud800"])
async def test_a_name_that_cannot_be_shown_is_refused(app: App, actor: Any) -> None:
    task_id = await app.schedule(interval="1 hour")
    assert code_of(await app.service.pause_task(task_id, actor=actor)) == "INVALID_TASK"
