"""tinyjobs on SQLite. It keeps a row for every attempt, as we do; its SQLite runs at synchronous NORMAL, always.

Best: 500 jobs at a time, polls every 1 to 5 ms, neither its cron scheduler nor its retention sweeps. Default: 8 jobs
at a time, polls every 5 to 500 ms.
"""

from __future__ import annotations

import sqlite3
from argparse import Namespace
from typing import Any

from tinyjobs import KEEP_EVERYTHING, TinyJobs
from tinyjobs.task import Task

from tests.benchmarks import measure

DAY = 86_400.0


def opened(arguments: Namespace) -> TinyJobs:
    return TinyJobs(arguments.url)


def worker_options(arguments: Namespace) -> dict[str, Any]:
    if arguments.settings == "default":
        return {}
    return {
        "concurrency": 500,
        "poll_minimum": 0.001,
        "poll_maximum": 0.005,
        "scheduler": False,
        "retention": KEEP_EVERYTHING,
    }


async def make(app: TinyJobs, task: Task, run_at: list[float], *arguments: Any) -> None:
    """All of them in one transaction, by the call that its backend has for that."""
    payload = [task.bind((due,), {}) if arguments else task.bind((), {}) for due in run_at]
    jobs = [
        app.dispatch.prepare(task.name, one, task.options.merged_with(run_at=due))
        for one, due in zip(payload, run_at, strict=True)
    ]
    await app.backend.enqueue_many(jobs)


async def drain(arguments: Namespace) -> measure.Figures:
    app, countdown = opened(arguments), measure.Countdown(arguments.number)

    @app.task
    async def no_op() -> None:
        countdown.one()

    async with app:
        await make(app, no_op, [app.clock.now()] * arguments.number)
        with sqlite3.connect(measure.sqlite_path(arguments.url)) as reader:

            def successes() -> int:
                return int(reader.execute("SELECT count(*) FROM jobs WHERE status = 'success'").fetchone()[0])

            meter = measure.Meter()
            async with app.serve(worker=True, **worker_options(arguments)):
                await measure.reached(countdown)
                await measure.until(successes, arguments.number)
                meter.stop()
            return measure.drained(countdown, meter, successes())


async def latency(arguments: Namespace) -> measure.Figures:
    app, countdown = opened(arguments), measure.Countdown(arguments.number)

    @app.task
    async def due_at(due: float) -> None:
        countdown.late(due)

    async with app:
        due = [moment.timestamp() for moment in measure.moments(arguments.number, arguments.seconds)]
        await make(app, due_at, due, "due")
        meter = measure.Meter()
        async with app.serve(worker=True, **worker_options(arguments)):
            await measure.reached(countdown)
        meter.stop()
        return measure.on_time(countdown, meter)


async def schedule(arguments: Namespace) -> measure.Figures:
    if not arguments.callers:
        return measure.unavailable("tinyjobs has no bulk call at its door")
    app = opened(arguments)

    @app.task
    async def no_op() -> None:
        pass

    later = no_op.with_options(delay=DAY)
    async with app:
        meter = measure.Meter()
        await measure.concurrently(arguments.number, arguments.callers, later.aenqueue)
        meter.stop()
        return measure.scheduled(arguments.number, (await app.acounts()).get("queued", 0), meter)


async def idle(arguments: Namespace) -> measure.Figures:
    app = opened(arguments)

    @app.task
    async def no_op() -> None:
        pass

    async with app:
        await make(app, no_op, [app.clock.now() + DAY] * arguments.number)
        async with app.serve(worker=True, **worker_options(arguments)):
            return await measure.watch_idle(arguments)


if __name__ == "__main__":
    measure.main("tinyjobs", {"drain": drain, "latency": latency, "schedule": schedule, "idle": idle})
