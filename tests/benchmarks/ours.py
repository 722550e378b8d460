"""This project's own script, `python -m tests.benchmarks.ours`: the peers' workloads, in a process of its own.

Best: 500 slots, SQLite at synchronous NORMAL. Default: 10 slots, FULL: as the package comes.
"""

from __future__ import annotations

import asyncio
import gc
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, event

from modules.core.app_context import AppContext
from modules.core.scheduler.execution import ExecutionContext
from modules.core.scheduler.task_config import TaskConfig
from tests.benchmarks import measure, seeding
from tests.benchmarks.profiling import Profile

FAR = timedelta(days=1)
GRACE = 15.0
BULK_CALL = "schedule_tasks"
# Every option that makes an execution dearer, as far as this version knows it.
EVERYTHING = {
    "timeout_seconds": 30.0,
    "retry": {"max_attempts": 5, "backoff": "exponential", "delay_seconds": 1.0},
    "parameters": {"customer": "A-1031", "items": [1, 2, 3], "note": "as a real task's"},
    "tags": ["bench", "everything"],
    "description": "A no-op with every option on",
    "max_executions": 1,
    "delivery": "at_least_once",
    "overlap": "skip",
    "catch_up": "latest",
    "max_lateness_seconds": 3600.0,
    "priority": 5,
    "events": True,
}


@asynccontextmanager
async def opened(arguments: Namespace, functions: dict[str, Any], **own: Any) -> AsyncIterator[Any]:
    """The service of an application that does not dispatch until it is told to."""
    best = arguments.settings == "best"
    slots = arguments.slots or (500 if best else None)
    synchronous = arguments.synchronous or ("NORMAL" if best else "FULL")
    own |= {"max_concurrent_tasks": slots} if slots else {}
    context = AppContext(seeding.settings(arguments.url, driver=arguments.driver, synchronous=synchronous, **own))
    context.register_modules()
    for name, function in functions.items():
        context.get_service("core.scheduler.tasks").register("bench", function, name=name)
    async with context:
        gc.collect()
        gc.freeze()  # as `scheduler serve` does after its start
        yield context.get_service("core.scheduler.service")


async def drain(arguments: Namespace) -> measure.Figures:
    """Due tasks, to the last completion on disk. Afterwards, with --watch: CPU and memory of the idle scheduler."""
    number, countdown = arguments.number, measure.Countdown(arguments.number)

    async def no_op(parameters: dict[str, Any]) -> None:
        countdown.one()

    async def dear(parameters: dict[str, Any], context: ExecutionContext) -> dict[str, Any]:
        countdown.one()
        return {"customer": parameters["customer"], "attempt": context.attempt}

    fields = {"function_name": "dear", **_known(EVERYTHING)} if arguments.everything else {}
    async with opened(arguments, {"no_op": no_op, "dear": dear}) as service:
        await seeding.make_due(arguments.url, service, number, fields)
        with seeding.connected(arguments.url) as reader:
            before = _completed(reader)
            profile, meter = Profile(arguments.profile), measure.Meter()
            with profile:
                await service.start_background_processing()
                await measure.reached(countdown)
                await measure.until(lambda: _completed(reader), before + number)
                meter.stop()
            figures = measure.drained(countdown, meter, _completed(reader) - before)
            open_ones = seeding.count(reader, seeding.EXECUTIONS, "state IN ('ready', 'running')")
        if arguments.watch:
            figures |= await measure.watch_idle(arguments, measure.SETTLED)
    if open_ones:
        raise AssertionError(f"{open_ones} executions are still open though every task is completed")
    profile.show(meter)
    return figures | ({"options": sorted(fields)} if fields else {})


def _completed(connection: seeding.Connection) -> int:
    return seeding.count(connection, seeding.EVENTS, "status = 'completed'")


def _known(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name in TaskConfig.model_fields}


async def latency(arguments: Namespace) -> measure.Figures:
    countdown = measure.Countdown(arguments.number)

    async def due_at(parameters: dict[str, Any]) -> None:
        countdown.late(parameters["due"])

    async with opened(arguments, {"due_at": due_at}) as service:
        # Made one by one, so the first is due only when there was time for all.
        due = measure.moments(arguments.number, arguments.seconds, measure.LEAD + arguments.number / 200)
        for moment in due:
            fields = {"function_name": "due_at", "parameters": {"due": moment.timestamp()}}
            await seeding.schedule_one(service, moment, fields)
        if datetime.now(UTC) > due[0]:
            raise AssertionError("the first task was due before the last one was made: raise the lead")
        meter = measure.Meter()
        await service.start_background_processing()
        await measure.reached(countdown)
        meter.stop()
    figures = measure.on_time(countdown, meter)
    if figures["lateness_ms"]["min"] < -0.01:
        raise AssertionError(f"a task started {-figures['lateness_ms']['min']:.3f} ms early: it never may")
    return figures


async def schedule(arguments: Namespace) -> measure.Figures:
    number, later = arguments.number, datetime.now(UTC) + FAR

    async def no_op(parameters: dict[str, Any]) -> None:
        raise AssertionError("a task of tomorrow ran today")

    async with opened(arguments, {"no_op": no_op}) as service:
        config = {"name": "bench", "module_id": "bench", "function_name": "no_op", "schedule_time": later}
        meter = measure.Meter()
        if arguments.callers:
            await measure.concurrently(number, arguments.callers, lambda: seeding.schedule_one(service, later, {}))
        elif hasattr(service, BULK_CALL):
            (await getattr(service, BULK_CALL)([config] * number)).unwrap()
        else:
            return measure.unavailable("this version has no bulk call")
        meter.stop()
    with seeding.connected(arguments.url) as reader:
        return measure.scheduled(number, seeding.count(reader, seeding.EVENTS, "status = 'pending'"), meter)


async def idle(arguments: Namespace) -> measure.Figures:
    """As the package comes, beside tasks of tomorrow; statements of all `--nodes` nodes, by SQLAlchemy's own event."""

    async def no_op(parameters: dict[str, Any]) -> None:
        raise AssertionError("a task of tomorrow ran today")

    async with AsyncExitStack() as nodes:
        for node in range(arguments.nodes):
            service = await nodes.enter_async_context(opened(arguments, {"no_op": no_op}, housekeeping=True))
            if node == 0:
                await seeding.make_future(arguments.url, service, arguments.number)
            await service.start_background_processing()
        statements: Counter[str] = Counter()

        @event.listens_for(Engine, "before_cursor_execute")
        def counted(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            statements[" ".join(statement.split())[:120]] += 1

        await asyncio.sleep(measure.settle_seconds(arguments.url))
        statements.clear()
        figures = await measure.watch_idle(arguments, 0.0)
        event.remove(Engine, "before_cursor_execute", counted)
    real = {text: number for text, number in statements.items() if not text.startswith(("BEGIN", "PRAGMA"))}
    return figures | {
        "statements_per_minute": sum(real.values()) * 60 / arguments.seconds / arguments.nodes,
        "statements": dict(sorted(real.items(), key=lambda item: -item[1])),
        "nodes": arguments.nodes,
    }


async def recurring(arguments: Namespace) -> measure.Figures:
    rounds = int(arguments.seconds)
    countdown = measure.Countdown(arguments.number * rounds)

    async def every_second(parameters: dict[str, Any], context: ExecutionContext) -> None:
        countdown.late(context.scheduled_for.timestamp())

    async with opened(arguments, {"every_second": every_second}) as service:
        first = measure.first_fire(arguments.number)
        fields = {
            "function_name": "every_second",
            "interval_type": "seconds",
            "interval_value": 1,
            "end_time": first + timedelta(seconds=rounds - 0.5),
        }
        for _ in range(arguments.number):
            await seeding.schedule_one(service, first, fields)
        await measure.wait_for_start(first)
        meter = measure.Meter()
        await service.start_background_processing()
        await measure.reached_or(countdown, rounds + GRACE)
        meter.stop()
    return measure.on_time(countdown, meter)


def arguments() -> ArgumentParser:
    parser = measure.parser()
    parser.add_argument("--slots", type=int, default=0)
    parser.add_argument("--synchronous", choices=("FULL", "NORMAL"))
    parser.add_argument("--driver", choices=("psycopg", "asyncpg"), default="psycopg")
    parser.add_argument("--everything", type=int, default=0, help="drain: every option of a task on")
    parser.add_argument("--watch", type=int, default=0, help="drain: then watch the idle scheduler for --seconds")
    parser.add_argument("--nodes", type=int, default=1, help="idle: applications on the same database")
    parser.add_argument("--profile", type=int, default=0, help="drain: profile the event loop's thread")
    return parser


if __name__ == "__main__":
    workloads = {"drain": drain, "latency": latency, "schedule": schedule, "idle": idle, "recurring": recurring}
    measure.main("core-scheduler", workloads, given=arguments())
