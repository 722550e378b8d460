"""When events fire: the triggers of stored events, and the questions the specification asks of a clock."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from modules.core.clock import Clock, host_timezone_of
from modules.core.scheduler import firing
from modules.core.scheduler.firing import Firing, Missed
from modules.core.scheduler.triggers import InvalidTrigger, Trigger, trigger_from_spec

if TYPE_CHECKING:
    from modules.core.app_context import AppContext
    from modules.core.scheduler.db_models import ScheduledEvent

CACHED_TRIGGERS = 10_000
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class TriggerManager:
    """Pure triggers plus the scheduler's clock."""

    def __init__(self, app_context: AppContext) -> None:
        self._clock: Clock = app_context.get_service("core.scheduler.runtime").clock
        self._cache: OrderedDict[tuple[str, int], Trigger] = OrderedDict()

    def calculate_next_execution(
        self, interval_type: str, interval_value: int, last_execution: datetime | None
    ) -> datetime:
        """One interval after `last_execution` (naive: the host's local time), in UTC; now, if it never ran.

        `interval_type` is seconds, minutes, hours, days, weeks, months or years. Raises InvalidTrigger.
        """
        trigger = trigger_from_spec(self.create_recurring_schedule(interval_type, interval_value))
        if last_execution is None:
            return self._clock.now()
        last = last_execution if last_execution.tzinfo else host_timezone_of(last_execution)
        following = trigger.next_after(last)
        return following or last

    def is_execution_due(self, next_execution: datetime | None) -> bool:
        """Whether that moment (naive: the host's local time) has come. Nothing is due that has no next execution."""
        if next_execution is None:
            return False
        moment = next_execution if next_execution.tzinfo else host_timezone_of(next_execution)
        return moment <= self._clock.now()

    def create_recurring_schedule(self, interval_type: str, interval_value: int) -> dict[str, Any]:
        """The schedule fields of a recurring task, checked; to be merged into a task's configuration."""
        schedule = {"recurring": True, "interval_type": interval_type, "interval_value": interval_value}
        trigger_from_spec(schedule)
        return schedule

    def trigger_of(self, event: ScheduledEvent) -> Trigger:
        """The trigger of a stored event. Raises InvalidTrigger for a row that no longer makes sense."""
        key = (event.id, event.version)
        trigger = self._cache.get(key)
        if trigger is None:
            trigger = trigger_from_spec(schedule_fields(event))
            self._cache[key] = trigger
            if len(self._cache) > CACHED_TRIGGERS:
                self._cache.popitem(last=False)
        return trigger

    def decide_firing(self, event: ScheduledEvent, now: datetime) -> Firing:
        """What a due event does now. Raises InvalidTrigger for a row that no longer makes sense."""
        due = event.next_execution or now
        if not event.recurring:
            return firing.decide_once(due, event.fired_count, event.max_executions)
        remaining = None if event.max_executions is None else event.max_executions - event.fired_count
        return firing.decide(self.trigger_of(event), due, now, catch_up=event.catch_up, remaining=remaining)

    def skip_overlapped(self, event: ScheduledEvent, since: datetime, now: datetime) -> Firing:
        """Drop the fire times that passed while an execution of the event ran from `since` to `now`."""
        if not event.recurring:
            return Firing(None, event.next_execution)
        return firing.skip_until(self.trigger_of(event), event.next_execution, since, now, "overlap")

    def skip_paused(self, event: ScheduledEvent, now: datetime, *, but_latest: bool = False) -> Firing:
        """Drop every fire time of a recurring event up to `now`, which passed during a pause, or all but the latest,
        which runs; a one-time event stays due."""
        if not event.recurring:
            return Firing(None, event.next_execution)
        trigger = self.trigger_of(event)
        passed = firing.skip_until(trigger, event.next_execution, LONG_AGO, now, "paused")
        if not but_latest or not passed.missed:
            return passed
        remaining = None if event.max_executions is None else event.max_executions - event.fired_count
        return firing.run_the_latest(trigger, passed, remaining)

    def left_behind(self, event: ScheduledEvent, now: datetime) -> tuple[Missed, ...]:
        """The fire times of a recurring event that have passed without a start, and that its end leaves so."""
        if not event.recurring:
            return ()
        reason = "paused" if event.status == "paused" else "disabled"
        try:
            return firing.skip_until(self.trigger_of(event), event.next_execution, LONG_AGO, now, reason).missed
        except InvalidTrigger:
            return ()  # what cannot be read any more can be ended all the same


def upcoming(event: ScheduledEvent) -> Iterator[datetime]:
    """The fire times of an event from its next one on, as many as it may still fire; none where its schedule cannot be
    read."""
    moment = event.next_execution
    left = None if event.max_executions is None else event.max_executions - event.fired_count
    if moment is None or not event.recurring:
        yield from [] if moment is None else [moment]
        return
    try:
        trigger = trigger_from_spec(schedule_fields(event))  # not the cache's: the event may be one that is not stored
    except InvalidTrigger:
        return
    while moment is not None and left != 0:
        yield moment
        left = None if left is None else left - 1
        moment = trigger.next_after(moment)


def schedule_fields(event: ScheduledEvent) -> dict[str, Any]:
    """An event's schedule as the fields of a task: what `trigger_from_spec` takes, and what the door shows."""
    return {
        "schedule_time": event.anchor_time,
        "recurring": event.recurring,
        "interval_type": event.interval_type,
        "interval_value": event.interval_value,
        "cron_expression": event.cron_expression,
        "timezone": event.timezone,
        "end_time": event.end_time,
        **(event.trigger or {}),
    }
