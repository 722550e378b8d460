"""pg-scheduler on PostgreSQL. A job's row stays, with its last state; no start, no end, no row for each try.

Best: 500 jobs at a time, claimed by 500, polls every 1 to 5 ms, 20 connections. Default: 25 jobs at a time, claimed by
10, polls every 50 to 2,000 ms, asyncpg's pool of 10. In both, jobs do not expire: by default it drops those that are
5 minutes late.
"""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from pg_scheduler import JobSpec, PollingConfig, Scheduler

from tests.benchmarks import measure

FAR = timedelta(days=1)
COMPLETED = "SELECT count(*) FROM scheduled_jobs WHERE status = 'completed'"
PENDING = "SELECT count(*) FROM scheduled_jobs WHERE status = 'pending'"
BEST = PollingConfig(
    min_interval=0.001, max_interval=0.005, idle_start_interval=0.001, semaphore_full_interval=0.001, jitter=False
)


@asynccontextmanager
async def opened(arguments: Namespace) -> AsyncIterator[Scheduler]:
    best = arguments.settings == "best"
    options: dict[str, Any] = {}
    if best:
        options = {"max_concurrent_jobs": 500, "batch_claim_limit": 500, "polling_config": BEST}
    async with asyncpg.create_pool(arguments.url, max_size=20 if best else 10) as pool:
        scheduler = Scheduler(pool, misfire_grace_time=None, **options)
        await scheduler.initialize_db()
        yield scheduler


@asynccontextmanager
async def running(scheduler: Scheduler) -> AsyncIterator[None]:
    await scheduler.start()
    try:
        yield
    finally:
        await scheduler.shutdown()


async def drain(arguments: Namespace) -> measure.Figures:
    countdown = measure.Countdown(arguments.number)

    async def no_op() -> None:
        countdown.one()

    async with opened(arguments) as scheduler:
        # All due at one moment a little later: it waits up to a second, drawn by chance, before its first poll.
        (due,) = measure.moments(1, 0)
        await scheduler.schedule_bulk([JobSpec(no_op, due)] * arguments.number)
        count = scheduler.db_pool.fetchval
        async with running(scheduler):
            await asyncio.sleep((due - datetime.now(UTC)).total_seconds())
            meter = measure.Meter()
            await measure.reached(countdown)
            await measure.until(lambda: count(COMPLETED), arguments.number)
            meter.stop()
        return measure.drained(countdown, meter, await count(COMPLETED))


async def latency(arguments: Namespace) -> measure.Figures:
    countdown = measure.Countdown(arguments.number)

    async def due_at(due: float) -> None:
        countdown.late(due)

    async with opened(arguments) as scheduler:
        due = measure.moments(arguments.number, arguments.seconds)
        await scheduler.schedule_bulk([JobSpec(due_at, moment, (moment.timestamp(),)) for moment in due])
        meter = measure.Meter()
        async with running(scheduler):
            await measure.reached(countdown)
        meter.stop()
        return measure.on_time(countdown, meter)


async def schedule(arguments: Namespace) -> measure.Figures:
    async def no_op() -> None:
        pass

    async with opened(arguments) as scheduler:
        later = datetime.now(UTC) + FAR
        meter = measure.Meter()
        if arguments.callers:
            await measure.concurrently(
                arguments.number, arguments.callers, lambda: scheduler.schedule(no_op, execution_time=later)
            )
        else:
            await scheduler.schedule_bulk([JobSpec(no_op, later)] * arguments.number)
        meter.stop()
        return measure.scheduled(arguments.number, await scheduler.db_pool.fetchval(PENDING), meter)


async def idle(arguments: Namespace) -> measure.Figures:
    async def no_op() -> None:
        pass

    async with opened(arguments) as scheduler:
        await scheduler.schedule_bulk([JobSpec(no_op, datetime.now(UTC) + FAR)] * arguments.number)
        async with running(scheduler):
            return await measure.watch_idle(arguments)


if __name__ == "__main__":
    measure.main("pg-scheduler", {"drain": drain, "latency": latency, "schedule": schedule, "idle": idle})
