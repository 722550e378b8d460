"""APScheduler 4 (an alpha) with SQLAlchemyDataStore. A job's row is deleted when it has run; results are not kept.

Best: 1,000 jobs at a time, SQLite in WAL mode with synchronous NORMAL, asyncpg on PostgreSQL. Default: 100 jobs at a
time, SQLite as it comes.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from apscheduler import AsyncScheduler, TaskDefaults, current_job
from apscheduler.datastores.sqlalchemy import SQLAlchemyDataStore
from apscheduler.triggers.interval import IntervalTrigger
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tests.benchmarks import measure

GRACE = 15.0
COUNTDOWN = measure.Countdown(0)


async def every_second() -> None:
    due = current_job.get().scheduled_fire_time
    COUNTDOWN.late(due.timestamp() if due else 0.0)


def connected(arguments: Namespace) -> AsyncEngine:
    url = arguments.url.replace("postgresql://", "postgresql+asyncpg://").replace("sqlite://", "sqlite+aiosqlite://")
    engine = create_async_engine(url)
    if engine.dialect.name == "sqlite" and arguments.settings == "best":

        @event.listens_for(engine.sync_engine, "connect")
        def fast(connection: Any, _record: Any) -> None:
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = NORMAL")
            cursor.close()

    return engine


@asynccontextmanager
async def opened(arguments: Namespace) -> AsyncIterator[AsyncScheduler]:
    options: dict[str, Any] = {"max_concurrent_jobs": 1000} if arguments.settings == "best" else {}
    defaults = TaskDefaults(misfire_grace_time=None, max_running_jobs=None)
    data_store = SQLAlchemyDataStore(connected(arguments))
    async with AsyncScheduler(data_store, task_defaults=defaults, **options) as scheduler:
        yield scheduler


async def recurring(arguments: Namespace) -> measure.Figures:
    rounds = int(arguments.seconds)
    COUNTDOWN.number = arguments.number * rounds
    async with opened(arguments) as scheduler:
        first = measure.first_fire(arguments.number)
        last = first + timedelta(seconds=rounds - 0.5)
        for index in range(arguments.number):
            trigger = IntervalTrigger(seconds=1, start_time=first, end_time=last)
            await scheduler.add_schedule(every_second, trigger, id=str(index))
        await measure.wait_for_start(first)
        meter = measure.Meter()
        await scheduler.start_in_background()
        await measure.reached_or(COUNTDOWN, rounds + GRACE)
        meter.stop()
        await scheduler.stop()
        return measure.on_time(COUNTDOWN, meter)


if __name__ == "__main__":
    measure.main("apscheduler", {"recurring": recurring})
