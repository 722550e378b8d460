"""From an outcome to what follows: triggers, the retry policy and the state machine put together. No I/O."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from modules.core.scheduler.db_models import EventExecution, ScheduledEvent
from modules.core.scheduler.firing import ON_TIME, Firing
from modules.core.scheduler.lifecycle import Attempt, EventState, RetryPolicy, Settlement, settle
from modules.core.scheduler.outcomes import Outcome
from modules.core.scheduler.overlap import ALONE, Beside
from modules.core.scheduler.task_config import retry_policy
from modules.core.scheduler.trigger_manager import TriggerManager, counts_from_end, may_be_started
from modules.core.scheduler.triggers import InvalidTrigger
from modules.core.scheduler.triggers.base import LATEST


class Settler:
    """Decides what an outcome means for its event."""

    def __init__(self, triggers: TriggerManager, default_retry: RetryPolicy, rng: random.Random) -> None:
        self._triggers = triggers
        self._default_retry = default_retry
        self._rng = rng

    def __call__(
        self,
        event: ScheduledEvent,
        execution: EventExecution,
        outcome: Outcome,
        now: datetime,
        beside: Beside = ALONE,
    ) -> tuple[Settlement, Firing]:
        """The event's new status, the next attempt, and what becomes of the fire times that the run overlapped.

        Where the Firing has a `scheduled_for`, that occurrence waited for this end and runs now.
        """
        if event.overlap != "skip" or beside != ALONE:
            return self._settle_among_others(event, execution, outcome, now, beside)
        if counts_from_end(event) and execution.kind == "schedule":
            return self._count_from_end(event, execution, outcome, now)
        skipped = self._overlapped(event, execution, outcome, now)
        return self._settle(event, execution, outcome, now, skipped.next_execution), skipped

    def _settle(
        self,
        event: ScheduledEvent,
        execution: EventExecution,
        outcome: Outcome,
        now: datetime,
        next_execution: datetime | None,
    ) -> Settlement:
        state = EventState(
            status=event.status,  # type: ignore[arg-type]  # the table's check constraint holds it to the literal
            recurring=event.recurring,
            next_execution=next_execution,
            delivery=event.delivery,  # type: ignore[arg-type]
            retry=retry_policy(event.retry, self._default_retry),
            waits=may_be_started(event),
        )
        attempt = Attempt(
            execution.attempt, execution.failures, execution.abandonments, scheduled=execution.kind == "schedule"
        )
        if execution.cancel_requested:  # asked for and answered: it does not start again
            attempt = replace(attempt, final=True)
        return settle(state, attempt, outcome.state, now, self._rng)

    def _settle_among_others(
        self, event: ScheduledEvent, execution: EventExecution, outcome: Outcome, now: datetime, beside: Beside
    ) -> tuple[Settlement, Firing]:
        unchanged = Firing(None, event.next_execution)
        try:
            # A retry yields to the next fire time. What waits for this run to end is no reason to give it up.
            ahead = self._triggers.next_ahead(event, now)
            following = unchanged if beside.busy else self._following(event, execution, outcome, now, beside)
        except InvalidTrigger:
            ahead, following = event.next_execution, unchanged  # the next firing parks the event and says why
        settlement = self._settle(event, execution, outcome, now, ahead)
        if settlement.next_attempt is not None:
            return settlement, replace(following, scheduled_for=None) if outcome.state == "abandoned" else unchanged
        more = beside.busy or beside.waiting or following.scheduled_for or following.next_execution
        return Settlement(event.status if more else settlement.status, None), following  # type: ignore[arg-type]

    def _following(
        self, event: ScheduledEvent, execution: EventExecution, outcome: Outcome, now: datetime, beside: Beside
    ) -> Firing:
        if event.status != "pending":
            return Firing(None, event.next_execution)
        if outcome.state == "abandoned":
            # Nobody worked while a dead process was thought alive, or longer: those times are late.
            ended = execution.lease_expires_at
            if ended is None or now - ended <= ON_TIME:
                return Firing(None, event.next_execution)
            late = self._triggers.judge_late(event, now)
            return replace(late, scheduled_for=None, next_execution=late.scheduled_for or late.next_execution)
        return self._triggers.follow(event, now, waiting=beside.waiting[0] if beside.waiting else None)

    def _count_from_end(
        self, event: ScheduledEvent, execution: EventExecution, outcome: Outcome, ended: datetime
    ) -> tuple[Settlement, Firing]:
        """Only the last attempt's end sets the next fire time, so no retry has to yield to it."""
        following = event.next_execution
        with suppress(InvalidTrigger):  # the next firing parks the event and says why
            following = self._triggers.next_after_end(event, ended)
        settlement = self._settle(event, execution, outcome, ended, None if following is None else LATEST)
        return settlement, Firing(None, event.next_execution if settlement.next_attempt is not None else following)

    def _overlapped(self, event: ScheduledEvent, execution: EventExecution, outcome: Outcome, now: datetime) -> Firing:
        # Nobody worked while a dead process was thought alive: those times are late, not overlapped.
        if event.status != "pending" or outcome.state in ("abandoned", "interrupted"):
            return Firing(None, event.next_execution)
        try:
            return self._triggers.skip_overlapped(event, execution.start_time, now)
        except InvalidTrigger:
            return Firing(None, event.next_execution)  # the next firing parks the event and says why
