"""Fire times that passed without a start are on record when somebody ends or changes their task by hand."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text

from modules.core.scheduler.db_ops.base import EVENTS
from tests.integration.scheduler.conftest import work
from tests.support.app import NOON, App, manual_clock, running_app


def at(hour: float) -> object:
    return NOON + timedelta(hours=hour)


async def test_those_before_a_cancellation(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    app.clock.advance(hours=2.5)
    (await app.service.cancel_task(task_id)).unwrap()
    assert await app.missed(task_id) == [(at(1), at(2), 2, "disabled")]


async def test_those_of_a_pause_that_ends_in_a_cancellation(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    (await app.service.pause_task(task_id)).unwrap()
    app.clock.advance(hours=3)
    (await app.service.cancel_task(task_id)).unwrap()
    assert await app.missed(task_id) == [(at(1), at(3), 3, "paused")]


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
async def test_those_before_an_end_that_was_set_by_hand(app: App, status: str) -> None:
    task_id = await app.schedule(interval="1 hour")
    app.clock.advance(hours=1)
    (await app.service.job_manager.update_job_status(task_id, status)).unwrap()
    assert await app.missed(task_id) == [(at(1), at(1), 1, "disabled")]


async def test_those_of_a_pause_before_an_edit(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    (await app.service.pause_task(task_id)).unwrap()
    app.clock.advance(hours=2)
    (await app.service.update_task(task_id, {"interval": "30 minutes"})).unwrap()
    app.clock.advance(hours=1)
    (await app.service.resume_task(task_id)).unwrap()
    assert await app.missed(task_id) == [(at(1), at(2), 2, "paused"), (at(2.5), at(3), 2, "paused")]


async def test_those_before_a_task_recurs_no_more(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    app.clock.advance(hours=1)
    (await app.service.update_task(task_id, {"recurring": False, "schedule_time": at(5)})).unwrap()
    assert await app.missed(task_id) == [(at(1), at(1), 1, "edited")]


async def test_those_before_a_limit_that_ends_the_task(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    app.clock.advance(hours=1)
    await app.run_due()
    app.clock.advance(hours=2)
    (await app.service.update_task(task_id, {"max_executions": 1})).unwrap()
    assert (await app.task(task_id))["status"] == "completed"
    assert await app.missed(task_id) == [(at(2), at(3), 2, "edited")]


async def test_a_one_time_task_leaves_none_behind(app: App) -> None:
    task_id = await app.schedule(schedule_time=at(1))
    app.clock.advance(hours=2)
    (await app.service.cancel_task(task_id)).unwrap()
    assert await app.missed(task_id) == []


async def test_a_schedule_that_cannot_be_read_can_be_ended_and_mended(app: App) -> None:
    ended, mended = await app.schedule(interval="1 hour"), await app.schedule(interval="1 hour")
    for task_id in (ended, mended):
        (await app.service.pause_task(task_id)).unwrap()
        await app.sql("UPDATE scheduler_events SET interval_type = 'fortnights' WHERE id = :id", id=task_id)
    app.clock.advance(hours=2)
    (await app.service.cancel_task(ended)).unwrap()
    (await app.service.update_task(mended, {"interval": "1 hour"})).unwrap()
    assert (await app.missed(ended), await app.missed(mended)) == ([], [])


async def test_a_change_reads_the_time_when_it_has_the_task(postgres_url: str) -> None:
    """It may have waited for the row, and what it decides must not be about a moment that has passed."""
    async with running_app(postgres_url, work, clock=manual_clock()) as app:
        task_id = await app.schedule(interval="1 hour")
        async with app.context.database.transaction() as connection:
            await connection.execute(EVENTS.select().where(EVENTS.c.id == task_id).with_for_update())
            editing = asyncio.create_task(app.service.update_task(task_id, {"interval": "1 hour"}))
            async with asyncio.timeout(20):
                await _somebody_waits_for_a_lock(app)
            app.clock.advance(hours=3)
        assert (await editing).unwrap()["next_execution"] == at(4)
        assert await app.missed(task_id) == [(at(1), at(3), 3, "edited")]


async def _somebody_waits_for_a_lock(app: App) -> None:
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    while True:
        async with app.context.database.read() as connection:
            if (await connection.execute(waiting)).scalar_one():
                return


@pytest.mark.parametrize("ended", ["cancelled", "paused"])
async def test_a_fire_time_that_was_claimed_ahead_is_not_set_again_by_an_edit(database_url: str, ended: str) -> None:
    """It ran, or will: an edit in the moment between the claim and the fire time goes on with the one after it."""
    clock = manual_clock()
    async with running_app(database_url, work, clock=clock, look_ahead_seconds=0.1) as app:
        task_id = await app.schedule(interval="2 seconds")
        clock.advance(1.95)
        await app.service.dispatcher.tick()
        edited = (await app.service.update_task(task_id, {"interval": "1 second"})).unwrap()
        assert edited["next_execution"] == NOON + timedelta(seconds=3)
        clock.advance(0.55)
        if ended == "paused":
            await app.run_due()
            (await app.service.pause_task(task_id)).unwrap()
        (await app.service.cancel_task(task_id)).unwrap()
        assert await app.missed(task_id) == []
        [row] = await app.history(task_id)
        assert row["scheduled_for"] == NOON + timedelta(seconds=2)


async def test_a_limit_that_was_used_up_ahead_is_raised(database_url: str) -> None:
    clock = manual_clock()
    async with running_app(database_url, work, clock=clock, look_ahead_seconds=0.1) as app:
        task_id = await app.schedule(interval="2 seconds", max_executions=1)
        clock.advance(1.95)
        await app.service.dispatcher.tick()
        assert (await app.task(task_id))["next_execution"] is None
        raised = (await app.service.update_task(task_id, {"max_executions": 2})).unwrap()
        assert raised["next_execution"] == NOON + timedelta(seconds=4)
