"""chancy on PostgreSQL. A job's row stays, with start, end and errors of all tries together; no row for each try.

Best: the asyncio executor, 1,000 jobs at a time, a poll after every job, outcomes written every 50 ms instead of every
second, and of its plugins those that recover lost jobs. Its default is a pool of processes, as many as there are
cores, and a poll every 5 s: made for heavy jobs; a drain of no-ops then measures the pauses.
"""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from chancy import Chancy, Job, Queue, Worker
from chancy.plugins.leadership import Leadership
from chancy.plugins.recovery import Recovery

from tests.benchmarks import measure

FAR = timedelta(days=1)
COUNTDOWN = measure.Countdown(0)
BEST_QUEUE = {"executor": Chancy.Executor.Async, "concurrency": 1000, "eager_polling": True, "polling_interval": 1}


async def no_op() -> None:
    """Named by its import path in the job's row, so it cannot be made inside a function."""
    COUNTDOWN.one()


@asynccontextmanager
async def opened(arguments: Namespace) -> AsyncIterator[Chancy]:
    """A Chancy over a database that has its tables, with one queue."""
    best = arguments.settings == "best"
    options: dict[str, Any] = {}
    if best:
        options = {"plugins": [Leadership(), Recovery()], "no_default_plugins": True}
    async with Chancy(arguments.url, log=logging.getLogger("chancy"), **options) as chancy:
        await chancy.migrate()
        await chancy.declare(Queue("default", **(BEST_QUEUE if best else {})))
        yield chancy


@asynccontextmanager
async def running(chancy: Chancy, arguments: Namespace) -> AsyncIterator[None]:
    worker = Worker(chancy, register_signal_handlers=False)
    if arguments.settings == "best":
        worker.send_outgoing_interval = 0.05
    async with worker:
        yield


async def count(chancy: Chancy, state: str) -> int:
    async with chancy.pool.connection() as connection:
        found = await connection.execute("SELECT count(*) FROM chancy_jobs WHERE state = %s", [state])
        return int((await found.fetchone())[0])


async def make(chancy: Chancy, number: int, due: datetime | None = None) -> None:
    job = Job.from_func(no_op).with_scheduled_at(due or datetime.now(UTC))
    async for _ in chancy.push_many([job] * number, batch_size=number):
        pass


async def drain(arguments: Namespace) -> measure.Figures:
    COUNTDOWN.number = arguments.number
    async with opened(arguments) as chancy:
        await make(chancy, arguments.number)
        meter = measure.Meter()
        async with running(chancy, arguments):
            if arguments.settings == "best":  # by default the jobs run in other processes, which cannot count here
                await measure.reached(COUNTDOWN)
            await measure.until(lambda: count(chancy, "succeeded"), arguments.number)
            meter.stop()
        return measure.drained(COUNTDOWN, meter, await count(chancy, "succeeded"))


async def schedule(arguments: Namespace) -> measure.Figures:
    async with opened(arguments) as chancy:
        job = Job.from_func(no_op).with_scheduled_at(datetime.now(UTC) + FAR)
        meter = measure.Meter()
        if arguments.callers:
            await measure.concurrently(arguments.number, arguments.callers, lambda: chancy.push(job))
        else:
            await make(chancy, arguments.number, datetime.now(UTC) + FAR)
        meter.stop()
        return measure.scheduled(arguments.number, await count(chancy, "pending"), meter)


async def idle(arguments: Namespace) -> measure.Figures:
    async with opened(arguments) as chancy:
        await make(chancy, arguments.number, datetime.now(UTC) + FAR)
        async with running(chancy, arguments):
            return await measure.watch_idle(arguments)


if __name__ == "__main__":
    measure.main("chancy", {"drain": drain, "schedule": schedule, "idle": idle})
