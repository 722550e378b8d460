"""What every contestant's script shares: arguments, clocks, counting, and the one line of JSON that it answers with.

Standard library only: peers run this with interpreters of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import inspect
import json
import logging
import os
import resource
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Any

POLL = 0.005
PATIENCE = 900.0  # the harness ends a run that takes longer than it should; this is the last resort
# Between the start of an idle scheduler and the window in which it is watched. On PostgreSQL, connections report the
# transactions of the past up to ten seconds late.
SETTLED, SETTLED_ON_POSTGRESQL = 2.0, 12.0
LEAD = 3.0  # from the making of tasks for a latency run to the first of them

# What a script's workload answers: figures by name.
Figures = dict[str, Any]
Workload = Callable[[argparse.Namespace], Figures] | Callable[[argparse.Namespace], Coroutine[Any, Any, Figures]]


class Meter:
    """Seconds and CPU seconds from `start()` on; CPU is that of all threads, and of children that have ended."""

    def __init__(self) -> None:
        self.elapsed = self.cpu_seconds = 0.0
        self.start()

    def start(self) -> None:
        self._began, self._cpu = time.perf_counter(), _cpu_seconds()

    def stop(self) -> None:
        self.elapsed, self.cpu_seconds = time.perf_counter() - self._began, _cpu_seconds() - self._cpu


class Countdown:
    """Counts the runs of the task function; `reached` is set at the last one. Lateness is start minus due, in ms."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.count = 0
        self.lateness: list[float] = []
        self.reached = asyncio.Event()

    def one(self) -> None:
        self.count += 1
        if self.count == self.number:
            self.reached.set()

    def late(self, due: float) -> None:
        """One that was due at this Unix time."""
        self.lateness.append((time.time() - due) * 1000)
        self.one()


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def rss_mb() -> float:
    """Memory of this process now, in MiB."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  # read as it is, without a Path
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def spread(values: Iterable[float]) -> Figures:
    """Percentiles by nearest rank."""
    ordered = sorted(values)
    if not ordered:
        return {"min": None, "p50": None, "p95": None, "p99": None, "max": None}
    ranks = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
    at = {name: ordered[max(0, -(-int(share * 100) * len(ordered) // 100) - 1)] for name, share in ranks.items()}
    return {"min": ordered[0], **at, "max": ordered[-1]}


def moments(number: int, seconds: float, lead: float = LEAD) -> list[datetime]:
    """`number` moments spread evenly over `seconds`, the first one `lead` seconds from now."""
    first = datetime.now(UTC) + timedelta(seconds=lead)
    return [first + timedelta(seconds=seconds) * index / number for index in range(number)]


async def until(count: Callable[[], Any], number: int) -> None:
    """Wait until `count()` (a value or an awaitable of one) has reached `number`."""
    for _ in range(int(PATIENCE / POLL)):
        counted = count()
        if (await counted if inspect.isawaitable(counted) else counted) >= number:
            return
        await asyncio.sleep(POLL)
    raise TimeoutError(f"{number} were not done after {PATIENCE:.0f} s")


async def reached(countdown: Countdown) -> None:
    """Wait for the last run of the task function."""
    await asyncio.wait_for(countdown.reached.wait(), PATIENCE)


async def reached_or(countdown: Countdown, seconds: float) -> None:
    """Wait for the last run of the task function, or so long: who falls behind is counted as far as it came."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(countdown.reached.wait(), seconds)


def first_fire(number: int) -> datetime:
    """A whole second that leaves time to make so many recurring tasks one by one before they fire first."""
    return (datetime.now(UTC) + timedelta(seconds=LEAD + number / 30)).replace(microsecond=0)


async def wait_for_start(first: datetime) -> None:
    """Wait until half a second before `first`. Raises when making the tasks has taken longer than that."""
    left = (first - datetime.now(UTC)).total_seconds() - 0.5
    if left < 0:
        raise TimeoutError(f"making the tasks took {-left:.1f} s longer than there was time for: see first_fire()")
    await asyncio.sleep(left)


async def concurrently(number: int, callers: int, one: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """`number` calls of `one`, by that many callers at the same time, each of which waits for its own answers."""

    async def caller(share: int) -> None:
        for _ in range(share):
            await one()

    shares = [number // callers + (index < number % callers) for index in range(callers)]
    await asyncio.gather(*(caller(share) for share in shares))


async def watch_idle(arguments: argparse.Namespace, settle: float | None = None) -> Figures:
    """CPU of this process while nothing is to be done; the harness is told when the window begins and ends."""
    await asyncio.sleep(settle_seconds(arguments.url) if settle is None else settle)
    mark("begin")
    meter = Meter()
    await asyncio.sleep(arguments.seconds)
    meter.stop()
    mark("end")
    return {"idle_cpu_per_minute": meter.cpu_seconds * 60 / arguments.seconds, "rss_mb": rss_mb()}


def settle_seconds(url: str) -> float:
    return SETTLED_ON_POSTGRESQL if url.startswith("postgresql") else SETTLED


def drained(countdown: Countdown, meter: Meter, done: int) -> Figures:
    return {
        "done": done,
        "expected": countdown.number,
        "ran": countdown.count,
        "elapsed": meter.elapsed,
        "cpu_seconds": meter.cpu_seconds,
        "rss_mb": rss_mb(),
    }


def on_time(countdown: Countdown, meter: Meter) -> Figures:
    """Figures of a latency or recurring run."""
    return {
        "done": countdown.count,
        "expected": countdown.number,
        "elapsed": meter.elapsed,
        "cpu_seconds": meter.cpu_seconds,
        "lateness_ms": spread(countdown.lateness),
    }


def scheduled(number: int, done: int, meter: Meter) -> Figures:
    return {"done": done, "expected": number, "elapsed": meter.elapsed, "cpu_seconds": meter.cpu_seconds}


def unavailable(reason: str) -> Figures:
    """The contestant cannot do this: no failure, but no figure either."""
    return {"unavailable": reason}


def mark(name: str) -> None:
    _say({"mark": name})


def parser() -> argparse.ArgumentParser:
    """The arguments that all contestants take."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("workload")
    arguments.add_argument("--url", default="", help="postgresql://..., or sqlite:////absolute/path")
    arguments.add_argument("--number", type=int, default=100, help="tasks")
    arguments.add_argument("--seconds", type=float, default=10.0, help="latency: spread; idle: window; recurring: long")
    arguments.add_argument("--callers", type=int, default=1, help="schedule: at the same time; 0: all in bulk")
    arguments.add_argument("--settings", choices=("best", "default"), default="best")
    return arguments


def main(
    package: str, workloads: dict[str, Workload], *, given: argparse.ArgumentParser | None = None, run: Any = None
) -> None:
    """Run the workload that the command line names and print its figures. `run`: in place of asyncio.run."""
    arguments = (given or parser()).parse_args()
    logging.disable(logging.WARNING)
    workload = workloads.get(arguments.workload)
    if workload is None:
        figures = unavailable(f"{package} has no script for {arguments.workload}")
    else:
        answer: Any = workload(arguments)
        figures = (run or asyncio.run)(answer) if inspect.iscoroutine(answer) else answer
    _say(figures | {"version": _version(package)})


def sqlite_path(url: str) -> str:
    return url.removeprefix("sqlite:///")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _say(line: Figures) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
