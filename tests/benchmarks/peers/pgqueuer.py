"""PGQueuer on PostgreSQL. It moves a job from its queue to its log when it has ended; the log is the history.

Best: asyncpg, uvloop (which its own command uses), batches of 200 (also the most outcomes it writes at once).
Default: the same with batches of 10. All its tables are logged, as its `durability` is unless one says otherwise.
"""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from tests.benchmarks import measure

FAR = timedelta(days=1)
LOGGED = "SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'"
QUEUED = "SELECT count(*) FROM pgqueuer"


@asynccontextmanager
async def opened(arguments: Namespace) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database that has PGQueuer's tables."""
    connection = await asyncpg.connect(arguments.url)
    await Queries(AsyncpgDriver(connection)).install()
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def running(queuer: PgQueuer, arguments: Namespace) -> AsyncIterator[None]:
    batch = 200 if arguments.settings == "best" else 10
    task = asyncio.create_task(queuer.run(batch_size=batch))
    try:
        yield
    finally:
        queuer.shutdown.set()
        await task


async def drain(arguments: Namespace) -> measure.Figures:
    number = arguments.number
    async with opened(arguments) as connection, asyncpg.create_pool(arguments.url, min_size=1, max_size=1) as reader:
        queuer, countdown = PgQueuer(AsyncpgDriver(connection)), measure.Countdown(number)

        @queuer.entrypoint("no_op")
        async def no_op(job: Job) -> None:
            countdown.one()

        await queuer.qm.queries.enqueue(["no_op"] * number, [None] * number, [0] * number)
        meter = measure.Meter()
        async with running(queuer, arguments):
            await measure.reached(countdown)
            await measure.until(lambda: reader.fetchval(LOGGED), number)
            meter.stop()
        return measure.drained(countdown, meter, await reader.fetchval(LOGGED))


async def latency(arguments: Namespace) -> measure.Figures:
    number = arguments.number
    async with opened(arguments) as connection:
        queuer, countdown = PgQueuer(AsyncpgDriver(connection)), measure.Countdown(number)

        @queuer.entrypoint("due_at")
        async def due_at(job: Job) -> None:
            countdown.late(float(job.payload or b""))

        due = measure.moments(number, arguments.seconds)
        payloads = [repr(moment.timestamp()).encode() for moment in due]
        delays = [moment - datetime.now(UTC) for moment in due]
        await queuer.qm.queries.enqueue(["due_at"] * number, payloads, [0] * number, delays)
        meter = measure.Meter()
        async with running(queuer, arguments):
            await measure.reached(countdown)
        meter.stop()
        return measure.on_time(countdown, meter)


async def schedule(arguments: Namespace) -> measure.Figures:
    number = arguments.number
    async with opened(arguments), asyncpg.create_pool(arguments.url, min_size=10, max_size=10) as pool:

        async def one() -> None:
            async with pool.acquire() as connection:
                await Queries(AsyncpgDriver(connection)).enqueue("no_op", None, 0, FAR)

        meter = measure.Meter()
        if arguments.callers:
            await measure.concurrently(number, arguments.callers, one)
        else:
            async with pool.acquire() as connection:
                queries = Queries(AsyncpgDriver(connection))
                await queries.enqueue(["no_op"] * number, [None] * number, [0] * number, [FAR] * number)
        meter.stop()
        return measure.scheduled(number, await pool.fetchval(QUEUED), meter)


async def idle(arguments: Namespace) -> measure.Figures:
    number = arguments.number
    async with opened(arguments) as connection:
        queuer = PgQueuer(AsyncpgDriver(connection))

        @queuer.entrypoint("no_op")
        async def no_op(job: Job) -> None:
            pass

        await queuer.qm.queries.enqueue(["no_op"] * number, [None] * number, [0] * number, [FAR] * number)
        async with running(queuer, arguments):
            return await measure.watch_idle(arguments)


if __name__ == "__main__":
    workloads = {"drain": drain, "latency": latency, "schedule": schedule, "idle": idle}
    measure.main("pgqueuer", workloads, run=uvloop.run)
