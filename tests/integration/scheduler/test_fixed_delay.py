"""mode fixed_delay: the end of the last attempt sets the next fire time, whatever became of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest

from modules.core.ids import new_id
from tests.support.app import NOON, App, manual_clock, running_app

EVERY = {"interval": "10 minutes", "mode": "fixed_delay"}


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


@asynccontextmanager
async def slow_app(database_url: str, *, minutes: float = 7) -> AsyncIterator[App]:
    """`slow` takes that long by the clock; `fails` too, and then fails."""
    clock = manual_clock()

    async def slow(parameters: dict[str, Any]) -> None:
        clock.advance(minutes=minutes)

    async def fails(parameters: dict[str, Any]) -> None:
        clock.advance(minutes=minutes)
        raise ValueError("it broke")

    async with running_app(database_url, slow, fails, clock=clock) as app:
        yield app


async def next_of(app: App, task_id: str) -> datetime | None:
    following: datetime | None = (await app.task(task_id))["next_execution"]
    return following


@pytest.mark.parametrize("function", ["slow", "fails"])
async def test_the_end_of_a_run_sets_the_next_one(database_url: str, function: str) -> None:
    async with slow_app(database_url, minutes=25) as app:
        task_id = await app.schedule(function, **EVERY)
        assert await next_of(app, task_id) == at(10)
        for nominal in (10, 45, 80):
            app.clock.set(at(nominal))
            [execution] = await app.run_due()
            assert (execution["scheduled_for"], execution["end_time"]) == (at(nominal), at(nominal + 25))
            assert await next_of(app, task_id) == at(nominal + 35)
        assert await app.missed(task_id) == []
        assert (await app.task(task_id))["status"] == "pending"


async def test_it_is_counted_from_the_last_attempt(database_url: str) -> None:
    """A retry does not yield to a fire time that does not stand yet."""
    async with slow_app(database_url) as app:
        retry = {"max_attempts": 2, "backoff": "fixed", "delay_seconds": 3600, "jitter": False}
        task_id = await app.schedule("fails", **EVERY, retry=retry)
        app.clock.set(at(10))
        await app.run_due()
        app.clock.set(at(17 + 60))
        [second] = await app.run_due()
        assert (second["attempt"], second["scheduled_for"]) == (2, at(10))
        assert await next_of(app, task_id) == at(17 + 60 + 7 + 10)
        assert await app.missed(task_id) == []


async def test_a_process_that_dies_sets_it_back(database_url: str) -> None:
    async with slow_app(database_url) as app:
        task_id = await app.schedule("slow", **EVERY)
        app.clock.set(at(10))
        held = []
        app.service.dispatcher._accept = held.extend  # type: ignore[method-assign,assignment]
        app.service.dispatcher.wake()
        await app.service.dispatcher.tick()
        assert len(held) == 1
        del app.service.dispatcher._accept
        app.runtime.node_id = new_id()
        app.clock.set(at(30))
        while await app.service.recovery.tick() == 0:
            pass
        assert [row["state"] for row in await app.history(task_id)] == ["abandoned", "ready"]
        [again] = await app.run_due()
        assert (again["scheduled_for"], again["attempt"]) == (at(10), 2)
        assert await next_of(app, task_id) == at(30 + 7 + 10)
        assert await app.missed(task_id) == []


async def test_the_last_one_ends_the_task(database_url: str) -> None:
    async with slow_app(database_url) as app:
        limited = await app.schedule("slow", **EVERY, max_executions=1)
        bounded = await app.schedule("slow", **EVERY, end_time=at(25))
        for minute in range(0, 100, 5):
            app.clock.set(max(app.clock.now(), at(minute)))
            await app.run_due()
        for task_id in (limited, bounded):
            task = await app.task(task_id)
            assert (task["status"], task["next_execution"], task["execution_count"]) == ("completed", None, 1)


async def test_after_a_downtime_it_runs_once_or_by_its_rules_not_at_all(database_url: str) -> None:
    async with slow_app(database_url, minutes=2) as app:
        plain = await app.schedule("slow", **EVERY)
        all_of_it = await app.schedule("slow", **EVERY, catch_up="all")
        strict = await app.schedule("slow", **EVERY, catch_up="none")
        app.clock.set(at(600))
        executions = await app.run_due()
        assert {row["task_id"] for row in executions} == {plain, all_of_it}
        assert {row["scheduled_for"] for row in executions} == {at(10)}
        assert await app.missed(strict) == [(at(10), at(10), 1, "late")]
        assert await next_of(app, strict) == at(610)
        assert await app.missed(plain) == await app.missed(all_of_it) == []


async def test_a_pause_during_a_run_leaves_no_trace_of_a_time_that_never_was(database_url: str) -> None:
    release = asyncio.Event()

    async def long(parameters: dict[str, Any]) -> None:
        await release.wait()

    async with running_app(database_url, long, clock=manual_clock()) as app:
        task_id = await app.schedule("long", **EVERY)
        app.clock.set(at(10))
        running = asyncio.create_task(app.run_due())
        while not app.service.job_manager.running:
            await asyncio.sleep(0)
        (await app.service.pause_task(task_id)).unwrap()
        app.clock.set(at(60))
        (await app.service.resume_task(task_id)).unwrap()
        release.set()
        await running
        assert await next_of(app, task_id) == at(70)
        assert await app.missed(task_id) == []


async def test_a_pause_between_runs_misses_the_one_that_stood(database_url: str) -> None:
    async with slow_app(database_url) as app:
        task_id = await app.schedule("slow", **EVERY)
        (await app.service.pause_task(task_id)).unwrap()
        app.clock.set(at(60))
        (await app.service.resume_task(task_id)).unwrap()
        assert await next_of(app, task_id) == at(70)
        assert await app.missed(task_id) == [(at(10), at(10), 1, "paused")]


async def test_a_run_by_hand_leaves_it_alone(database_url: str) -> None:
    async with slow_app(database_url, minutes=25) as app:
        task_id = await app.schedule("slow", **EVERY)
        (await app.service.execute_task(task_id)).unwrap()
        executions = await app.run_due()
        assert [(row["kind"], row["scheduled_for"]) for row in executions] == [
            ("manual", NOON),
            ("schedule", at(10)),
        ]
        assert await app.missed(task_id) == []
