"""Cron expressions read, checked and answered on the wall clock; zones come in elsewhere.

cronsim reads the fields and knows the days; the search by day is ours, because it is also asked backwards and for
counts, and because cronsim's own way through time zones errs at changes of less than an hour.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from datetime import date, datetime, time, timedelta
from typing import Final

from cronsim import CronSim, CronSimError

from modules.core.scheduler.triggers.base import EARLIEST, LATEST, InvalidTrigger

ALIASES: Final = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip
_FIELDS: Final = (
    ("minute", 0, 59), ("hour", 0, 23), ("day-of-month", 1, 31), ("month", 1, 12), ("day-of-week", 0, 6),
)  # fmt: skip
_MONTHS: Final = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS: Final = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_STEP = re.compile(r"/([0-9]+)")
_RANGE = re.compile(r"(\w+)-(\w+)")
DAY: Final = timedelta(days=1)
FIRST_DAY: Final = EARLIEST.date() - DAY
LAST_DAY: Final = LATEST.date() + DAY


class CronDays:
    """A five-field expression on a clock without time zones. Matches are naive datetimes on whole minutes."""

    def __init__(self, expression: str) -> None:
        """Raises InvalidTrigger, with advice, for what cannot be read or can never match."""
        self.expression = expression
        fields = _fields_of(expression)
        for text, (name, lowest, highest) in zip(fields, _FIELDS, strict=True):
            _refuse_backwards(text, name, lowest, highest)
            _refuse_long_steps(text, name, highest)
        try:
            self._cron = CronSim(" ".join(fields), datetime(2000, 1, 1))  # noqa: DTZ001  # a wall clock has no zone
        except CronSimError as error:
            raise InvalidTrigger(_advice(expression, str(error))) from error
        # Debian's cron: a job whose minute or hour field starts with a star follows elapsed time over clock changes.
        self.follows_elapsed_time = fields[0].startswith("*") or fields[1].startswith("*")
        self._times = [time(hour, minute) for hour in sorted(self._cron.hours) for minute in sorted(self._cron.minutes)]
        if self._day_from(FIRST_DAY, DAY) is None:
            raise InvalidTrigger(f"{expression[:100]!r} never matches: no such day exists. Correct its day fields.")

    def next_after(self, wall: datetime) -> datetime | None:
        """The first match strictly after `wall`."""
        day: date | None = wall.date()
        if self._matches(wall.date()):
            index = bisect_right(self._times, wall.time())
            if index < len(self._times):
                return datetime.combine(wall.date(), self._times[index])
        day = self._day_from(wall.date() + DAY, DAY)
        return datetime.combine(day, self._times[0]) if day else None

    def previous_before(self, wall: datetime) -> datetime | None:
        """The last match strictly before `wall`."""
        if self._matches(wall.date()):
            index = bisect_left(self._times, wall.time())
            if index > 0:
                return datetime.combine(wall.date(), self._times[index - 1])
        day = self._day_from(wall.date() - DAY, -DAY)
        return datetime.combine(day, self._times[-1]) if day else None

    def count_between(self, after: datetime, until: datetime) -> int:
        """How many matches lie in `(after, until]`."""
        if until <= after:
            return 0
        return self._count_until(until, after.date()) - self._count_until(after, after.date())

    def _count_until(self, wall: datetime, begin: date) -> int:
        """Matches from the start of `begin` up to `wall`, inclusive."""
        days, day = 0, begin
        while day < wall.date():
            days += self._matches(day)
            day += DAY
        today = bisect_right(self._times, wall.time()) if self._matches(wall.date()) else 0
        return days * len(self._times) + today

    def _matches(self, day: date) -> bool:
        return day.month in self._cron.months and self._cron.match_day(day)

    def _day_from(self, day: date, step: timedelta) -> date | None:
        """The nearest matching day from `day` on, in the direction of `step`."""
        while FIRST_DAY <= day <= LAST_DAY:
            if day.month not in self._cron.months:
                day = _neighbour_month(day, step)
            elif self._cron.match_day(day):
                return day
            else:
                day += step
        return None


def _neighbour_month(day: date, step: timedelta) -> date:
    """The first day of the next month, or the last one of the month before."""
    if step > timedelta(0):
        return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return day.replace(day=1) - DAY


def _fields_of(expression: str) -> list[str]:
    if not isinstance(expression, str) or not expression.strip():
        raise InvalidTrigger("cron_expression must be text with five fields, such as '0 2 * * mon-fri'.")
    text = expression.strip().lower()
    if len(text) > 200:
        raise InvalidTrigger("cron_expression is too long: at most 200 characters.")
    if text == "@reboot":
        raise InvalidTrigger("'@reboot' is not supported: schedule the task when your application starts.")
    if text.startswith("@") and text not in ALIASES:
        raise InvalidTrigger(f"{expression[:100]!r} is not known: use one of {', '.join(ALIASES)}, or five fields.")
    fields = ALIASES.get(text, text).split()
    if len(fields) == 6:
        raise InvalidTrigger(
            f"{expression[:100]!r} has six fields: seconds are not supported; use five fields, "
            "or interval_type 'seconds'."
        )
    if len(fields) != 5:
        raise InvalidTrigger(
            f"{expression[:100]!r} has {len(fields)} fields, not five: minute, hour, day of month, month, day of week."
        )
    return fields


def _refuse_backwards(text: str, name: str, lowest: int, highest: int) -> None:
    for match in _RANGE.finditer(text):
        begin, end = _number(match[1], name), _number(match[2], name)
        if begin is None or end is None or begin <= end or not lowest <= end <= begin <= highest:
            continue
        upper = f"{begin}-{highest}" if begin < highest else f"{begin}"
        lower = f"{lowest}-{end}" if end > lowest else f"{lowest}"
        raise InvalidTrigger(f"{match[0]!r} in the {name} field runs backwards: write '{upper},{lower}'.")


def _refuse_long_steps(text: str, name: str, highest: int) -> None:
    for step in _STEP.findall(text):
        if len(step) > 3 or int(step) > highest:
            raise InvalidTrigger(
                f"The step '/{step[:20]}' in the {name} field is longer than the field: use 1 to {highest}."
            )


def _number(text: str, name: str) -> int | None:
    if text.isdecimal() and len(text) < 5:
        return int(text)
    if name == "month" and text in _MONTHS:
        return _MONTHS.index(text) + 1
    if name == "day-of-week" and text in _DAYS:
        return _DAYS.index(text)
    return None


def _advice(expression: str, problem: str) -> str:
    for name, lowest, highest in _FIELDS:
        if name in problem:
            return (
                f"{expression[:100]!r}: the {name} field cannot be read or never matches; use {lowest} to {highest}, "
                "lists, ranges and steps."
            )
    return f"{expression[:100]!r} is not a cron expression: {problem}. Write five fields, such as '0 2 * * mon-fri'."
