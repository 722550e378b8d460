"""Every so many days, weeks, months or years on the wall clock, each time counted from the anchor."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from modules.core.scheduler.triggers.base import LATEST, TICK, in_range, in_utc, sentence_time, window
from modules.core.scheduler.triggers.durations import MONTHS, SECONDS
from modules.core.scheduler.triggers.interval import every
from modules.core.scheduler.triggers.wall_clock import changes, instant_of, latest_wall, wall_of


@dataclass(frozen=True, slots=True)
class CalendarInterval:
    """Every `value` days, weeks, months or years on the wall clock of `zone` from `anchor` (UTC) on, which is the first
    fire time. Days that a month lacks become its last: Jan 31, Feb 28, Mar 31.

    Without an anchor each moment is one itself: the next time is one interval after it.
    """

    value: int
    unit: str
    zone: ZoneInfo
    anchor: datetime | None

    def next_after(self, moment: datetime) -> datetime | None:
        moment = in_utc(moment)
        if self.anchor is None:
            return self._beside(moment, +1)
        return in_range(self._fired(self.anchor, self._number_at(self.anchor, moment) + 1))

    def previous_before(self, moment: datetime) -> datetime | None:
        moment = in_utc(moment)
        if self.anchor is None:
            return self._beside(moment, -1)
        number = self._number_at(self.anchor, min(moment, LATEST) - TICK)
        return self._fired(self.anchor, number) if number >= 0 else None

    def count_between(self, after: datetime, until: datetime) -> int:
        after, until = window(after, until)
        if until <= after:
            return 0
        anchor = after if self.anchor is None else self.anchor
        count = self._number_at(anchor, until) - self._number_at(anchor, after)
        if (self.unit, self.value) == ("days", 1):
            # A day that was skipped altogether (Samoa, 2011) fires with the next one: two numbers, one moment.
            for change in changes(self.zone, max(after, anchor), until):
                count -= max(0, self._number_at(anchor, change.at) - self._number_at(anchor, change.at - TICK) - 1)
        return count

    def describe(self) -> str:
        phrase = every(self.value, self.unit)
        if self.zone.key != "UTC":
            phrase += f", {self.zone.key} time"
        return f"{phrase}, first at {sentence_time(self.anchor)}" if self.anchor else phrase

    def _number_at(self, anchor: datetime, moment: datetime) -> int:
        """The largest n whose fire time is not after `moment`; -1 before the anchor."""
        if moment < anchor:
            return -1
        # Fire times are the instants of wall times, so it is enough to compare on the wall.
        begin, now = wall_of(anchor, self.zone), latest_wall(moment, self.zone)
        if self.unit in SECONDS:
            return max(0, (now - begin) // timedelta(seconds=self.value * SECONDS[self.unit]))
        number = ((now.year - begin.year) * 12 + now.month - begin.month) // (self.value * MONTHS[self.unit])
        return max(0, number if self._wall(begin, number) <= now else number - 1)

    def _beside(self, moment: datetime, direction: int) -> datetime | None:
        """One interval after or before `moment`; two where one leads to itself, over a skipped day."""
        if in_range(moment) is None:
            return None
        fired = self._fired(moment, direction)
        return in_range(fired if fired != moment else self._fired(moment, 2 * direction))

    def _fired(self, anchor: datetime, number: int) -> datetime:
        if number == 0:
            return anchor  # also where the clock shows its time twice and the second pass was meant
        return instant_of(self._wall(wall_of(anchor, self.zone), number), self.zone)

    def _wall(self, begin: datetime, number: int) -> datetime:
        """The wall time `number` intervals from `begin`. Intervals are at most 200 years, so it can be told."""
        if self.unit in SECONDS:
            return begin + timedelta(seconds=number * self.value * SECONDS[self.unit])
        year, month = divmod(begin.year * 12 + begin.month - 1 + number * self.value * MONTHS[self.unit], 12)
        return begin.replace(year=year, month=month + 1, day=min(begin.day, monthrange(year, month + 1)[1]))
