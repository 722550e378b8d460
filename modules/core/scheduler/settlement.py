"""From an outcome to what follows: triggers, the retry policy and the state machine put together. No I/O."""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import datetime

from modules.core.scheduler.db_models import EventExecution, ScheduledEvent
from modules.core.scheduler.firing import Firing
from modules.core.scheduler.lifecycle import Attempt, EventState, RetryPolicy, Settlement, settle
from modules.core.scheduler.outcomes import Outcome
from modules.core.scheduler.task_config import retry_policy
from modules.core.scheduler.trigger_manager import TriggerManager, counts_from_end
from modules.core.scheduler.triggers import InvalidTrigger
from modules.core.scheduler.triggers.base import LATEST


class Settler:
    """Decides what an outcome means for its event."""

    def __init__(self, triggers: TriggerManager, default_retry: RetryPolicy, rng: random.Random) -> None:
        self._triggers = triggers
        self._default_retry = default_retry
        self._rng = rng

    def __call__(
        self, event: ScheduledEvent, execution: EventExecution, outcome: Outcome, now: datetime
    ) -> tuple[Settlement, Firing]:
        """The event's new status, the next attempt, and the fire times that the run overlapped."""
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
        )
        attempt = Attempt(
            execution.attempt, execution.failures, execution.abandonments, scheduled=execution.kind == "schedule"
        )
        return settle(state, attempt, outcome.state, now, self._rng)

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
