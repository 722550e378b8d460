"""Every so often: `anchor + n * interval`, in closed form, so that nothing drifts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from modules.core.scheduler.triggers.base import LATEST, TICK, in_range, in_utc, sentence_time, window
from modules.core.scheduler.triggers.durations import SECONDS


@dataclass(frozen=True, slots=True)
class ElapsedInterval:
    """Every `value` seconds, minutes or hours of elapsed time from `anchor` (UTC) on, which is the first fire time.

    Without an anchor each moment is one itself: the next time is one interval after it.
    """

    value: int
    unit: str
    anchor: datetime | None

    @property
    def _step(self) -> timedelta:
        return timedelta(seconds=self.value * SECONDS[self.unit])

    def next_after(self, moment: datetime) -> datetime | None:
        moment = in_utc(moment)
        if self.anchor is None:
            return in_range(moment + self._step) if in_range(moment) else None
        return in_range(self.anchor + max(0, (moment - self.anchor) // self._step + 1) * self._step)

    def previous_before(self, moment: datetime) -> datetime | None:
        moment = in_utc(moment)
        if self.anchor is None:
            return in_range(moment - self._step) if in_range(moment) else None
        number = (min(moment, LATEST) - TICK - self.anchor) // self._step
        return self.anchor + number * self._step if number >= 0 else None

    def count_between(self, after: datetime, until: datetime) -> int:
        after, until = window(after, until)
        if until <= after:
            return 0
        if self.anchor is None:
            return (until - after) // self._step
        return max(-1, (until - self.anchor) // self._step) - max(-1, (after - self.anchor) // self._step)

    def describe(self) -> str:
        return every(self.value, self.unit) + (f", first at {sentence_time(self.anchor)}" if self.anchor else "")


def every(value: int, unit: str) -> str:
    """Every hour, every 6 hours."""
    return f"every {unit.removesuffix('s')}" if value == 1 else f"every {value} {unit}"
