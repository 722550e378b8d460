"""What runs next when an execution has ended: a fire time that passed meanwhile, or a run that waits behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.ids import new_id
from modules.core.scheduler.db_models import EventExecution, ScheduledEvent
from modules.core.scheduler.db_ops.base import EXECUTIONS
from modules.core.scheduler.db_ops.lanes import CALL_UP, SUPERSEDED, Waiting, close_unstarted, waiting_behind
from modules.core.scheduler.overlap import Beside, lane, runs_beside


@dataclass(slots=True)
class EventDraft:
    """An event's columns as they will be written; several of its executions may end in one batch."""

    event: ScheduledEvent
    status: str
    next_execution: datetime | None
    active: str | None
    others: int
    fired: int
    fence: int
    count: int
    last_execution: datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class _Next:
    """A fire time whose run begins now."""

    draft: EventDraft
    id: str
    scheduled_for: datetime
    fence: int


class Followers:
    """Runs that wait behind those of these events, and what is decided about them."""

    def __init__(self, waiting: Mapping[str, list[Waiting]]) -> None:
        self._waiting = waiting
        self._next: list[_Next] = []
        self._called_up: list[tuple[str, int]] = []
        self._superseded: list[str] = []

    @classmethod
    async def of(cls, connection: AsyncConnection, drafts: Mapping[str, EventDraft]) -> Followers:
        """Reads nothing where no event has others open."""
        return cls(await waiting_behind(connection, [key for key, draft in drafts.items() if draft.others]))

    def beside(self, draft: EventDraft, execution_id: str) -> Beside:
        """What is open of the event besides this execution, which ends."""
        waiting = [one for one in self._waiting.get(draft.event.id, ()) if one.id != execution_id]
        others = draft.others - (draft.active != execution_id)
        busy = draft.active not in (None, execution_id) or others > len(waiting)
        return Beside(busy, tuple(one.scheduled_for for one in waiting))

    def follow(self, draft: EventDraft, ended: EventExecution, scheduled_for: datetime | None) -> bool:
        """Let `scheduled_for` run next, or else whoever waits; False where nothing does."""
        waiting = [one for one in self._waiting.get(draft.event.id, ()) if one.id != ended.id]
        if scheduled_for is not None:
            if draft.event.overlap == "cancel_running":
                self._superseded += [one.id for one in waiting]
                draft.others -= len(waiting)
            draft.fence += 1
            self._next.append(_Next(draft, new_id(), scheduled_for, draft.fence))
            draft.fired += 1
            self._take_place(draft, self._next[-1].id)
            return True
        if not waiting:
            return False
        draft.fence += 1
        draft.others -= 1
        self._called_up.append((waiting[0].id, draft.fence))
        self._take_place(draft, waiting[0].id)
        return True

    def _take_place(self, draft: EventDraft, execution_id: str) -> None:
        if runs_beside(draft.event.overlap):
            draft.others += 1
        else:
            draft.active = execution_id

    async def rows(self, connection: AsyncConnection, now: datetime) -> list[tuple[Any, ...]]:
        """Write what was decided about those that waited; returns the rows of the new executions.

        A fire time that is on record already (a clock was set back) is left to the next firing, which notices too.
        """
        await CALL_UP(connection, [(execution_id, now, now, fence) for execution_id, fence in self._called_up])
        await close_unstarted(connection, self._superseded, SUPERSEDED, now)
        if not self._next:
            return []
        wanted = [(one.draft.event.id, one.scheduled_for) for one in self._next]
        query = select(EXECUTIONS.c.event_id, EXECUTIONS.c.scheduled_for).where(
            tuple_(EXECUTIONS.c.event_id, EXECUTIONS.c.scheduled_for).in_(wanted), EXECUTIONS.c.kind == "schedule"
        )
        there = {(row.event_id, row.scheduled_for) for row in await connection.execute(query)}
        rows = []
        for one in self._next:
            if (one.draft.event.id, one.scheduled_for) in there:
                self._leave_to_firing(one)
            else:
                rows.append(_row(one, now))
        return rows

    def _leave_to_firing(self, one: _Next) -> None:
        draft = one.draft
        draft.fired -= 1
        draft.status, draft.next_execution = draft.event.status, one.scheduled_for
        if draft.active == one.id:
            draft.active = None
        else:
            draft.others -= 1


def _row(one: _Next, now: datetime) -> tuple[Any, ...]:
    event = one.draft.event
    return (
        one.id,
        event.id,
        now,
        event.trace_session_id,
        one.scheduled_for,
        "schedule",
        1,
        0,
        0,
        "ready",
        now,
        event.priority,
        one.fence,
        False,
        None,
        None,
        None,
        lane(event.overlap, event.id),
    )
