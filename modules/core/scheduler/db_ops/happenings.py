"""What happens starts tasks: published events, and ends of other tasks. Whatever starts is on record with its cause."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.ids import new_id
from modules.core.scheduler.db_models import ScheduledEvent
from modules.core.scheduler.db_ops.base import EVENTS, EXECUTIONS, Statements, write
from modules.core.scheduler.db_ops.many_rows import InsertRows, UpdateRows
from modules.core.scheduler.db_ops.missed import insert_missed
from modules.core.scheduler.db_ops.salvage import damaged_columns, readable_rows
from modules.core.scheduler.firing import TICK, Firing, Missed
from modules.core.scheduler.happenings import Happening, ended, is_waited_for, why_missed

IDS_AT_ONCE: Final = 500
_MAY_START: Final = [EVENTS.c.status.in_([literal_column("'pending'"), literal_column("'paused'")])]

_STARTED = UpdateRows(EVENTS, {"fence": "fence", "active_execution_id": "active", "fired_count": "fired"})
_READY = InsertRows(
    EXECUTIONS,
    (
        "id", "event_id", "start_time", "trace_session_id", "scheduled_for", "kind", "attempt", "failures",
        "abandonments", "state", "run_at", "priority", "fence", "cancel_requested", "cause", "actor",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Started:
    """How many tasks something started, and how many it would have, which have it on record as missed."""

    started: int
    missed: int


@dataclass(slots=True)
class _Draft:
    """An event's columns as they will be written, and the last moment for which it has a run of this kind."""

    event: ScheduledEvent
    active: str | None
    fired: int
    fence: int
    last: datetime | None


class HappeningStatements(Statements):
    @write
    async def publish(
        self, connection: AsyncConnection, name: str, happening: Happening, now: datetime, session_id: str
    ) -> Started:
        """Start the tasks that wait for events of this name, all in one transaction."""
        query = select(EVENTS).where(EVENTS.c.on_event.is_not(None), EVENTS.c.on_event == name, *_MAY_START)
        events = await readable_rows(connection, query.order_by(EVENTS.c.id).with_for_update(), EVENTS)
        return await _start(connection, [(event, happening) for event in events], now, session_id)


async def start_after(connection: AsyncConnection, ends: Sequence[tuple[str, str, str]], now: datetime) -> Started:
    """Start the tasks that wait for these ends: task, execution, and the state in which it ended for good."""
    happened: list[tuple[ScheduledEvent, Happening]] = []
    watched = sorted({task_id for task_id, _, _ in ends})
    query = select(EVENTS).where(EVENTS.c.on_task_id.is_not(None), EVENTS.c.on_task_id.in_(watched), *_MAY_START)
    for event in await readable_rows(connection, query.order_by(EVENTS.c.id).with_for_update(), EVENTS):
        wanted = (event.trigger or {}).get("on_task")
        outcome = wanted.get("outcome") if isinstance(wanted, dict) else None
        happened += [
            (event, ended(task_id, execution_id, state))
            for task_id, execution_id, state in ends
            if task_id == event.on_task_id and is_waited_for(outcome, state)
        ]
    return await _start(connection, happened, now, None)


async def _start(
    connection: AsyncConnection,
    happened: Sequence[tuple[ScheduledEvent, Happening]],
    now: datetime,
    session_id: str | None,
) -> Started:
    if not happened:
        return Started(0, 0)
    lasts = await _last_moments(connection, {event.id for event, _ in happened}, now)
    drafts: dict[str, _Draft] = {}
    runs: list[tuple[Any, ...]] = []
    missed: list[tuple[str, Firing]] = []
    for event, happening in happened:
        draft = drafts.get(event.id) or _Draft(
            event, event.active_execution_id, event.fired_count, event.fence, lasts.get(event.id)
        )
        drafts[event.id] = draft
        span = _unreadable(event, now) or why_missed(event, draft.active, draft.fired, now)
        if span is not None:
            missed.append((event.id, Firing(None, None, (span,))))
            continue
        # Two of them may come in one moment: each is an occurrence of its own.
        draft.last = now if draft.last is None else max(now, draft.last + TICK)
        draft.active, draft.fired, draft.fence = new_id(), draft.fired + 1, draft.fence + 1
        runs.append(_run(draft, happening, now, session_id))
    await _READY(connection, runs)
    changed = [draft for draft in drafts.values() if draft.fence != draft.event.fence]
    await _STARTED(connection, [(draft.event.id, draft.fence, draft.active, draft.fired) for draft in changed])
    await insert_missed(connection, missed, now)
    return Started(len(runs), len(missed))


def _unreadable(event: ScheduledEvent, now: datetime) -> Missed | None:
    if damaged := damaged_columns(event):
        return Missed(now, now, 1, "disabled", f"the task cannot be read in full: {', '.join(damaged)}")
    return None


def _run(draft: _Draft, happening: Happening, now: datetime, session_id: str | None) -> tuple[Any, ...]:
    event = draft.event
    return (
        draft.active,
        event.id,
        now,
        session_id or event.trace_session_id,
        draft.last,
        "event",
        1,
        0,
        0,
        "ready",
        now,
        event.priority,
        draft.fence,
        False,
        happening.cause,
        happening.actor,
    )


async def _last_moments(connection: AsyncConnection, event_ids: Iterable[str], now: datetime) -> dict[str, datetime]:
    """The last moment, from now on, for which each of these events has a run of this kind: there seldom is one."""
    ids = sorted(event_ids)
    found: dict[str, datetime] = {}
    for first in range(0, len(ids), IDS_AT_ONCE):
        query = (
            select(EXECUTIONS.c.event_id, func.max(EXECUTIONS.c.scheduled_for).label("last"))
            .where(
                EXECUTIONS.c.event_id.in_(ids[first : first + IDS_AT_ONCE]),
                EXECUTIONS.c.scheduled_for >= now,
                EXECUTIONS.c.kind == "event",
            )
            .group_by(EXECUTIONS.c.event_id)
        )
        found |= {row.event_id: row.last for row in await connection.execute(query)}
    return found
