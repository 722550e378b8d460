"""From what a wall clock shows to instants and back, over gaps and folds. All instants here are UTC.

A gap is a stretch that the clock skips, a fold one that it shows twice. The rule: a time in a gap means the first
instant after it; a time in a fold means its first pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

SECOND = timedelta(seconds=1)
# No zone changes its offset twice within this time in the years that count.
HOP = timedelta(days=4)


class Change(NamedTuple):
    """From the instant `at` on, clocks show UTC + `after`; before it UTC + `before`."""

    at: datetime
    before: timedelta
    after: timedelta


def wall_of(instant: datetime, zone: ZoneInfo) -> datetime:
    """What the wall clock shows, naive."""
    return instant.astimezone(zone).replace(tzinfo=None)


def instant_of(wall: datetime, zone: ZoneInfo) -> datetime:
    """The instant that a naive wall time means, by the rule above. Grows with `wall`, and stands still over a gap."""
    first_pass = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if wall_of(first_pass, zone) == wall:
        return first_pass
    # With fold=0 a time in a gap is read with the offset before it, so it lands behind the change.
    length = abs(_offset(wall, zone, 1) - _offset(wall, zone, 0))
    change = first_change(zone, first_pass - length, first_pass)
    return change.at if change else first_pass


def offset_at(instant: datetime, zone: ZoneInfo) -> timedelta:
    """How far clocks are ahead of UTC."""
    return instant.astimezone(zone).utcoffset() or timedelta(0)


def in_second_pass(instant: datetime, zone: ZoneInfo) -> bool:
    """Whether the clock shows something that it has shown before."""
    return instant.astimezone(zone).fold == 1


def highest_wall(instant: datetime, zone: ZoneInfo) -> datetime:
    """The latest wall time that clocks have shown so far: in a second pass, that at the end of the first one."""
    if not in_second_pass(instant, zone):
        return wall_of(instant, zone)
    change = last_change(zone, instant - HOP, instant)
    return (change.at + change.before).replace(tzinfo=None) if change else wall_of(instant, zone)


def first_change(zone: ZoneInfo, after: datetime, until: datetime) -> Change | None:
    """The first change of offset in `(after, until]`."""
    before = offset_at(after, zone)
    low = after
    while low < until:
        high = min(low + HOP, until)
        if offset_at(high, zone) != before:
            return _pinpoint(zone, low, high, before)
        low = high
    return None


def changes(zone: ZoneInfo, after: datetime, until: datetime) -> Iterator[Change]:
    """Every change of offset in `(after, until]`, in order."""
    change = first_change(zone, after, until)
    while change is not None:
        yield change
        change = first_change(zone, change.at, until)


def last_change(zone: ZoneInfo, after: datetime, before: datetime) -> Change | None:
    """The last change of offset in `(after, before]`."""
    now = offset_at(before, zone)
    high = before
    while high > after:
        low = max(high - HOP, after)
        earlier = offset_at(low, zone)
        if earlier != now:
            return _pinpoint(zone, low, high, earlier)
        high = low
    return None


def _pinpoint(zone: ZoneInfo, low: datetime, high: datetime, before: timedelta) -> Change:
    """The change between `low`, where the offset is `before`, and `high`, where it is not; to the second."""
    low = low.replace(microsecond=0)
    seconds = int((high - low) / SECOND) + 1
    begin, end = 0, seconds
    while end - begin > 1:
        middle = (begin + end) // 2
        if offset_at(low + middle * SECOND, zone) == before:
            begin = middle
        else:
            end = middle
    at = low + end * SECOND
    return Change(at, before, offset_at(at, zone))


def _offset(wall: datetime, zone: ZoneInfo, fold: int) -> timedelta:
    return wall.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta(0)
