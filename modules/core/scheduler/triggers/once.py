"""Once, at a moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from modules.core.scheduler.triggers.base import in_utc, sentence_time


@dataclass(frozen=True, slots=True)
class Once:
    """Fires at `at` (UTC) and never again."""

    at: datetime

    def next_after(self, moment: datetime) -> datetime | None:
        return self.at if self.at > in_utc(moment) else None

    def previous_before(self, moment: datetime) -> datetime | None:
        return self.at if self.at < in_utc(moment) else None

    def count_between(self, after: datetime, until: datetime) -> int:
        return int(in_utc(after) < self.at <= in_utc(until))

    def describe(self) -> str:
        return f"once, at {sentence_time(self.at)}"
