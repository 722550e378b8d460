"""What every trigger can answer, and the years in which it does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)  # fire times lie before it
TICK = timedelta(microseconds=1)  # the smallest step of a datetime


class Trigger(Protocol):
    """A rule that yields fire times in the years 2000 to 2199: a frozen value, equal when made from equal fields.

    Moments go in aware (a naive one raises ValueError) and come out in UTC.
    """

    def next_after(self, moment: datetime) -> datetime | None:
        """The first fire time strictly after `moment`; None when there is none left."""

    def previous_before(self, moment: datetime) -> datetime | None:
        """The last fire time strictly before `moment`; None when there was none."""

    def count_between(self, after: datetime, until: datetime) -> int:
        """How many fire times lie in `(after, until]`; exact, and without walking through them one by one."""

    def describe(self) -> str:
        """The rule as an English phrase."""


def in_utc(moment: datetime) -> datetime:
    """`moment` in UTC, moved to the nearest of the years 1999 to 2200: what lies beyond has the same answers.

    Raises ValueError for a naive one.
    """
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise ValueError("a naive datetime means no instant: give it a timezone, for example datetime.now(UTC)")
    if moment.year < EARLIEST.year - 1:
        return EARLIEST - timedelta(days=1)
    if moment.year > LATEST.year:
        return LATEST + timedelta(days=1)
    return moment.astimezone(UTC)


def in_range(moment: datetime | None) -> datetime | None:
    """`moment` where it lies in the years 2000 to 2199, else None."""
    return moment if moment is not None and EARLIEST <= moment < LATEST else None


def window(after: datetime, until: datetime) -> tuple[datetime, datetime]:
    """`(after, until]` cut down to the years 2000 to 2199, in UTC. Empty when `after >= until`."""
    return max(in_utc(after), EARLIEST - TICK), min(in_utc(until), LATEST - TICK)


def sentence_time(moment: datetime) -> str:
    """A UTC instant as the sentences show it."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
