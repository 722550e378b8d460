"""huey with SqliteHuey. A task's row is deleted when a worker takes it, before it runs; nothing is kept afterwards.

Best: synchronous NORMAL, as the others have it in that row (huey itself knows FULL and OFF), one worker thread (more
only wait for each other), a short wait between polls. Default: one worker thread, synchronous FULL.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from huey import SqliteHuey
from huey.consumer import Consumer
from huey.storage import SqliteStorage

from tests.benchmarks import measure

FAR = timedelta(days=1)


class Normal(SqliteStorage):
    """WAL with synchronous NORMAL."""

    def _create_connection(self) -> Any:
        connection = super()._create_connection()
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection


def opened(arguments: Namespace) -> SqliteHuey:
    more = {"storage_class": Normal} if arguments.settings == "best" else {}
    return SqliteHuey("bench", filename=measure.sqlite_path(arguments.url), timeout=60, **more)


@contextlib.contextmanager
def consuming(huey: SqliteHuey, arguments: Namespace) -> Iterator[None]:
    best = {"initial_delay": 0.001, "max_delay": 0.005} if arguments.settings == "best" else {}
    consumer = Consumer(huey, periodic=False, **best)
    consumer.start()
    try:
        yield
    finally:
        consumer.stop(graceful=True)


def drain(arguments: Namespace) -> measure.Figures:
    huey, runs, number = opened(arguments), [], arguments.number

    @huey.task()
    def no_op() -> None:
        runs.append(None)

    for _ in range(number):
        no_op()
    meter = measure.Meter()
    with consuming(huey, arguments):
        while len(runs) < number:
            time.sleep(measure.POLL)
        meter.stop()
    countdown = measure.Countdown(number)
    countdown.count = len(runs)
    return measure.drained(countdown, meter, number - huey.storage.queue_size())


def to_schedule(huey: SqliteHuey) -> Callable[[], Any]:
    @huey.task()
    def no_op() -> None:
        pass

    return lambda: no_op.schedule(delay=FAR)


async def schedule(arguments: Namespace) -> measure.Figures:
    """huey's calls block: an asynchronous program makes them in threads."""
    if not arguments.callers:
        return measure.unavailable("huey has no bulk call")
    huey = opened(arguments)
    one = to_schedule(huey)
    meter = measure.Meter()
    if arguments.callers == 1:
        for _ in range(arguments.number):
            one()
    else:
        await measure.concurrently(arguments.number, arguments.callers, lambda: asyncio.to_thread(one))
    meter.stop()
    return measure.scheduled(arguments.number, huey.storage.queue_size(), meter)


async def idle(arguments: Namespace) -> measure.Figures:
    huey = opened(arguments)
    one = to_schedule(huey)
    for _ in range(arguments.number):
        one()
    with consuming(huey, arguments):
        await measure.until(huey.storage.schedule_size, arguments.number)
        return await measure.watch_idle(arguments)


if __name__ == "__main__":
    measure.main("huey", {"drain": drain, "schedule": schedule, "idle": idle})
