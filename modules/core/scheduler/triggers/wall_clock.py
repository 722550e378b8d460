"""From what a wall clock shows to instants and back, over gaps and folds. All instants here are UTC, walls are naive.

A gap is a stretch that the clock skips, a fold one that it shows twice. The rule (semantics, "DST"): a time in a gap
means the first instant after it; a time in a fold means its first pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from modules.core.scheduler.triggers.base import EARLIEST, LATEST, TICK

_SECOND = timedelta(seconds=1)
# No zone changes its offset twice within this time since 2000; the closest are seven days apart (Brazil 2000, Gaza).
_HOP = timedelta(days=6)


class Change(NamedTuple):
    """From the instant `at` on, clocks show UTC + `after`; before it UTC + `before`."""

    at: datetime
    before: timedelta
    after: timedelta

    @property
    def first_wall(self) -> datetime:
        """Where the clock stands when it is moved: the start of a gap, or the end of a fold."""
        return shown_at(self.at, self.before)

    @property
    def new_wall(self) -> datetime:
        """Where the clock is moved to: the end of a gap, or the start of a fold."""
        return shown_at(self.at, self.after)


class Stretch(NamedTuple):
    """The instants in `(after, until]`, over which clocks show UTC + `offset`."""

    after: datetime
    until: datetime
    offset: timedelta


def shown_at(instant: datetime, offset: timedelta) -> datetime:
    """What a clock shows that is `offset` ahead of UTC."""
    return (instant + offset).replace(tzinfo=None)


def offset_at(instant: datetime, zone: ZoneInfo) -> timedelta:
    """How far clocks are ahead of UTC."""
    return instant.astimezone(zone).utcoffset() or timedelta(0)


def wall_of(instant: datetime, zone: ZoneInfo) -> datetime:
    """What the wall clock shows."""
    return instant.astimezone(zone).replace(tzinfo=None)


def instant_of(wall: datetime, zone: ZoneInfo) -> datetime:
    """The instant that a wall time means, by the rule above. Grows with `wall`, and stands still over a gap."""
    # With fold=0 a time in a gap is read with the offset before it, so it lands behind the change.
    instant = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if wall_of(instant, zone) == wall:
        return instant
    change = _last_change(zone, instant)
    return change.at if change else instant


def latest_wall(instant: datetime, zone: ZoneInfo) -> datetime:
    """The latest wall time that means `instant` or an earlier one, so that `instant_of(wall) <= instant` holds for
    this wall and no later one. In a second pass that is the end of the first."""
    local = instant.astimezone(zone)
    change = _last_change(zone, instant) if local.fold else None
    return change.first_wall - TICK if change else local.replace(tzinfo=None)


def changes(zone: ZoneInfo, after: datetime, until: datetime, *, newest_first: bool = False) -> Iterator[Change]:
    """The changes of offset in `(after, until]`, in order."""
    years = range(after.year, until.year + 1)
    for year in reversed(years) if newest_first else years:
        of_year = _changes_of(zone, year)
        for change in reversed(of_year) if newest_first else of_year:
            if after < change.at <= until:
                yield change


def stretches(zone: ZoneInfo, after: datetime, until: datetime) -> Iterator[Stretch]:
    """`(after, until]` in pieces of one offset each, in order."""
    for change in changes(zone, after, until):
        yield Stretch(after, change.at - TICK, change.before)
        after = change.at - TICK
    yield Stretch(after, until, offset_at(until, zone))


def _last_change(zone: ZoneInfo, instant: datetime) -> Change | None:
    """The change nearest before `instant` (or at it), looked for over a year at least."""
    return next(changes(zone, instant - timedelta(days=365), instant, newest_first=True), None)


@lru_cache(maxsize=16_384)
def _changes_of(zone: ZoneInfo, year: int) -> tuple[Change, ...]:
    """The changes of a year (UTC). zoneinfo does not tell its list, so the year is sampled and each change bisected."""
    if not EARLIEST.year - 1 <= year <= LATEST.year:
        return ()
    low = datetime(year, 1, 1, tzinfo=UTC) - _SECOND
    end = datetime(year + 1, 1, 1, tzinfo=UTC) - _SECOND
    found: list[Change] = []
    before = offset_at(low, zone)
    while low < end:
        high = min(low + _HOP, end)
        if offset_at(high, zone) != before:
            change = _pinpoint(zone, low, high, before)
            found.append(change)
            before, high = change.after, change.at
        low = high
    return tuple(found)


def _pinpoint(zone: ZoneInfo, low: datetime, high: datetime, before: timedelta) -> Change:
    """The change between `low`, where the offset is `before`, and `high`, where it is another; all whole seconds."""
    begin, end = 0, (high - low) // _SECOND
    while end - begin > 1:
        middle = (begin + end) // 2
        if offset_at(low + middle * _SECOND, zone) == before:
            begin = middle
        else:
            end = middle
    at = low + end * _SECOND
    return Change(at, before, offset_at(at, zone))
