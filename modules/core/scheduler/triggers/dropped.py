"""Which fire times a trigger would have had, were it not for its exclusions: asked of any trigger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice

from modules.core.scheduler.triggers.base import TICK, Trigger, in_utc
from modules.core.scheduler.triggers.bounds import Bounded
from modules.core.scheduler.triggers.excluding import Excluded, Excluding


def excluded_between(trigger: Trigger, after: datetime, until: datetime, most: int) -> list[Excluded]:
    """The first `most` fire times in `(after, until]` that exclusions dropped, each with the rule that did."""
    return list(islice(_dropped(trigger, in_utc(after), in_utc(until)), most))


def _dropped(trigger: Trigger, after: datetime, until: datetime) -> Iterator[Excluded]:
    if isinstance(trigger, Bounded):
        after = after if trigger.start is None else max(after, trigger.start - TICK)
        until = until if trigger.end is None else min(until, trigger.end)
        trigger = trigger.trigger
    return trigger.excluded_between(after, until) if isinstance(trigger, Excluding) else iter(())
