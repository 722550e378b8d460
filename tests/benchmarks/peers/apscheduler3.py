"""APScheduler 3 with SQLAlchemyJobStore. A job's row is deleted before it runs; nothing is kept afterwards.

Best: SQLite in WAL mode with synchronous NORMAL, psycopg on PostgreSQL. Default: what
`SQLAlchemyJobStore(url=...)` gives (SQLite's rollback journal, FULL). In both, jobs have no misfire grace time: by
default it drops those that start more than a second late.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.events import EVENT_JOB_EXECUTED, JobExecutionEvent
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger
from sqlalchemy import create_engine, event, func, select

from tests.benchmarks import measure

FAR = timedelta(days=1)
GRACE = 15.0
COUNTDOWN = measure.Countdown(0)
STARTED: dict[str, float] = {}


async def no_op() -> None:
    """Named by its import path in the job's row, so it cannot be made inside a function; likewise the next ones."""
    COUNTDOWN.one()


async def due_at(due: float) -> None:
    COUNTDOWN.late(due)


async def every_second(name: str) -> None:
    STARTED[name] = datetime.now(UTC).timestamp()


def store(arguments: Namespace) -> SQLAlchemyJobStore:
    url = arguments.url.replace("postgresql://", "postgresql+psycopg://")
    if arguments.settings == "default":
        return SQLAlchemyJobStore(url=url)
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def fast(connection: Any, _record: Any) -> None:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")

    return SQLAlchemyJobStore(engine=engine)


@asynccontextmanager
async def opened(arguments: Namespace) -> AsyncIterator[AsyncIOScheduler]:
    """A scheduler that has started and is paused: jobs that are added go to the store at once."""
    scheduler = AsyncIOScheduler(
        timezone=UTC, jobstores={"default": store(arguments)}, job_defaults={"misfire_grace_time": None}
    )
    scheduler.start(paused=True)
    try:
        yield scheduler
    finally:
        scheduler.shutdown()


def left(scheduler: AsyncIOScheduler) -> int:
    jobs = scheduler._lookup_jobstore("default")
    with jobs.engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(jobs.jobs_t)).scalar_one())


async def drain(arguments: Namespace) -> measure.Figures:
    COUNTDOWN.number = arguments.number
    async with opened(arguments) as scheduler:
        for _ in range(arguments.number):
            scheduler.add_job(no_op, "date", run_date=datetime.now(UTC))
        meter = measure.Meter()
        scheduler.resume()
        await measure.reached(COUNTDOWN)
        await measure.until(lambda: arguments.number - left(scheduler), arguments.number)
        meter.stop()
        return measure.drained(COUNTDOWN, meter, arguments.number - left(scheduler))


async def latency(arguments: Namespace) -> measure.Figures:
    COUNTDOWN.number = arguments.number
    async with opened(arguments) as scheduler:
        for moment in measure.moments(arguments.number, arguments.seconds):
            scheduler.add_job(due_at, "date", run_date=moment, args=(moment.timestamp(),))
        meter = measure.Meter()
        scheduler.resume()
        await measure.reached(COUNTDOWN)
        meter.stop()
        return measure.on_time(COUNTDOWN, meter)


async def schedule(arguments: Namespace) -> measure.Figures:
    """Its calls block; they have no asynchronous form."""
    if not arguments.callers:
        return measure.unavailable("APScheduler 3 has no bulk call")
    async with opened(arguments) as scheduler:
        later = datetime.now(UTC) + FAR
        meter = measure.Meter()

        async def one() -> None:
            scheduler.add_job(no_op, "date", run_date=later)

        await measure.concurrently(arguments.number, arguments.callers, one)
        meter.stop()
        return measure.scheduled(arguments.number, left(scheduler), meter)


async def idle(arguments: Namespace) -> measure.Figures:
    async with opened(arguments) as scheduler:
        for _ in range(arguments.number):
            scheduler.add_job(no_op, "date", run_date=datetime.now(UTC) + FAR)
        scheduler.resume()
        return await measure.watch_idle(arguments)


async def recurring(arguments: Namespace) -> measure.Figures:
    """Lateness by the time that the scheduler itself names in its event."""
    rounds = int(arguments.seconds)
    countdown = measure.Countdown(arguments.number * rounds)

    def executed(done: JobExecutionEvent) -> None:
        countdown.lateness.append((STARTED[done.job_id] - done.scheduled_run_time.timestamp()) * 1000)
        countdown.one()

    async with opened(arguments) as scheduler:
        scheduler.add_listener(executed, EVENT_JOB_EXECUTED)
        first = measure.first_fire(arguments.number)
        last = first + timedelta(seconds=rounds - 0.5)
        trigger = IntervalTrigger(seconds=1, start_date=first, end_date=last, timezone=UTC)
        for index in range(arguments.number):
            scheduler.add_job(every_second, trigger, id=str(index), args=(str(index),))
        await measure.wait_for_start(first)
        meter = measure.Meter()
        scheduler.resume()
        await measure.reached_or(countdown, rounds + GRACE)
        meter.stop()
        return measure.on_time(countdown, meter)


if __name__ == "__main__":
    workloads = {
        "drain": drain,
        "latency": latency,
        "schedule": schedule,
        "idle": idle,
        "recurring": recurring,
    }
    measure.main("apscheduler", workloads)
