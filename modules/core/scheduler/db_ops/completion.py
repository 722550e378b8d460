"""Finish and recover: close executions, settle their events, make their next attempts, in one transaction.

A worker that lost its lease changes nothing: an execution is closed only while it is running under the fence that
the worker was given.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import and_, bindparam, case, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.errors import Unavailable
from modules.core.ids import new_id
from modules.core.scheduler.db_models import EventExecution, ScheduledEvent
from modules.core.scheduler.db_ops.base import EVENTS, EXECUTIONS, Statements, write
from modules.core.scheduler.db_ops.changes import Finished, Settle
from modules.core.scheduler.db_ops.missed import insert_missed
from modules.core.scheduler.db_ops.salvage import is_unreadable
from modules.core.scheduler.firing import Firing
from modules.core.scheduler.lifecycle import Settlement
from modules.core.scheduler.outcomes import Outcome

logger = logging.getLogger(__name__)

RECOVERED_AT_ONCE = 100

_CLOSE = (
    update(EXECUTIONS)
    .where(
        EXECUTIONS.c.id == bindparam("b_id"),
        EXECUTIONS.c.fence == bindparam("b_fence"),
        EXECUTIONS.c.state == "running",
    )
    .values(
        state=bindparam("b_state"),
        success=bindparam("b_success"),
        result=bindparam("b_result"),
        error=bindparam("b_error"),
        error_type=bindparam("b_error_type"),
        end_time=bindparam("b_end"),
        duration_ms=bindparam("b_duration"),
        cpu_ms=bindparam("b_cpu"),
        lease_expires_at=None,
    )
)
_SETTLE = (
    update(EVENTS)
    .where(EVENTS.c.id == bindparam("b_id"))
    .values(
        status=bindparam("b_status"),
        next_execution=bindparam("b_next"),
        active_execution_id=bindparam("b_active"),
        fence=bindparam("b_fence"),
        execution_count=bindparam("b_count"),
        last_execution=bindparam("b_last"),
        last_error=bindparam("b_error"),
    )
)


# What settling needs to know, and no more: it is read once for every execution.
_EXECUTION = tuple(
    EXECUTIONS.c[name]
    for name in (
        "id", "event_id", "start_time", "trace_session_id", "scheduled_for", "kind", "attempt", "failures",
        "abandonments", "fence",
    )
)  # fmt: skip
_EVENT = tuple(
    EVENTS.c[name]
    for name in (
        "id", "version", "recurring", "interval_type", "interval_value", "cron_expression", "trigger", "timezone",
        "anchor_time", "end_time", "next_execution", "status", "last_execution", "execution_count", "last_error",
        "active_execution_id", "fence", "delivery", "retry",
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
    @write
    async def complete_executions(
        self, connection: AsyncConnection, finished: Sequence[Finished], settle: Settle, now: datetime
    ) -> set[str]:
        """Record these outcomes. Returns the ids that were ours to record; the others had lost their lease."""
        wanted = {item.execution_id: item for item in finished}
        query = (
            select(*_EXECUTION)
            .where(EXECUTIONS.c.id.in_(sorted(wanted)), EXECUTIONS.c.state == "running")
            .order_by(EXECUTIONS.c.id)
            .with_for_update()
        )
        rows = cast(list[EventExecution], (await connection.execute(query)).all())
        mine = [(row, wanted[row.id]) for row in rows if row.fence == wanted[row.id].fence]
        await _close(connection, mine, settle, now)
        return {row.id for row, _ in mine}

    async def recover(self, node_id: str, alive: Collection[str], settle: Settle, now: datetime) -> list[str]:
        """Close executions whose lease ran out, at most 100 at once, and insert their next attempts; returns their ids.

        `alive` are the executions that this very node still runs: they are its own to close. One that cannot be read
        holds up no other: it is closed without a next attempt.
        """
        try:
            return await self._recover(node_id, alive, settle, now)
        except Unavailable:
            raise
        except Exception:
            logger.exception("a batch of executions could not be recovered; they are taken one by one")
            return await self._recover_one_by_one(node_id, alive, settle, now)

    @write
    async def _recover(
        self, connection: AsyncConnection, node_id: str, alive: Collection[str], settle: Settle, now: datetime
    ) -> list[str]:
        lost = await _lost_ids(connection, node_id, alive, now)
        await _abandon(connection, lost, settle, now)
        return lost

    @write
    async def _recover_one_by_one(
        self, connection: AsyncConnection, node_id: str, alive: Collection[str], settle: Settle, now: datetime
    ) -> list[str]:
        lost = await _lost_ids(connection, node_id, alive, now)
        for execution_id in lost:
            try:
                async with connection.begin_nested():
                    await _abandon(connection, [execution_id], settle, now)
            except Exception as error:
                # An IntegrityError: its next attempt is on record already, which nothing here can have written.
                if not isinstance(error, IntegrityError) and not is_unreadable(error):
                    raise
                logger.exception("execution %s cannot be recovered and is closed as abandoned", execution_id)
                await close_unreadable(connection, execution_id, "abandoned", now)
        return lost


async def close_unreadable(connection: AsyncConnection, execution_id: str, state: str, now: datetime) -> None:
    """End an execution without reading it or its event, so that it stands in nobody's way.

    The event goes on with its next fire time; where it has none left, it has failed.
    """
    reason = "This execution could not be read from the database; the log has the reason."
    await connection.execute(
        update(EXECUTIONS)
        .where(EXECUTIONS.c.id == execution_id)
        .values(state=state, success=False, end_time=now, error=reason, error_type="storage", lease_expires_at=None)
    )
    over = and_(EVENTS.c.status == "pending", EVENTS.c.next_execution.is_(None))
    await connection.execute(
        update(EVENTS)
        .where(EVENTS.c.active_execution_id == execution_id)
        .values(active_execution_id=None, status=case((over, "failed"), else_=EVENTS.c.status), last_error=reason)
    )


async def _lost_ids(connection: AsyncConnection, node_id: str, alive: Collection[str], now: datetime) -> list[str]:
    query = (
        select(EXECUTIONS.c.id, EXECUTIONS.c.node_id)
        .where(EXECUTIONS.c.state == "running", EXECUTIONS.c.lease_expires_at < now)
        .order_by(EXECUTIONS.c.lease_expires_at)
        .limit(RECOVERED_AT_ONCE + len(alive))
        .with_for_update(skip_locked=True)
    )
    rows = await connection.execute(query)
    return sorted(row.id for row in rows if not (row.node_id == node_id and row.id in alive))


async def _abandon(connection: AsyncConnection, execution_ids: Sequence[str], settle: Settle, now: datetime) -> None:
    if not execution_ids:
        return
    query = select(*_EXECUTION).where(EXECUTIONS.c.id.in_(execution_ids)).order_by(EXECUTIONS.c.id)
    rows = cast(list[EventExecution], (await connection.execute(query)).all())
    await _close(connection, [(row, _abandoned(row, now)) for row in rows], settle, now)


async def _close(
    connection: AsyncConnection,
    closing: Sequence[tuple[EventExecution, Finished]],
    settle: Settle,
    now: datetime,
) -> None:
    if not closing:
        return
    drafts = await _drafts(connection, {row.event_id for row, _ in closing})
    attempts: list[dict[str, Any]] = []
    missed: list[tuple[str, Firing]] = []
    for row, finished in closing:
        draft = drafts[row.event_id]
        outcome = finished.outcome
        settlement, skipped = _settled(settle, draft.event, row, outcome, now)
        draft.status = settlement.status
        draft.next_execution = skipped.next_execution
        draft.last_execution = row.start_time
        if outcome.state != "interrupted":  # that one is no attempt: it starts again
            draft.count += 1
            draft.last_error = None if outcome.state == "succeeded" else outcome.error
        draft.fence += 1
        following = new_id() if settlement.next_attempt else None
        if draft.active == row.id:
            draft.active = following
        missed.append((row.event_id, skipped))
        if following and settlement.next_attempt:
            attempts.append(
                {
                    "id": following,
                    "event_id": row.event_id,
                    "start_time": settlement.next_attempt.run_at,
                    "trace_session_id": row.trace_session_id,
                    "scheduled_for": row.scheduled_for,
                    "kind": row.kind,
                    "attempt": settlement.next_attempt.number,
                    "failures": settlement.next_attempt.failures,
                    "abandonments": settlement.next_attempt.abandonments,
                    "state": "ready",
                    "run_at": settlement.next_attempt.run_at,
                    "fence": draft.fence,
                }
            )
    await connection.execute(_CLOSE, [_closed_row(row, finished) for row, finished in closing])
    await connection.execute(_SETTLE, [_settled_row(draft) for draft in drafts.values()])
    if attempts:
        await connection.execute(insert(EXECUTIONS), attempts)
    await insert_missed(connection, missed, now)


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


def _closed_row(row: EventExecution, finished: Finished) -> dict[str, Any]:
    return {
        "b_id": row.id,
        "b_fence": row.fence,
        "b_state": finished.outcome.state,
        "b_success": finished.outcome.state == "succeeded",
        "b_result": finished.outcome.result,
        "b_error": finished.outcome.error,
        "b_error_type": finished.outcome.error_type,
        "b_end": finished.end_time,
        "b_duration": finished.duration_ms,
        "b_cpu": finished.cpu_ms,
    }


def _settled_row(draft: _EventDraft) -> dict[str, Any]:
    return {
        "b_id": draft.event.id,
        "b_status": draft.status,
        "b_next": draft.next_execution,
        "b_active": draft.active,
        "b_fence": draft.fence,
        "b_count": draft.count,
        "b_last": draft.last_execution,
        "b_error": draft.last_error,
    }


def _abandoned(row: EventExecution, now: datetime) -> Finished:
    outcome = Outcome(
        "abandoned",
        error="The process that ran this ended without a word; its lease ran out.",
        error_type="abandoned",
    )
    elapsed = (now - row.start_time) / timedelta(milliseconds=1)
    return Finished(row.id, row.fence, outcome, now, max(0.0, elapsed), None)
