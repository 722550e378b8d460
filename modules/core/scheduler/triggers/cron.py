"""Cron over time zones. Two kinds of job, as in Debian's cron, differ where clocks change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from modules.core.scheduler.triggers.base import EARLIEST, LATEST, in_range, in_utc
from modules.core.scheduler.triggers.cron_days import CronDays
from modules.core.scheduler.triggers.wall_clock import (
    HOP,
    changes,
    first_change,
    highest_wall,
    instant_of,
    last_change,
    offset_at,
    wall_of,
)

TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class FixedTimeCron:
    """Jobs at times of the day: a skipped time fires once right after the gap, a repeated one the first time only."""

    days: CronDays
    zone: ZoneInfo

    def next_after(self, moment: datetime) -> datetime | None:
        moment = max(in_utc(moment), EARLIEST - TICK)
        match = self.days.next_after(wall_of(moment, self.zone)) if moment < LATEST else None
        while match is not None and (fired := instant_of(match, self.zone)) <= moment:
            match = self.days.next_after(match)  # shown before, in the first pass of a fold
        return in_range(fired) if match is not None else None

    def previous_before(self, moment: datetime) -> datetime | None:
        moment = min(in_utc(moment), LATEST)
        match = self.days.previous_before(highest_wall(moment, self.zone) + TICK) if moment > EARLIEST else None
        while match is not None and (fired := instant_of(match, self.zone)) >= moment:
            match = self.days.previous_before(match)
        return in_range(fired) if match is not None else None

    def count_between(self, after: datetime, until: datetime) -> int:
        after, until = _bounded(after, until)
        if until <= after:
            return 0
        count = self.days.count_between(highest_wall(after, self.zone), highest_wall(until, self.zone))
        for change in changes(self.zone, after, until):
            begin, end = _wall(change.at + change.before), _wall(change.at + change.after)
            in_gap = self.days.count_between(begin - TICK, end) if end > begin else 0
            count -= max(0, in_gap - 1)  # all that the gap swallowed fires once, at its end
        return count

    def describe(self) -> str:
        return f"by the cron expression {self.days.expression!r}, in {self.zone.key}"


@dataclass(frozen=True, slots=True)
class ElapsedCron:
    """Jobs whose minute or hour starts with a star: no run more in the gap, and both passes of a fold."""

    days: CronDays
    zone: ZoneInfo

    def next_after(self, moment: datetime) -> datetime | None:
        moment = max(in_utc(moment), EARLIEST - TICK)
        while moment < LATEST:
            offset = offset_at(moment, self.zone)
            match = self.days.next_after(_wall(moment + offset))
            if match is None:
                return None
            fired = match.replace(tzinfo=UTC) - offset
            change = first_change(self.zone, moment, min(fired, LATEST))
            if change is None:
                return in_range(fired)
            if self._matches(change.at):
                return in_range(change.at)
            moment = change.at
        return None

    def previous_before(self, moment: datetime) -> datetime | None:
        moment = min(in_utc(moment), LATEST)
        while moment > EARLIEST:
            offset = offset_at(moment - TICK, self.zone)
            match = self.days.previous_before(_wall(moment + offset))
            if match is None:
                return None
            fired = match.replace(tzinfo=UTC) - offset
            change = last_change(self.zone, max(fired, EARLIEST - HOP), moment - TICK)
            if change is None:
                return in_range(fired)
            moment = change.at
        return None

    def count_between(self, after: datetime, until: datetime) -> int:
        after, until = _bounded(after, until)
        count = 0
        for begin, end, offset in self._stretches(after, until):
            count += self.days.count_between(_wall(begin + offset), _wall(end + offset))
        return count

    def describe(self) -> str:
        return f"by the cron expression {self.days.expression!r}, in {self.zone.key}"

    def _stretches(self, after: datetime, until: datetime) -> Iterator[tuple[datetime, datetime, timedelta]]:
        """`(begin, end]` and the offset in force, piece by piece from `after` to `until`."""
        begin = after
        for change in changes(self.zone, after, until):
            yield begin, change.at - TICK, change.before
            begin = change.at - TICK
        if begin < until:
            yield begin, until, offset_at(until, self.zone)

    def _matches(self, instant: datetime) -> bool:
        wall = wall_of(instant, self.zone)
        return self.days.next_after(wall - TICK) == wall


def cron(expression: str, zone: ZoneInfo) -> FixedTimeCron | ElapsedCron:
    """The trigger of a five-field expression or an alias such as `@daily`. Raises InvalidTrigger."""
    days = CronDays(expression)
    return ElapsedCron(days, zone) if days.follows_elapsed_time else FixedTimeCron(days, zone)


def _wall(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)


def _bounded(after: datetime, until: datetime) -> tuple[datetime, datetime]:
    return max(in_utc(after), EARLIEST - TICK), min(in_utc(until), LATEST - TICK)
