"""Every so often: `anchor + n * interval`, in closed form, so that nothing drifts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta

from modules.core.scheduler.triggers.base import LATEST, in_range, in_utc
from modules.core.scheduler.triggers.durations import SECONDS
from modules.core.scheduler.triggers.wall_clock import changes, instant_of, wall_of

ELAPSED = ("seconds", "minutes", "hours")
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ElapsedInterval:
    """Every `value` seconds, minutes or hours of elapsed time, from `anchor` (UTC) on; without one, from any moment."""

    value: int
    unit: str
    anchor: datetime | None

    @property
    def _step(self) -> timedelta:
        return timedelta(seconds=self.value * SECONDS[self.unit])

    def next_after(self, moment: datetime) -> datetime | None:
        moment = in_utc(moment)
        if self.anchor is None:
            return _plus(moment, self._step)
        if moment < self.anchor:
            return self.anchor
        return _plus(self.anchor, ((moment - self.anchor) // self._step + 1) * self._step)

    def previous_before(self, moment: datetime) -> datetime | None:
        moment = in_utc(moment)
        if self.anchor is None:
            return _plus(moment, -self._step)
        if moment <= self.anchor:
            return None
        number = -((self.anchor - moment) // self._step) - 1
        return self.anchor + number * self._step

    def count_between(self, after: datetime, until: datetime) -> int:
        after, until = in_utc(after), in_utc(until)
        if self.anchor is None:
            return max(0, (until - after) // self._step)
        last = (until - self.anchor) // self._step
        first = max((after - self.anchor) // self._step, -1)
        return max(0, last - first)

    def describe(self) -> str:
        return _every(self.value, self.unit)


@dataclass(frozen=True, slots=True)
class CalendarInterval:
    """Every `value` days, weeks, months or years on the wall clock of `zone`; months clamp from the anchor."""

    value: int
    unit: str
    zone: ZoneInfo
    anchor: datetime | None

    def next_after(self, moment: datetime) -> datetime | None:
        moment = in_utc(moment)
        if self.anchor is None:
            return in_range(self._instant(moment, 1))
        number = self._number_at(moment)
        return in_range(self._instant(self.anchor, number + 1))

    def previous_before(self, moment: datetime) -> datetime | None:
        moment = in_utc(moment)
        if self.anchor is None:
            return in_range(self._instant(moment, -1))
        number = self._number_at(moment)
        while number >= 0:
            fired = self._instant(self.anchor, number)
            if fired is not None and fired < moment:
                return fired
            number -= 1
        return None

    def count_between(self, after: datetime, until: datetime) -> int:
        after, until = in_utc(after), in_utc(until)
        if self.anchor is None or until <= after:
            return 0
        count = self._number_at(until) - self._number_at(after)
        if self.unit == "days":
            # A day that was skipped altogether (Samoa, 2011) fires with the next one: two numbers, one moment.
            for change in changes(self.zone, max(after, self.anchor), until):
                if change.after - change.before >= DAY:
                    count -= self._number_at(change.at) - self._number_at(change.at - timedelta(microseconds=1)) - 1
        return max(0, count)

    def describe(self) -> str:
        return _every(self.value, self.unit)

    def _number_at(self, moment: datetime) -> int:
        """The largest n whose fire time is not after `moment`; -1 before the anchor."""
        assert self.anchor is not None
        number = max(-1, self._estimate(moment))
        while number >= 0 and not self._reached(number, moment):
            number -= 1
        while self._reached(number + 1, moment):
            number += 1
        return number

    def _reached(self, number: int, moment: datetime) -> bool:
        assert self.anchor is not None
        fired = self._instant(self.anchor, number)
        return fired is not None and fired <= moment

    def _estimate(self, moment: datetime) -> int:
        assert self.anchor is not None
        begin, now = wall_of(self.anchor, self.zone), wall_of(moment, self.zone)
        if self.unit in SECONDS:
            return (now - begin) // timedelta(seconds=self.value * SECONDS[self.unit])
        months = (now.year - begin.year) * 12 + now.month - begin.month
        return months // (self.value * (12 if self.unit == "years" else 1))

    def _instant(self, begin: datetime, number: int) -> datetime | None:
        if number == 0:
            return begin  # also where the clock shows that time twice and the second pass was meant
        wall = wall_of(begin, self.zone)
        try:
            return instant_of(wall + relativedelta(**{self.unit: number * self.value}), self.zone)  # type: ignore[arg-type]
        except (OverflowError, ValueError):
            return None


def _plus(moment: datetime, step: timedelta) -> datetime | None:
    if step > LATEST - moment:
        return None
    return in_range(moment + step)


def _every(value: int, unit: str) -> str:
    return f"every {unit.removesuffix('s')}" if value == 1 else f"every {value} {unit}"
