"""Cron over time zones. Two kinds of job, as in Debian's cron, differ where clocks change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from modules.core.scheduler.triggers.base import EARLIEST, LATEST, TICK, in_range, in_utc, window
from modules.core.scheduler.triggers.cron_calendar import CronCalendar
from modules.core.scheduler.triggers.cron_fields import fields_of
from modules.core.scheduler.triggers.cron_words import in_words
from modules.core.scheduler.triggers.on_the_wall import OnTheWall
from modules.core.scheduler.triggers.wall_clock import changes, offset_at, shown_at, stretches


@dataclass(frozen=True, slots=True)
class FixedTimeCron(OnTheWall):
    """Jobs at times of the day: a skipped time fires once right after the gap, a repeated one the first time only."""

    expression: str
    calendar: CronCalendar
    zone: ZoneInfo

    def describe(self) -> str:
        return in_words(self.expression, self.zone)


@dataclass(frozen=True, slots=True)
class ElapsedCron:
    """Jobs whose minute or hour starts with a star: no extra run in the gap, and both passes of a fold."""

    expression: str
    calendar: CronCalendar
    zone: ZoneInfo

    def next_after(self, moment: datetime) -> datetime | None:
        begin = max(in_utc(moment) + TICK, EARLIEST)  # looked for from here on, stretch of one offset by stretch
        while begin < LATEST:
            offset = offset_at(begin, self.zone)
            match = self.calendar.next_after(shown_at(begin - TICK, offset))
            if match is None:
                return None
            fired = match.replace(tzinfo=UTC) - offset
            change = next(changes(self.zone, begin, fired), None)
            if change is None:
                return in_range(fired)
            begin = change.at
        return None

    def previous_before(self, moment: datetime) -> datetime | None:
        end = min(in_utc(moment), LATEST) - TICK  # looked for back from here
        while end >= EARLIEST:
            offset = offset_at(end, self.zone)
            match = self.calendar.last_until(shown_at(end, offset))
            if match is None:
                return None
            fired = match.replace(tzinfo=UTC) - offset
            change = next(changes(self.zone, fired, end, newest_first=True), None)
            if change is None:
                return in_range(fired)
            end = change.at - TICK
        return None

    def count_between(self, after: datetime, until: datetime) -> int:
        after, until = window(after, until)
        if until <= after:
            return 0
        return sum(
            self.calendar.count_between(
                shown_at(stretch.after, stretch.offset), shown_at(stretch.until, stretch.offset)
            )
            for stretch in stretches(self.zone, after, until)
        )

    def describe(self) -> str:
        return in_words(self.expression, self.zone)


def cron(expression: str, zone: ZoneInfo) -> FixedTimeCron | ElapsedCron:
    """The trigger of a five-field expression or an alias such as `@daily`. Raises InvalidTrigger."""
    calendar = CronCalendar.of(expression)
    fields = fields_of(expression)
    # The sentence "jobs that run at a specific time" of Debian's cron(8): no star at the start of minute and hour.
    kind = ElapsedCron if fields[0].startswith("*") or fields[1].startswith("*") else FixedTimeCron
    return kind(" ".join(fields), calendar, zone)
