"""When events fire: the triggers of stored events, and the questions the specification asks of a clock."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from modules.core.clock import Clock, host_timezone_of
from modules.core.scheduler import firing
from modules.core.scheduler.firing import (
    CATCH_UP_LIMIT,
    Firing,
    LateRules,
    Missed,
    Start,
    jittered,
    no_jitter,
)
from modules.core.scheduler.triggers import InvalidTrigger, Trigger, trigger_from_spec

if TYPE_CHECKING:
    from modules.core.app_context import AppContext
    from modules.core.scheduler.db_models import ScheduledEvent
    from modules.core.scheduler.runtime import Runtime

CACHED_TRIGGERS = 10_000
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class TriggerManager:
    """Pure triggers plus the scheduler's clock."""

    def __init__(self, app_context: AppContext) -> None:
        self._runtime: Runtime = app_context.get_service("core.scheduler.runtime")
        self._clock: Clock = self._runtime.clock
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
        fired = self._decide(event, now)
        since = self._runtime.back_since
        return fired if since is None else firing.spread(fired, event.id, since)

    def _decide(self, event: ScheduledEvent, now: datetime) -> Firing:
        due, rules, starts = event.next_execution or now, late_rules(event), self._starts(event)
        if not event.recurring:
            return firing.decide_once(due, now, rules, event.fired_count, event.max_executions, starts)
        if counts_from_end(event):
            following = self.trigger_of(event).next_after(now)
            return firing.decide_after_end(following, due, now, rules, remaining=_remaining(event), starts=starts)
        return firing.decide(self.trigger_of(event), due, now, rules, remaining=_remaining(event), starts=starts)

    def overdue(self, event: ScheduledEvent, now: datetime) -> tuple[int, int]:
        """How many fire times of a due event have come, and how many of them run. None and none for a row that no
        longer makes sense."""
        try:
            fired = self._decide(event, now)
            if not event.recurring or counts_from_end(event):
                came = int(bool(fired.scheduled_for or fired.missed))
                return came, int(fired.scheduled_for is not None)
            trigger, due = self.trigger_of(event), event.next_execution or now
            came = max(1, trigger.count_between(due - firing.TICK, now))
            return came, min(came, firing.runs_of(trigger, fired, now, _remaining(event)))
        except InvalidTrigger:
            return 0, 0

    def start_of(self, event: ScheduledEvent, nominal: datetime) -> datetime:
        """When this fire time should start: later by its jitter."""
        try:
            return self._starts(event)(nominal)
        except InvalidTrigger:
            return nominal

    def _starts(self, event: ScheduledEvent) -> Start:
        return jittered(self.trigger_of(event), event.id, event.jitter_s) if event.jitter_s else no_jitter

    def next_after_end(self, event: ScheduledEvent, ended: datetime) -> datetime | None:
        """When an event is due again whose fire times count from the end of the last attempt; None: it is over."""
        return None if event.next_execution is None else self.trigger_of(event).next_after(ended)

    def skip_overlapped(self, event: ScheduledEvent, since: datetime, now: datetime) -> Firing:
        """Drop the fire times that passed while an execution of the event ran from `since` to `now`."""
        if not event.recurring or counts_from_end(event):
            return Firing(None, event.next_execution)
        return firing.skip_until(self.trigger_of(event), event.next_execution, since, now, "overlap")

    def skip_paused(self, event: ScheduledEvent, now: datetime, *, but_latest: bool = False) -> Firing:
        """Drop every fire time of a recurring event up to `now`, which passed during a pause, or all but the latest,
        which runs; a one-time event stays due."""
        if not event.recurring or is_under_way(event):
            return Firing(None, event.next_execution)
        trigger = self.trigger_of(event)
        passed = firing.skip_until(trigger, event.next_execution, LONG_AGO, now, "paused")
        if not but_latest or not passed.missed:
            return passed
        return firing.run_the_latest(trigger, passed, _remaining(event))

    def left_behind(self, event: ScheduledEvent, now: datetime) -> tuple[Missed, ...]:
        """The fire times of a recurring event that have passed without a start, and that its end leaves so."""
        if not event.recurring or is_under_way(event):
            return ()
        reason = "paused" if event.status == "paused" else "disabled"
        try:
            return firing.skip_until(self.trigger_of(event), event.next_execution, LONG_AGO, now, reason).missed
        except InvalidTrigger:
            return ()  # what cannot be read any more can be ended all the same


def upcoming(event: ScheduledEvent) -> Iterator[datetime]:
    """The fire times of an event from its next one on, as many as it may still fire; none where its schedule cannot be
    read."""
    moment, left = event.next_execution, _remaining(event)
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


def late_rules(event: ScheduledEvent) -> LateRules:
    """What a stored event wants done about fire times that cannot start on time."""
    return LateRules(
        catch_up=event.catch_up,
        max_lateness=None if event.max_lateness_s is None else timedelta(seconds=event.max_lateness_s),
        limit=event.catch_up_limit or CATCH_UP_LIMIT,
        expires_at=event.expires_at,
    )


def _remaining(event: ScheduledEvent) -> int | None:
    """How often it may still fire; None is no limit."""
    return None if event.max_executions is None else event.max_executions - event.fired_count


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
        "jitter_seconds": event.jitter_s,
        "on_event": event.on_event,
        **(event.trigger or {}),
    }


def counts_from_end(event: ScheduledEvent) -> bool:
    """Whether the end of each run sets its next fire time. While one is under way, next_execution is the soonest that
    can be, and passes without a verdict."""
    return event.recurring and (event.trigger or {}).get("mode") == "fixed_delay"


def is_under_way(event: ScheduledEvent) -> bool:
    """Whether the event's next fire time is not known, since it counts from the end of a run that goes on."""
    return counts_from_end(event) and event.active_execution_id is not None


def waits_for_event(event: ScheduledEvent) -> bool:
    """Whether something that happens starts it, and no clock: it has no next execution while it waits."""
    return event.on_event is not None or event.on_task_id is not None
