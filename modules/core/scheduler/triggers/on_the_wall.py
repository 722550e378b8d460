"""From the matches of a calendar on a wall clock to fire times.

A skipped match fires once right after the gap (all that one gap swallowed fire as one), a repeated one the first time
only.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from modules.core.scheduler.triggers.base import EARLIEST, LATEST, TICK, in_range, in_utc, window
from modules.core.scheduler.triggers.wall_clock import changes, instant_of, latest_wall


class WallCalendar(Protocol):
    """Matches on a clock without time zones: naive datetimes."""

    def next_after(self, wall: datetime) -> datetime | None:
        """The first match strictly after `wall`."""

    def last_until(self, wall: datetime) -> datetime | None:
        """The last match at or before `wall`."""

    def count_between(self, after: datetime, until: datetime) -> int:
        """How many matches lie in `(after, until]`; 0 when `after >= until`."""


class OnTheWall:
    """The three answers of a trigger, for a frozen value with a `calendar` and a `zone`."""

    __slots__ = ()

    calendar: WallCalendar
    zone: ZoneInfo

    def next_after(self, moment: datetime) -> datetime | None:
        moment = max(in_utc(moment), EARLIEST - TICK)
        match = self.calendar.next_after(latest_wall(moment, self.zone)) if moment < LATEST else None
        return in_range(instant_of(match, self.zone)) if match is not None else None

    def previous_before(self, moment: datetime) -> datetime | None:
        moment = min(in_utc(moment), LATEST)
        match = self.calendar.last_until(latest_wall(moment - TICK, self.zone)) if moment > EARLIEST else None
        return in_range(instant_of(match, self.zone)) if match is not None else None

    def count_between(self, after: datetime, until: datetime) -> int:
        after, until = window(after, until)
        if until <= after:
            return 0
        count = self.calendar.count_between(latest_wall(after, self.zone), latest_wall(until, self.zone))
        for change in changes(self.zone, after, until):
            # All that a gap swallowed fires once, at its end; for a fold this counts nothing.
            count -= max(0, self.calendar.count_between(change.first_wall - TICK, change.new_wall) - 1)
        return count
