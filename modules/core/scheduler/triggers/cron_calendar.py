"""When a cron expression matches on a clock without time zones: the next match, the last one, and how many.

A year is one of fourteen calendars (leap or not, times the weekday of its first day), and which days match depends on
nothing else. So the days of a calendar are found once, by cronsim, and every question is arithmetic on their list.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from calendar import isleap
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import product
from typing import Self

from cronsim import CronSim

from modules.core.scheduler.triggers.base import EARLIEST, LATEST
from modules.core.scheduler.triggers.cron_fields import fields_of, never_matches

FIRST_YEAR, LAST_YEAR = EARLIEST.year - 1, LATEST.year  # a wall clock may be a day off UTC


@dataclass(frozen=True, slots=True)
class CronCalendar:
    """The matches of an expression, naive datetimes on whole minutes: `minutes` of `hours` (ascending) on the days that
    `day_fields` (day of month, month, day of week) choose."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    day_fields: str

    @classmethod
    def of(cls, expression: str) -> Self:
        """Raises InvalidTrigger, with advice, for what cannot be read or can never match."""
        fields = fields_of(expression)
        day_fields = " ".join(fields[2:])
        if not any(_days(day_fields, leap, weekday) for leap, weekday in product((False, True), range(7))):
            raise never_matches(expression)
        cron = CronSim(" ".join(fields), datetime(2000, 1, 1))  # noqa: DTZ001  # a wall clock has no zone
        return cls(tuple(sorted(cron.minutes)), tuple(sorted(cron.hours)), day_fields)

    def next_after(self, wall: datetime) -> datetime | None:
        """The first match strictly after `wall`."""
        days, day = _days_of(self.day_fields, wall.year), _day_number(wall)
        index = bisect_left(days, day)
        if index < len(days) and days[index] == day:
            passed = self._passed(wall)
            if passed < self._per_day:
                return self._match(wall.year, day, passed)
            index += 1
        if index < len(days):
            return self._match(wall.year, days[index], 0)
        for year in range(wall.year + 1, LAST_YEAR + 1):
            if days := _days_of(self.day_fields, year):
                return self._match(year, days[0], 0)
        return None

    def last_until(self, wall: datetime) -> datetime | None:
        """The last match at or before `wall`."""
        days, day = _days_of(self.day_fields, wall.year), _day_number(wall)
        index = bisect_right(days, day) - 1
        if index >= 0 and days[index] == day:
            passed = self._passed(wall)
            if passed > 0:
                return self._match(wall.year, day, passed - 1)
            index -= 1
        if index >= 0:
            return self._match(wall.year, days[index], self._per_day - 1)
        for year in range(wall.year - 1, FIRST_YEAR - 1, -1):
            if days := _days_of(self.day_fields, year):
                return self._match(year, days[-1], self._per_day - 1)
        return None

    def count_between(self, after: datetime, until: datetime) -> int:
        """How many matches lie in `(after, until]`."""
        if until <= after:
            return 0
        whole_years = sum(len(_days_of(self.day_fields, year)) for year in range(after.year, until.year))
        return whole_years * self._per_day + self._in_year_until(until) - self._in_year_until(after)

    @property
    def _per_day(self) -> int:
        return len(self.hours) * len(self.minutes)

    def _in_year_until(self, wall: datetime) -> int:
        """How many matches the year of `wall` has up to it, inclusive."""
        days, day = _days_of(self.day_fields, wall.year), _day_number(wall)
        index = bisect_left(days, day)
        today = self._passed(wall) if index < len(days) and days[index] == day else 0
        return index * self._per_day + today

    def _passed(self, wall: datetime) -> int:
        """How many matching times of a day are not after the time of `wall`."""
        index = bisect_left(self.hours, wall.hour)
        in_hour = index < len(self.hours) and self.hours[index] == wall.hour
        return index * len(self.minutes) + (bisect_right(self.minutes, wall.minute) if in_hour else 0)

    def _match(self, year: int, day: int, number: int) -> datetime:
        """The match `number` (from 0) of that day of the year (from 0)."""
        hour, minute = divmod(number, len(self.minutes))
        return datetime.combine(date(year, 1, 1) + timedelta(days=day), time(self.hours[hour], self.minutes[minute]))


def _day_number(wall: datetime) -> int:
    return wall.timetuple().tm_yday - 1


def _days_of(day_fields: str, year: int) -> tuple[int, ...]:
    return _days(day_fields, isleap(year), date(year, 1, 1).weekday())


@lru_cache(maxsize=4096)
def _days(day_fields: str, leap: bool, first_weekday: int) -> tuple[int, ...]:
    """The matching days of such a year, counted from 0. `day_fields` must have been checked."""
    cron = CronSim(f"0 0 {day_fields}", datetime(2000, 1, 1))  # noqa: DTZ001
    first = next(
        date(year, 1, 1)
        for year in range(2000, 2028)
        if isleap(year) is leap and date(year, 1, 1).weekday() == first_weekday
    )
    days = (first + timedelta(days=number) for number in range(366 if leap else 365))
    return tuple(number for number, day in enumerate(days) if day.month in cron.months and cron.match_day(day))
