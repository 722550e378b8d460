"""Cron by brute force: every minute looked at, with nothing shared with the code under test but the rule's words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)


def matches(expression: str, wall: datetime) -> bool:
    """Whether that minute on the wall clock matches; knows lists, steps, ranges and stars."""
    minute, hour, day, month, weekday = expression.split()
    days = _in(day, wall.day, 1, 31)
    weekdays = _in(weekday, wall.isoweekday() % 7, 0, 6)
    both = day.startswith("*") or weekday.startswith("*")
    return (
        _in(minute, wall.minute, 0, 59)
        and _in(hour, wall.hour, 0, 23)
        and _in(month, wall.month, 1, 12)
        and (days and weekdays if both else days or weekdays)
    )


def fire_times(expression: str, zone: ZoneInfo, begin: datetime, end: datetime) -> list[datetime]:
    """All fire times in `(begin, end]`; `begin` must not lie within a day of a change of the clock."""
    minute, hour, *_ = expression.split()
    walk = _elapsed if minute.startswith("*") or hour.startswith("*") else _fixed
    return [moment for moment in walk(expression, zone, begin, end) if begin < moment <= end]


def _elapsed(expression: str, zone: ZoneInfo, begin: datetime, end: datetime) -> Iterator[datetime]:
    moment = begin
    while moment <= end:
        if matches(expression, moment.astimezone(zone).replace(tzinfo=None)):
            yield moment
        moment += MINUTE


def _fixed(expression: str, zone: ZoneInfo, begin: datetime, end: datetime) -> Iterator[datetime]:
    """The clock's highest reading so far; whatever it passes over in a minute fires then, once."""
    highest = begin.astimezone(zone).replace(tzinfo=None)
    moment = begin + MINUTE
    while moment <= end:
        wall = moment.astimezone(zone).replace(tzinfo=None)
        passed = False
        while highest < wall:
            highest += MINUTE
            passed = passed or matches(expression, highest)
        if passed:
            yield moment
        moment += MINUTE


def _in(field: str, value: int, low: int, high: int) -> bool:
    for part in field.split(","):
        span, _, step = part.partition("/")
        begin, _, end = span.partition("-")
        if span == "*":
            first, last = low, high
        elif end:
            first, last = int(begin), int(end)
        else:
            first, last = int(begin), high if step else int(begin)
        if value in range(first, last + 1, int(step or 1)):
            return True
    return False


def utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=UTC)
