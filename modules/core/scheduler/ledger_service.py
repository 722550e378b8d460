"""The part of the service that answers what became of a task's fire times."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from modules.core.result import returns_result
from modules.core.scheduler.cursors import from_position, to_position
from modules.core.scheduler.db_models import ScheduledEvent
from modules.core.scheduler.db_ops import LedgerWindow
from modules.core.scheduler.errors import InvalidTask
from modules.core.scheduler.ledger import Page, page_of
from modules.core.scheduler.questions import moment_of, page_size, task_id_of
from modules.core.scheduler.runtime import Runtime
from modules.core.scheduler.trigger_manager import TriggerManager
from modules.core.scheduler.triggers import InvalidTrigger, Trigger


class LedgerService:
    """The ledger; the service builds what this asks."""

    _runtime: Runtime
    trigger_manager: TriggerManager

    @returns_result
    async def occurrences(
        self,
        task_id: str,
        from_: datetime | str | None = None,
        until: datetime | str | None = None,
        *,
        limit: int = 50,
        cursor: str | None = None,
        newest_first: bool = True,
        expand: bool = False,
    ) -> dict[str, Any]:
        """Each nominal fire time with its one verdict; data `{"task_id", "occurrences": [...], "next_cursor"}`.

        `from_` and `until` are inclusive: datetimes or ISO 8601 text, naive ones in the task's timezone. Without
        `until` the past is shown, and the next fire time. Fire times that share a verdict are one entry with a `count`,
        however many they are; with `expand` each has one of its own, as long as the schedule is the one that made them.
        A cursor goes with the arguments of the answer that it came from.
        """
        event = await self._runtime.db_ops.get_task(task_id_of(task_id))
        zone = _zone_of(event)
        low, high = moment_of(from_, "from", zone), moment_of(until, "until", zone)
        if low is not None and high is not None and high < low:
            raise InvalidTask("until lies before from: exchange them, or leave one out.")
        at, shown = from_position(cursor)
        page = Page(low, high, newest_first, page_size(limit), at, shown, expand)
        window = LedgerWindow(
            page.first,
            page.last,
            newest_first,
            page.rows,
            covering=expand or newest_first or at is None,
        )
        rows = await self._runtime.db_ops.ledger(task_id, window)
        entries, following = page_of(
            page, event, self._trigger_or_none(event), rows.attempts, rows.missed, self._runtime.clock.now()
        )
        return {
            "task_id": task_id,
            "occurrences": [entry.to_dict() for entry in entries],
            "next_cursor": None if following is None else to_position(*following),
        }

    def _trigger_or_none(self, event: ScheduledEvent) -> Trigger | None:
        try:
            return self.trigger_manager.trigger_of(event)
        except InvalidTrigger:
            return None


def _zone_of(event: ScheduledEvent) -> ZoneInfo:
    try:
        return ZoneInfo(event.timezone)
    except (ValueError, KeyError, OSError):
        return ZoneInfo("UTC")
