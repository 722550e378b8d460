"""What every trigger can answer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

from modules.core.errors import Invalid

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)  # fire times lie before it


class InvalidTrigger(Invalid, ValueError):
    """A schedule that cannot be; the message says what to write instead."""

    code = "INVALID_TRIGGER"


class Trigger(Protocol):
    """A rule that yields fire times. Moments go in aware and come out in UTC; years 2000 to 2199."""

    def next_after(self, moment: datetime) -> datetime | None:
        """The first fire time strictly after `moment`; None when there is none left."""

    def previous_before(self, moment: datetime) -> datetime | None:
        """The last fire time strictly before `moment`; None when there was none."""

    def count_between(self, after: datetime, until: datetime) -> int:
        """How many fire times lie in `(after, until]`; exact, and without walking through them one by one."""

    def describe(self) -> str:
        """The rule as an English phrase."""


def in_utc(moment: datetime) -> datetime:
    """`moment` in UTC. Raises ValueError for a naive one."""
    if moment.tzinfo is None:
        raise ValueError("a naive datetime means no instant: give it a timezone, for example datetime.now(UTC)")
    return moment.astimezone(UTC)


def in_range(moment: datetime | None) -> datetime | None:
    """`moment` where it lies in the years 2000 to 2199, else None."""
    return moment if moment is not None and EARLIEST <= moment < LATEST else None
