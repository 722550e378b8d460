"""Several rules as one: it fires whenever one of them does, and once where several do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from modules.core.scheduler.triggers.base import EARLIEST, TICK, Trigger, window
from modules.core.scheduler.triggers.errors import InvalidTrigger

MOST_TRIGGERS: Final = 20
# Counting walks through all but the most frequent one, so those have to be rare enough: a year of them in a second.
MOST_A_YEAR: Final = 100_000


@dataclass(frozen=True, slots=True)
class Union:
    """The fire times of all `triggers`, each moment once."""

    triggers: tuple[Trigger, ...]

    def next_after(self, moment: datetime) -> datetime | None:
        times = (trigger.next_after(moment) for trigger in self.triggers)
        return min((time for time in times if time is not None), default=None)

    def previous_before(self, moment: datetime) -> datetime | None:
        times = (trigger.previous_before(moment) for trigger in self.triggers)
        return max((time for time in times if time is not None), default=None)

    def count_between(self, after: datetime, until: datetime) -> int:
        after, until = window(after, until)
        if until <= after:
            return 0
        counted = sorted(((t.count_between(after, until), n) for n, t in enumerate(self.triggers)), reverse=True)
        total = counted[0][0]
        larger = [self.triggers[counted[0][1]]]
        for count, number in counted[1:]:
            trigger = self.triggers[number]
            total += sum(1 for _ in _new_times(trigger, larger, after, until)) if count else 0
            larger.append(trigger)
        return total

    def describe(self) -> str:
        return "; or ".join(trigger.describe() for trigger in self.triggers)


def union(triggers: tuple[Trigger, ...]) -> Union:
    """Raises InvalidTrigger where more than one of them fires so often that what was missed could not be counted."""
    year = timedelta(days=366)
    starts = (trigger.next_after(EARLIEST) for trigger in triggers)
    often = [
        trigger.describe()
        for trigger, start in zip(triggers, starts, strict=True)
        if start is not None and trigger.count_between(start, start + year) > MOST_A_YEAR
    ]
    if len(often) > 1:
        raise InvalidTrigger(
            f"triggers: only one of them may fire more than {MOST_A_YEAR:,} times a year, and {len(often)} do "
            f"({often[0][:60]}; {often[1][:60]}): join them into one rule, or make a task of each."
        )
    return Union(triggers)


def _new_times(trigger: Trigger, others: list[Trigger], after: datetime, until: datetime) -> Iterator[datetime]:
    """The fire times of `trigger` in `(after, until]` at which none of the others fires."""
    moment = trigger.next_after(after)
    while moment is not None and moment <= until:
        if not any(other.count_between(moment - TICK, moment) for other in others):
            yield moment
        moment = trigger.next_after(moment)
