"""procrastinate on PostgreSQL. Its jobs stay, and triggers write an event for each change of state: that is history.

Best: 100 jobs at a time over a pool of 20 psycopg connections. Default: one job at a time, a poll every 5 s beside
LISTEN.
"""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from procrastinate import App, PsycopgConnector
from procrastinate.tasks import Task

from tests.benchmarks import measure

FAR = timedelta(days=1)
COUNT = "SELECT count(*) AS number FROM procrastinate_jobs WHERE status = %(status)s"


@asynccontextmanager
async def opened(arguments: Namespace) -> AsyncIterator[App]:
    """An App over a database that has procrastinate's tables."""
    more = {"max_size": 20} if arguments.settings == "best" else {}
    app = App(connector=PsycopgConnector(conninfo=arguments.url, **more))
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        yield app


@asynccontextmanager
async def running(app: App, arguments: Namespace) -> AsyncIterator[None]:
    best = {"concurrency": 100} if arguments.settings == "best" else {}
    worker = asyncio.create_task(app.run_worker_async(install_signal_handlers=False, **best))
    try:
        yield
    finally:
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)


async def count(app: App, status: str) -> int:
    return int((await app.connector.execute_query_one_async(COUNT, status=status))["number"])


async def make(task: Task[Any, Any, Any], number: int, **options: Any) -> None:
    await task.configure(**options).batch_defer_async(*[{} for _ in range(number)])


async def drain(arguments: Namespace) -> measure.Figures:
    countdown = measure.Countdown(arguments.number)
    async with opened(arguments) as app:

        @app.task
        async def no_op() -> None:
            countdown.one()

        await make(no_op, arguments.number)
        meter = measure.Meter()
        async with running(app, arguments):
            await measure.reached(countdown)
            await measure.until(lambda: count(app, "succeeded"), arguments.number)
            meter.stop()
        return measure.drained(countdown, meter, await count(app, "succeeded"))


async def schedule(arguments: Namespace) -> measure.Figures:
    async with opened(arguments) as app:

        @app.task
        async def no_op() -> None:
            pass

        later = no_op.configure(schedule_in={"days": 1})
        meter = measure.Meter()
        if arguments.callers:
            await measure.concurrently(arguments.number, arguments.callers, later.defer_async)
        else:
            await make(no_op, arguments.number, schedule_in={"days": 1})
        meter.stop()
        return measure.scheduled(arguments.number, await count(app, "todo"), meter)


async def idle(arguments: Namespace) -> measure.Figures:
    async with opened(arguments) as app:

        @app.task
        async def no_op() -> None:
            pass

        await make(no_op, arguments.number, schedule_in={"days": 1})
        async with running(app, arguments):
            return await measure.watch_idle(arguments)


if __name__ == "__main__":
    measure.main("procrastinate", {"drain": drain, "schedule": schedule, "idle": idle})
