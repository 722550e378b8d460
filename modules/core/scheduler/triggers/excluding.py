"""A trigger minus exclusions, and what they dropped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from modules.core.scheduler.triggers.base import TICK, Trigger, in_utc, window
from modules.core.scheduler.triggers.errors import InvalidTrigger
from modules.core.scheduler.triggers.exclusions import Exclusion, Span
from modules.core.scheduler.triggers.union import Union

# A search gives up after so many excluded stretches in a row, and after fewer where a step costs more: within 50 ms.
MOST_IN_A_ROW: Final = 500
_BUDGET: Final = 4000


class Excluded(NamedTuple):
    """A fire time that an exclusion dropped, and the rule that did."""

    at: datetime
    rule: str


@dataclass(frozen=True, slots=True)
class Excluding:
    """The fire times of `trigger` that lie in none of the exclusions.

    Where hundreds of excluded stretches follow on each other, each with fire times, questions raise InvalidTrigger
    instead of searching on.
    """

    trigger: Trigger
    exclusions: tuple[Exclusion, ...]

    def next_after(self, moment: datetime) -> datetime | None:
        for _ in range(self._most_in_a_row):
            fired = self.trigger.next_after(moment)
            span = self._span_at(fired) if fired is not None else None
            if span is None:
                return fired
            moment = span.end - TICK
        raise self._too_many(moment)

    def previous_before(self, moment: datetime) -> datetime | None:
        for _ in range(self._most_in_a_row):
            fired = self.trigger.previous_before(moment)
            span = self._span_at(fired) if fired is not None else None
            if span is None:
                return fired
            moment = span.start
        raise self._too_many(moment)

    def count_between(self, after: datetime, until: datetime) -> int:
        after, until = window(after, until)
        if until <= after:
            return 0
        dropped = sum(
            self.trigger.count_between(first - TICK, min(span.end - TICK, until))
            for first, span in self._dropping(after, until)
        )
        return self.trigger.count_between(after, until) - dropped

    def excluded_between(self, after: datetime, until: datetime) -> Iterator[Excluded]:
        """The fire times in `(after, until]` that were dropped, in order."""
        after, until = window(after, until)
        for first, span in self._dropping(after, until):
            moment: datetime | None = first
            while moment is not None and moment < span.end and moment <= until:
                yield Excluded(moment, self._rule_at(moment))
                moment = self.trigger.next_after(moment)

    def describe(self) -> str:
        return f"{self.trigger.describe()}, except {'; '.join(rule.describe() for rule in self.exclusions)}"

    def _dropping(self, after: datetime, until: datetime) -> Iterator[tuple[datetime, Span]]:
        """The excluded stretches that drop fire times in `(after, until]`, each with the first of those."""
        moment: datetime | None = after
        while moment is not None and moment < until:
            fired = self.trigger.next_after(moment)
            if fired is None or fired > until:
                return
            span = self._span_at(fired)
            if span is not None:
                yield fired, span
                moment = span.end - TICK
            else:
                starts = [rule.next_start(fired) for rule in self.exclusions]
                moment = min((start - TICK for start in starts if start is not None), default=None)

    def _span_at(self, moment: datetime) -> Span | None:
        """The excluded stretch around `moment` that ends last."""
        spans = [span for rule in self.exclusions if (span := rule.span_at(moment)) is not None]
        return max(spans, key=lambda span: span.end, default=None)

    def _rule_at(self, moment: datetime) -> str:
        return next(rule.describe() for rule in self.exclusions if rule.span_at(moment) is not None)

    @property
    def _most_in_a_row(self) -> int:
        parts = len(self.trigger.triggers) if isinstance(self.trigger, Union) else 1
        return min(MOST_IN_A_ROW, _BUDGET // parts)

    def _too_many(self, moment: datetime) -> InvalidTrigger:
        return InvalidTrigger(
            f"exclude drops every fire time up to {in_utc(moment):%Y-%m-%d} and beyond ({self._most_in_a_row} "
            "stretches in a row): take an exclusion away, or fire at other times."
        )
