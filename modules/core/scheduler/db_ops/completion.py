"""Finish: close executions, settle their events, make their next attempts, in one transaction.

A worker that lost its lease changes nothing: an execution is closed only while it is running under the fence that
the worker was given.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, and_, case, literal_column, null, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.column_types import UtcDateTime
from modules.core.ids import new_id
from modules.core.scheduler.db_models import EventExecution, ScheduledEvent
from modules.core.scheduler.db_ops.base import EVENTS, EXECUTIONS, Statements, write_in_lane
from modules.core.scheduler.db_ops.changes import Finished, Recorded, Settle
from modules.core.scheduler.db_ops.many_rows import InsertRows, UpdateRows
from modules.core.scheduler.db_ops.missed import insert_missed
from modules.core.scheduler.firing import Firing
from modules.core.scheduler.lifecycle import NextAttempt, Settlement
from modules.core.scheduler.outcomes import Outcome

logger = logging.getLogger(__name__)

_CLOSED: Final[dict[str, str | ColumnElement[Any]]] = {
    "state": "state",
    "success": "success",
    "result": "result",
    "error": "error",
    "error_type": "error_type",
    "start_time": "start",
    "end_time": "end",
    "duration_ms": "duration",
    "cpu_ms": "cpu",
    "lateness_ms": "late",
    "lease_expires_at": null(),
}
_CLOSE = UpdateRows(
    EXECUTIONS, _CLOSED, same_as={"fence": "fence"}, where=lambda _: [EXECUTIONS.c.state == literal_column("'running'")]
)
_SETTLE = UpdateRows(
    EVENTS,
    {
        "status": "status",
        "next_execution": "next",
        "active_execution_id": "active",
        "fence": "fence",
        "execution_count": "count",
        "last_execution": "last",
        "last_error": "error",
    },
)
# What a success does to its event where nothing else has to be decided: its fire times lie ahead.
_SETTLE_SUCCESS = UpdateRows(
    EVENTS,
    {
        "status": case(
            (
                and_(EVENTS.c.status == literal_column("'pending'"), EVENTS.c.next_execution.is_(None)),
                literal_column("'completed'"),
            ),
            else_=EVENTS.c.status,
        ),
        "active_execution_id": null(),
        "fence": EVENTS.c.fence + literal_column("1"),
        "execution_count": EVENTS.c.execution_count + literal_column("1"),
        "last_execution": "last",
        "last_error": null(),
    },
    same_as={"active_execution_id": "active"},
    where=lambda same: [
        or_(
            EVENTS.c.next_execution.is_(None),
            EVENTS.c.next_execution > same["now"],
            EVENTS.c.recurring.is_(False),
        )
    ],
    same={"now": UtcDateTime()},
)
_ATTEMPT = InsertRows(
    EXECUTIONS,
    (
        "id", "event_id", "start_time", "trace_session_id", "scheduled_for", "kind", "attempt", "failures",
        "abandonments", "state", "run_at", "priority", "fence", "cancel_requested", "parameters", "cause", "actor",
    ),
)  # fmt: skip


# What settling needs to know, and no more: it is read once for every execution.
EXECUTION_COLUMNS = tuple(
    EXECUTIONS.c[name]
    for name in (
        "id", "event_id", "start_time", "trace_session_id", "scheduled_for", "kind", "attempt", "failures",
        "abandonments", "fence", "lateness_ms", "parameters", "cause", "actor",
    )
)  # fmt: skip
_EVENT = tuple(
    EVENTS.c[name]
    for name in (
        "id", "version", "recurring", "interval_type", "interval_value", "cron_expression", "trigger", "timezone",
        "anchor_time", "end_time", "next_execution", "status", "last_execution", "execution_count", "last_error",
        "active_execution_id", "fence", "delivery", "retry", "priority", "jitter_s", "on_event", "on_task_id",
    )
)  # fmt: skip


@dataclass(slots=True)
class _EventDraft:
    """An event's columns as they will be written; several of its executions may end in one batch."""

    event: ScheduledEvent
    status: str
    next_execution: datetime | None
    active: str | None
    fence: int
    count: int
    last_execution: datetime | None
    last_error: str | None


class CompletionStatements(Statements):
    async def complete_executions(self, finished: Sequence[Finished], settle: Settle, now: datetime) -> Recorded:
        """Record these outcomes. Those not among the ids returned had lost their lease: nothing was changed."""
        plain = all(item.outcome.state == "succeeded" and not item.sets_next for item in finished)
        if plain and len({item.event_id for item in finished}) == len(finished):
            try:
                await self._complete_successes(finished, now)
            except _NotSoPlain:
                pass
            else:
                return Recorded({item.execution_id for item in finished})
        return await self._complete(finished, settle, now)

    @write_in_lane("completion")
    async def _complete_successes(
        self, connection: AsyncConnection, finished: Sequence[Finished], now: datetime
    ) -> None:
        """Two statements that read nothing first. What `_complete` would have to look at makes them match fewer rows;
        then nothing is changed, and _NotSoPlain is raised."""
        ordered = sorted(finished, key=lambda item: item.execution_id)
        closed = await _CLOSE(connection, [_closed_row(item) for item in ordered])
        settled = await _SETTLE_SUCCESS(
            connection,
            [(item.event_id, item.execution_id, item.start_time) for item in ordered],
            now=now,
        )
        if closed != len(ordered) or settled != len(ordered):
            raise _NotSoPlain

    @write_in_lane("completion")
    async def _complete(
        self, connection: AsyncConnection, finished: Sequence[Finished], settle: Settle, now: datetime
    ) -> Recorded:
        wanted = {item.execution_id: item for item in finished}
        query = (
            select(*EXECUTION_COLUMNS)
            .where(EXECUTIONS.c.id.in_(sorted(wanted)), EXECUTIONS.c.state == "running")
            .order_by(EXECUTIONS.c.id)
            .with_for_update()
        )
        rows = cast(list[EventExecution], (await connection.execute(query)).all())
        mine = [(row, wanted[row.id]) for row in rows if row.fence == wanted[row.id].fence]
        next_due = await close(connection, mine, settle, now)
        return Recorded({row.id for row, _ in mine}, next_due)


class _NotSoPlain(Exception):
    """Something arrived meanwhile that has to be looked at: a lost lease, an overlap, a change of the task."""


async def close(
    connection: AsyncConnection,
    closing: Sequence[tuple[EventExecution, Finished]],
    settle: Settle,
    now: datetime,
) -> datetime | None:
    """Close these executions and settle their events; returns when what follows is due first."""
    if not closing:
        return None
    drafts = await _drafts(connection, {row.event_id for row, _ in closing})
    attempts: list[tuple[Any, ...]] = []
    missed: list[tuple[str, Firing]] = []
    moments: list[datetime | None] = []
    for row, finished in closing:
        draft = drafts[row.event_id]
        outcome = finished.outcome
        settlement, skipped = _settled(
            settle, draft.event, row, outcome, finished.end_time if finished.sets_next else now
        )
        draft.status = settlement.status
        draft.next_execution = skipped.next_execution
        draft.last_execution = finished.start_time
        if outcome.state != "interrupted":  # that one is no attempt: it starts again
            draft.count += 1
            draft.last_error = None if outcome.state == "succeeded" else outcome.error
        draft.fence += 1
        following = new_id() if settlement.next_attempt else None
        if draft.active == row.id:
            draft.active = following
        missed.append((row.event_id, skipped))
        if following and settlement.next_attempt:
            attempts.append(_attempt_row(row, following, settlement.next_attempt, draft))
            moments.append(settlement.next_attempt.run_at)
        elif draft.status == "pending":
            moments.append(draft.next_execution)
    await _CLOSE(connection, [_closed_row(finished) for _, finished in closing])
    await _SETTLE(connection, [_settled_row(draft) for draft in drafts.values()])
    await _ATTEMPT(connection, attempts)
    await insert_missed(connection, missed, now)
    return min((moment for moment in moments if moment is not None), default=None)


def _settled(
    settle: Settle, event: ScheduledEvent, row: EventExecution, outcome: Outcome, now: datetime
) -> tuple[Settlement, Firing]:
    """What follows; where that cannot be told, the event is paused, so that one bad row stops no other's recording."""
    try:
        return settle(event, row, outcome, now)
    except Exception:
        logger.exception("what follows from execution %s of task %s cannot be told", row.id, event.id)
        status = "paused" if event.status == "pending" else event.status
        return Settlement(status, None), Firing(None, event.next_execution)  # type: ignore[arg-type]


async def _drafts(connection: AsyncConnection, event_ids: Iterable[str]) -> dict[str, _EventDraft]:
    query = select(*_EVENT).where(EVENTS.c.id.in_(sorted(event_ids))).order_by(EVENTS.c.id).with_for_update()
    return {
        event.id: _EventDraft(
            event=cast(ScheduledEvent, event),
            status=event.status,
            next_execution=event.next_execution,
            active=event.active_execution_id,
            fence=event.fence,
            count=event.execution_count,
            last_execution=event.last_execution,
            last_error=event.last_error,
        )
        for event in await connection.execute(query)
    }


def _closed_row(finished: Finished) -> tuple[Any, ...]:
    outcome = finished.outcome
    return (
        finished.execution_id,
        finished.fence,
        outcome.state,
        outcome.state == "succeeded",
        outcome.result,
        outcome.error,
        outcome.error_type,
        finished.start_time,
        finished.end_time,
        finished.duration_ms,
        finished.cpu_ms,
        finished.lateness_ms,
    )


def _settled_row(draft: _EventDraft) -> tuple[Any, ...]:
    return (
        draft.event.id,
        draft.status,
        draft.next_execution,
        draft.active,
        draft.fence,
        draft.count,
        draft.last_execution,
        draft.last_error,
    )


def _attempt_row(row: EventExecution, attempt_id: str, attempt: NextAttempt, draft: _EventDraft) -> tuple[Any, ...]:
    return (
        attempt_id,
        row.event_id,
        attempt.run_at,
        row.trace_session_id,
        row.scheduled_for,
        row.kind,
        attempt.number,
        attempt.failures,
        attempt.abandonments,
        "ready",
        attempt.run_at,
        draft.event.priority,
        draft.fence,
        False,
        row.parameters,
        row.cause,
        row.actor,
    )
