"""A trigger between two moments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from modules.core.scheduler.triggers.base import TICK, Trigger, in_utc, sentence_time


@dataclass(frozen=True, slots=True)
class Bounded:
    """The fire times of `trigger` from `start` to `end` (UTC), both inclusive; None is no bound."""

    trigger: Trigger
    start: datetime | None
    end: datetime | None

    def next_after(self, moment: datetime) -> datetime | None:
        moment = in_utc(moment)
        if self.start is not None and moment < self.start:
            moment = self.start - TICK
        fired = self.trigger.next_after(moment)
        return None if fired is None or (self.end is not None and fired > self.end) else fired

    def previous_before(self, moment: datetime) -> datetime | None:
        moment = in_utc(moment)
        if self.end is not None and moment > self.end:
            moment = self.end + TICK
        fired = self.trigger.previous_before(moment)
        return None if fired is None or (self.start is not None and fired < self.start) else fired

    def count_between(self, after: datetime, until: datetime) -> int:
        after, until = in_utc(after), in_utc(until)
        if self.start is not None:
            after = max(after, self.start - TICK)
        if self.end is not None:
            until = min(until, self.end)
        return self.trigger.count_between(after, until) if after < until else 0

    def describe(self) -> str:
        words = [self.trigger.describe()]
        if self.start is not None:
            words.append(f"not before {sentence_time(self.start)}")
        if self.end is not None:
            words.append(f"not after {sentence_time(self.end)}")
        return ", ".join(words)
