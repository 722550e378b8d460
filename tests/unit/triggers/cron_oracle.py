"""Cron by brute force: a clock on a wall is watched minute by minute. Slow, simple, and nothing of ours in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Job:
    """An expression, and what it means said in Python."""

    expression: str
    elapsed: bool
    matches: Callable[[datetime], bool]


@cache
def watch(zone_name: str, begin: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """Each minute from `begin` to `end` with what the clock shows then, naive."""
    zone = ZoneInfo(zone_name)
    minutes = int((end - begin) / MINUTE)
    instants = [begin + number * MINUTE for number in range(minutes + 1)]
    return [(instant, instant.astimezone(zone).replace(tzinfo=None)) for instant in instants]


@cache
def fire_times(job: Job, zone_name: str, begin: datetime, end: datetime) -> list[datetime]:
    """When the job fires in `(begin, end]`, by the DST rule of the design.

    Elapsed: whenever the clock shows a matching time. Fixed: when the clock first shows a matching time, or passes
    over some.
    """
    (_, highest), *rest = watch(zone_name, begin, end)
    fired = []
    for instant, wall in rest:
        if job.elapsed:
            if job.matches(wall):
                fired.append(instant)
            continue
        passed = [highest + number * MINUTE for number in range(1, int((wall - highest) / MINUTE) + 1)]
        if any(job.matches(time) for time in passed):
            fired.append(instant)
        highest = max(highest, wall)
    return fired


def at(text: str) -> datetime:
    """A UTC instant from ISO text."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
