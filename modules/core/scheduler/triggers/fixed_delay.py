"""Every so often after the end of the last attempt: a grid that only the past can tell."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from modules.core.scheduler.triggers.base import in_range, in_utc, sentence_time
from modules.core.scheduler.triggers.durations import SECONDS
from modules.core.scheduler.triggers.interval import every


@dataclass(frozen=True, slots=True)
class FixedDelay:
    """First at `anchor` (UTC); from then on `value` seconds, minutes or hours after the moment asked about, which is to
    be the end of the last attempt.

    Nothing is known of fire times before an attempt has ended: previous_before and count_between tell of the first one
    only. Without an anchor there is no first one.
    """

    value: int
    unit: str
    anchor: datetime | None

    def next_after(self, moment: datetime) -> datetime | None:
        moment = in_utc(moment)
        if self.anchor is not None and moment < self.anchor:
            return in_range(self.anchor)
        return in_range(moment + timedelta(seconds=self.value * SECONDS[self.unit]))

    def previous_before(self, moment: datetime) -> datetime | None:
        return self.anchor if self.anchor is not None and self.anchor < in_utc(moment) else None

    def count_between(self, after: datetime, until: datetime) -> int:
        return int(self.anchor is not None and in_utc(after) < self.anchor <= in_utc(until))

    def describe(self) -> str:
        first = f", first at {sentence_time(self.anchor)}" if self.anchor else ""
        return f"{every(self.value, self.unit)} after the end of the last run{first}"
