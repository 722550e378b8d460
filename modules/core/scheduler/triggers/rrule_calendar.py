"""When a recurrence rule (RFC 5545) matches on a clock without time zones.

The days of a year that match are found once and kept, so every question is a search in their list: nothing is counted
up from the first time, however long ago that was.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from calendar import isleap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import accumulate, groupby
from typing import Final, Literal, NamedTuple

from modules.core.scheduler.triggers.base import EARLIEST, LATEST, TICK

FIRST_YEAR, LAST_YEAR = EARLIEST.year - 1, LATEST.year  # a wall clock may be a day off UTC
Frequency = Literal["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY"]
_LENGTHS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule with everything said: what RFC 5545 takes from the first time is filled in. An empty tuple is no limit.

    `weekdays` are pairs of a number (0: each of them) and a weekday (0 is Monday). `times` are seconds of the day, or
    of the hour where the rule is HOURLY. `last` is the last moment at which it may match.
    """

    frequency: Frequency
    interval: int
    first: datetime
    last: datetime | None
    months: tuple[int, ...]
    week_numbers: tuple[int, ...]
    year_days: tuple[int, ...]
    month_days: tuple[int, ...]
    weekdays: tuple[tuple[int, int], ...]
    hours: tuple[int, ...]
    times: tuple[int, ...]
    positions: tuple[int, ...]
    week_start: int


class _Year(NamedTuple):
    """The matches of a year: days as ordinals, the seconds of each day, and how many lie before each day."""

    days: tuple[int, ...]
    times: tuple[tuple[int, ...], ...]
    before: tuple[int, ...]  # one more than there are days: the last is the number of all

    def until(self, wall: datetime) -> int:
        """How many matches are not after `wall`, which is in this year."""
        day = wall.toordinal()
        index = bisect_left(self.days, day)
        count = self.before[index]
        if index < len(self.days) and self.days[index] == day:
            count += bisect_right(self.times[index], wall.hour * 3600 + wall.minute * 60 + wall.second)
        return count

    def match(self, number: int) -> datetime:
        """The match of that number, from 0."""
        index = bisect_right(self.before, number) - 1
        seconds = self.times[index][number - self.before[index]]
        return datetime.combine(date.fromordinal(self.days[index]), time()) + timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class RRuleCalendar:
    """The matches of a rule, naive datetimes on whole seconds."""

    rule: Rule

    def next_after(self, wall: datetime) -> datetime | None:
        wall = max(wall, self.rule.first - TICK)
        for year in range(wall.year, LAST_YEAR + 1):
            matches = _year(self.rule, year)
            passed = matches.until(wall) if year == wall.year else 0
            if passed < matches.before[-1]:
                match = matches.match(passed)
                return match if self.rule.last is None or match <= self.rule.last else None
        return None

    def last_until(self, wall: datetime) -> datetime | None:
        wall = wall if self.rule.last is None else min(wall, self.rule.last)
        for year in range(wall.year, self.rule.first.year - 1, -1):
            matches = _year(self.rule, year)
            passed = matches.until(wall) if year == wall.year else matches.before[-1]
            if passed:
                match = matches.match(passed - 1)
                return match if match >= self.rule.first else None
        return None

    def count_between(self, after: datetime, until: datetime) -> int:
        after = max(after, self.rule.first - TICK)
        until = until if self.rule.last is None else min(until, self.rule.last)
        if until <= after:
            return 0
        whole = sum(_year(self.rule, year).before[-1] for year in range(after.year, until.year))
        return whole + _year(self.rule, until.year).until(until) - _year(self.rule, after.year).until(after)

    def ended_after(self, count: int) -> RRuleCalendar:
        """The same, but with its first `count` matches only."""
        left = count
        for year in range(self.rule.first.year, LAST_YEAR + 1):
            matches = _year(self.rule, year)
            passed = matches.until(self.rule.first - TICK) if year == (self.rule.first - TICK).year else 0
            if left <= matches.before[-1] - passed:
                return RRuleCalendar(replace(self.rule, last=matches.match(passed + left - 1)))
            left -= matches.before[-1] - passed
        return self


@lru_cache(maxsize=512)
def _year(rule: Rule, year: int) -> _Year:
    days = _days(rule, year)
    if not rule.positions or rule.frequency in ("DAILY", "HOURLY"):  # there, the times have been chosen from already
        times = [_times(rule, day) for day in days]
    else:
        chosen = _chosen(rule, year, days)
        days, times = [day for day, _ in chosen], [seconds for _, seconds in chosen]
    kept = [(day, seconds) for day, seconds in zip(days, times, strict=True) if seconds]
    before = (0, *accumulate(len(seconds) for _, seconds in kept))
    return _Year(tuple(day for day, _ in kept), tuple(seconds for _, seconds in kept), before)


def _times(rule: Rule, day: int) -> tuple[int, ...]:
    if rule.frequency != "HOURLY":
        return rule.times
    hours_before = (day - rule.first.toordinal()) * 24 - rule.first.hour
    return _hourly_times(rule.hours, rule.interval, -hours_before % rule.interval, rule.times)


@lru_cache(maxsize=1024)
def _hourly_times(hours: tuple[int, ...], interval: int, first: int, times: tuple[int, ...]) -> tuple[int, ...]:
    wanted = [hour for hour in range(first, 24, interval) if not hours or hour in hours]
    return tuple(hour * 3600 + seconds for hour in wanted for seconds in times)


def _days(rule: Rule, year: int) -> list[int]:
    """The ordinals of the days of `year` that match."""
    start = date(year, 1, 1).toordinal()
    weeks = (isleap(year - 1), isleap(year + 1)) if rule.week_numbers else (False, False)
    found = _numbers(_day_rule(rule), isleap(year), (start + 6) % 7, *weeks)
    step, first = rule.interval, rule.first
    if rule.frequency == "YEARLY" and (year - first.year) % step:
        return []
    if step == 1 or rule.frequency in ("YEARLY", "HOURLY"):
        return [start + number for number in found]
    if rule.frequency == "DAILY":
        begin = first.toordinal() - start
        return [start + number for number in found if (number - begin) % step == 0]
    if rule.frequency == "WEEKLY":
        begin = _week_of(first.toordinal(), rule.week_start) - start
        return [
            start + number
            for number in found
            if (_week_of(start + number, rule.week_start) - start - begin) // 7 % step == 0
        ]
    months = {month for month in range(1, 13) if ((year - first.year) * 12 + month - first.month) % step == 0}
    by_day = _month_of_days(isleap(year))
    return [start + number for number in found if by_day[number][0] in months]


def _week_of(day: int, week_start: int) -> int:
    """The ordinal of the first day of its week."""
    return day - (day + 6 - week_start) % 7


def _day_rule(rule: Rule) -> _DayRule:
    """What the days of a year depend on, without what only moves them: so that rules share what was found."""
    return _DayRule(
        rule.months,
        rule.week_numbers,
        rule.year_days,
        rule.month_days,
        rule.weekdays,
        rule.week_start,
        in_month=rule.frequency == "MONTHLY" or bool(rule.months),
    )


class _DayRule(NamedTuple):
    months: tuple[int, ...]
    week_numbers: tuple[int, ...]
    year_days: tuple[int, ...]
    month_days: tuple[int, ...]
    weekdays: tuple[tuple[int, int], ...]
    week_start: int
    in_month: bool  # numbers of weekdays count within the month, not within the year


@lru_cache(maxsize=2048)
def _numbers(rule: _DayRule, leap: bool, first_weekday: int, leap_before: bool, leap_after: bool) -> tuple[int, ...]:
    """The matching days of such a year, counted from 0."""
    length = 366 if leap else 365
    plain = {weekday for number, weekday in rule.weekdays if number == 0}
    numbered = [(number, weekday) for number, weekday in rule.weekdays if number]
    found = []
    for day, (month, month_day, from_end) in enumerate(_month_of_days(leap)):
        if rule.months and month not in rule.months:
            continue
        if rule.month_days and month_day not in rule.month_days and from_end not in rule.month_days:
            continue
        if rule.year_days and day + 1 not in rule.year_days and day - length not in rule.year_days:
            continue
        weekday = (first_weekday + day) % 7
        if rule.weekdays and weekday not in plain:
            up, down = (month_day, from_end) if rule.in_month else (day + 1, day - length)
            place = {(up + 6) // 7, -((6 - down) // 7)}
            if not any(number in place and weekday == wanted for number, wanted in numbered):
                continue
        found.append(day)
    if rule.week_numbers:
        weeks = _Weeks(length, first_weekday, rule.week_start, 365 + leap_before, 365 + leap_after)
        found = [day for day in found if weeks.has(day, rule.week_numbers)]
    return tuple(found)


@lru_cache(maxsize=2)
def _month_of_days(leap: bool) -> tuple[tuple[int, int, int], ...]:
    """For each day of a year its month, its number in the month, and the same from the end: -1 is the last."""
    lengths = [length + (leap and month == 1) for month, length in enumerate(_LENGTHS)]
    return tuple(
        (month, day, day - length - 1) for month, length in enumerate(lengths, 1) for day in range(1, length + 1)
    )


class _Weeks:
    """The numbers of weeks: the first is the one of which at least four days lie in the year."""

    def __init__(self, length: int, first_weekday: int, week_start: int, before: int, after: int) -> None:
        self._first = _first_week(first_weekday, week_start)
        self._next = length + _first_week((first_weekday + length) % 7, week_start)
        self._number = (self._next - self._first) // 7
        previous = _first_week((first_weekday - before) % 7, week_start) - before
        self._number_before = (self._first - previous) // 7
        following = length + after + _first_week((first_weekday + length + after) % 7, week_start)
        self._number_after = (following - self._next) // 7

    def has(self, day: int, wanted: Sequence[int]) -> bool:
        if day < self._first:
            number, of = self._number_before, self._number_before
        elif day >= self._next:
            number, of = 1, self._number_after
        else:
            number, of = (day - self._first) // 7 + 1, self._number
        return number in wanted or number - of - 1 in wanted


def _first_week(first_weekday: int, week_start: int) -> int:
    offset = (week_start - first_weekday) % 7
    return offset if offset < 4 else offset - 7


def _chosen(rule: Rule, year: int, days: list[int]) -> list[tuple[int, tuple[int, ...]]]:
    """The days of `year`, and their times, that stand at the wanted places of their year, month or week."""
    start, end = date(year, 1, 1).toordinal(), date(year, 12, 31).toordinal()
    if rule.frequency == "WEEKLY":  # a week may lie in two years
        before = [day for day in _days(rule, year - 1) if day > start - 7]
        after = [day for day in _days(rule, year + 1) if day < end + 7]
        groups: Iterable[Iterable[int]] = (
            group for _, group in groupby(before + days + after, key=lambda day: _week_of(day, rule.week_start))
        )
    elif rule.frequency == "MONTHLY":
        by_day = _month_of_days(isleap(year))
        groups = (group for _, group in groupby(days, key=lambda day: by_day[day - start][0]))
    else:
        groups = [days]
    chosen = [pick for group in groups for pick in _picked(list(group), rule)]
    return [(day, times) for day, times in chosen if start <= day <= end]


def _picked(group: list[int], rule: Rule) -> list[tuple[int, tuple[int, ...]]]:
    """Places in the list of all days times all times, found without making that list."""
    per_day, size = len(rule.times), len(group) * len(rule.times)
    wanted = {place - 1 if place > 0 else size + place for place in rule.positions}
    places = sorted(place for place in wanted if 0 <= place < size)
    return [
        (group[index], tuple(rule.times[place % per_day] for place in of_day))
        for index, of_day in groupby(places, key=lambda place: place // per_day)
    ]


def picked_times(times: tuple[int, ...], positions: tuple[int, ...]) -> tuple[int, ...]:
    """The times at these places, from 1, or from -1 backwards."""
    wanted = {place - 1 if place > 0 else len(times) + place for place in positions}
    return tuple(times[place] for place in sorted(wanted) if 0 <= place < len(times))
