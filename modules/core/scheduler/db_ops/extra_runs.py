"""Runs beside the schedule: by hand, for an event, for a backfill. The overlap policy says what becomes of one."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.scheduler.db_models import ScheduledEvent
from modules.core.scheduler.db_ops.base import EXECUTIONS
from modules.core.scheduler.db_ops.changes import NewExecution
from modules.core.scheduler.db_ops.lanes import SUPERSEDED, ask_to_end, close_unstarted, open_in_lane
from modules.core.scheduler.overlap import WAITS, Extra, extra_run, lane


def place_of(event: ScheduledEvent, now: datetime) -> Extra:
    """Where a run of this event, as it is now, goes beside its schedule. Pure."""
    active = event.active_execution_id is not None
    return extra_run(
        event.overlap,
        open_runs=active + event.others_open,
        waiting=event.others_open,
        due=event.next_execution if event.recurring and event.status == "pending" else None,
        now=now,
    )


async def add_run(
    connection: AsyncConnection, event: ScheduledEvent, run: NewExecution, now: datetime
) -> tuple[NewExecution, dict[str, Any], tuple[str, ...]]:
    """Insert a run; returns it with the place that it has got, the event's columns that change, and who was asked to
    end."""
    place, active, others = run.place, event.active_execution_id, event.others_open
    asked: tuple[str, ...] = ()
    if run.cancels:
        rows = {row.id: row for row in await open_in_lane(connection, event.id)}
        # What has not started, those that waited included, makes room at once.
        ids = {*rows, active} - {None}
        closed = set(await close_unstarted(connection, ids, SUPERSEDED, now))
        asked = tuple(await ask_to_end(connection, ids - closed))
        active = None if active in closed else active
        others = len(rows.keys() - closed - {active})
        place = "behind" if asked else "beside"
    fence = event.fence + 1
    if place == "active":
        active = run.id
    else:
        others += 1
    await connection.execute(
        insert(EXECUTIONS).values(
            id=run.id,
            event_id=event.id,
            start_time=run.run_at,
            trace_session_id=run.trace_session_id,
            scheduled_for=run.scheduled_for,
            kind=run.kind,
            attempt=run.attempt,
            failures=run.failures,
            abandonments=run.abandonments,
            state="ready",
            run_at=WAITS if place == "behind" else run.run_at,
            priority=event.priority,
            fence=fence,
            overlap_key=lane(event.overlap, event.id),
            parameters=run.parameters,
            actor=run.actor,
        )
    )
    return replace(run, place=place), {"fence": fence, "active_execution_id": active, "others_open": others}, asked
