"""Stretches of time in which nothing fires, as frozen values. Times of the day are those of a wall clock, over gaps and
folds by the rule of wall_clock."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import NamedTuple, Protocol
from zoneinfo import ZoneInfo

from modules.core.scheduler.triggers.base import LATEST
from modules.core.scheduler.triggers.holiday_calendar import holidays_of
from modules.core.scheduler.triggers.wall_clock import instant_of, latest_wall

DAY = timedelta(days=1)


class Span(NamedTuple):
    """The instants from `start` on and before `end`, in UTC."""

    start: datetime
    end: datetime


class Exclusion(Protocol):
    """When nothing fires. Moments are UTC."""

    def span_at(self, moment: datetime) -> Span | None:
        """The excluded stretch that holds `moment`; None when it is not excluded."""

    def next_start(self, moment: datetime) -> datetime | None:
        """When the first excluded stretch begins that begins after `moment`."""

    def describe(self) -> str:
        """The rule as an English phrase."""


@dataclass(frozen=True, slots=True)
class Range:
    """One stretch; `words` says how it was written."""

    start: datetime
    end: datetime
    words: str

    def span_at(self, moment: datetime) -> Span | None:
        return Span(self.start, self.end) if self.start <= moment < self.end else None

    def next_start(self, moment: datetime) -> datetime | None:
        return self.start if self.start > moment else None

    def describe(self) -> str:
        return self.words


@dataclass(frozen=True, slots=True)
class Weekly:
    """From `begin` on each of `weekdays` (0 is Monday) for `length` of wall-clock time, at most a day."""

    weekdays: tuple[int, ...]
    begin: timedelta
    length: timedelta
    zone: ZoneInfo
    words: str

    def span_at(self, moment: datetime) -> Span | None:
        wall = latest_wall(moment, self.zone)
        for day in (wall.date(), wall.date() - DAY):
            begin = _midnight(day) + self.begin
            if day.weekday() in self.weekdays and begin <= wall < begin + self.length:
                return Span(instant_of(begin, self.zone), instant_of(begin + self.length, self.zone))
        return None

    def next_start(self, moment: datetime) -> datetime | None:
        wall = latest_wall(moment, self.zone)
        begins = (_midnight(wall.date() + number * DAY) + self.begin for number in range(8))
        begin = next(begin for begin in begins if begin.weekday() in self.weekdays and begin > wall)
        return instant_of(begin, self.zone)

    def describe(self) -> str:
        return self.words


@dataclass(frozen=True, slots=True)
class Holidays:
    """The public holidays of a country, or of a part of it, from midnight to midnight."""

    country: str
    subdivision: str | None
    zone: ZoneInfo

    def span_at(self, moment: datetime) -> Span | None:
        day = latest_wall(moment, self.zone).date()
        if day not in holidays_of(self.country, self.subdivision, day.year):
            return None
        return Span(instant_of(_midnight(day), self.zone), instant_of(_midnight(day + DAY), self.zone))

    def next_start(self, moment: datetime) -> datetime | None:
        day = latest_wall(moment, self.zone).date()
        for year in range(day.year, LATEST.year + 1):
            days = sorted(holidays_of(self.country, self.subdivision, year))
            index = bisect_right(days, day)
            if index < len(days):
                return instant_of(_midnight(days[index]), self.zone)
        return None

    def describe(self) -> str:
        place = f"{self.country}, {self.subdivision}" if self.subdivision else self.country
        return f"public holidays ({place})"


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time())
