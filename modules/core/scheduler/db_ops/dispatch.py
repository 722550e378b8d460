"""Fire and claim: from a due row to an execution that this node holds, in one transaction."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, cast

from sqlalchemy import func, literal_column, null, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.errors import ModuleError, Unavailable
from modules.core.ids import new_id
from modules.core.scheduler.db_models import EventExecution, ScheduledEvent
from modules.core.scheduler.db_ops import pauses, queues
from modules.core.scheduler.db_ops.base import EVENTS, EXECUTIONS, Statements, read, write, write_in_lane
from modules.core.scheduler.db_ops.changes import Claim, ClaimRequest, ClaimResult, Look
from modules.core.scheduler.db_ops.closing import close_unreadable, close_waiting
from modules.core.scheduler.db_ops.fired import insert_fired
from modules.core.scheduler.db_ops.many_rows import UpdateRows
from modules.core.scheduler.db_ops.missed import insert_missed
from modules.core.scheduler.db_ops.salvage import is_unreadable, readable_rows
from modules.core.scheduler.fairness import Admission, Source, Waiting, shares
from modules.core.scheduler.firing import Firing

logger = logging.getLogger(__name__)

# What deciding, running and showing an occurrence needs of its event, and no more: it is read for every execution.
_EVENT: Final = (
    "id", "version", "name", "module_id", "function_name", "parameters", "recurring", "interval_type", "interval_value",
    "cron_expression", "trigger", "timezone", "anchor_time", "end_time", "next_execution", "status", "fired_count",
    "max_executions", "active_execution_id", "fence", "catch_up", "catch_up_limit", "max_lateness_s", "expires_at",
    "jitter_s", "priority", "delivery", "timeout_s", "on_event", "on_task_id", "trace_session_id",
)  # fmt: skip
_EXECUTION: Final = (
    "id", "event_id", "scheduled_for", "kind", "attempt", "fence", "run_at", "trace_session_id", "parameters",
)  # fmt: skip

# The rows are locked and were read a moment ago; the fence stands for all that was seen of them.
_ADVANCE = UpdateRows(
    EVENTS,
    {
        "next_execution": "next",
        "fired_count": "fired",
        "fence": "new_fence",
        "active_execution_id": "active",
        "status": "new_status",
        "pause_reason": "reason",
    },
    same_as={"fence": "seen"},
    where=lambda _: [EVENTS.c.status == literal_column("'pending'"), EVENTS.c.active_execution_id.is_(None)],
)
_START = UpdateRows(
    EXECUTIONS,
    {
        "state": literal_column("'running'"),
        "node_id": "node",
        "lease_expires_at": "lease",
        "start_time": "start",
        "lateness_ms": "late",
    },
    where=lambda _: [EXECUTIONS.c.state == literal_column("'ready'")],
)
_TOO_LATE = UpdateRows(EVENTS, {"last_error": "error"})
_RELEASE = UpdateRows(
    EXECUTIONS,
    {"state": literal_column("'ready'"), "node_id": null(), "lease_expires_at": null(), "lateness_ms": null()},
    same_as={"fence": "fence"},
    where=lambda _: [EXECUTIONS.c.state == literal_column("'running'")],
)


class DispatchStatements(Statements):
    async def fire_and_claim(self, request: ClaimRequest) -> ClaimResult:
        """Take on up to `request.limit` executions: those that are ready and those of due events, in the order of
        priority and due time. Where nothing is due that costs one statement.

        One row never holds up the others. When an occurrence is on record already (a clock that was set back, say), its
        event moves on without a second run; an event that cannot be read or decided is parked: paused, with the reason.
        """
        try:
            return await self._fire_and_claim(request)
        except Unavailable:
            raise
        except Exception as error:
            if not isinstance(error, IntegrityError):
                logger.exception("a batch could not be fired; its rows are taken one by one")
            return await self._one_by_one(request)

    @write_in_lane("dispatch")
    async def _fire_and_claim(self, connection: AsyncConnection, request: ClaimRequest) -> ClaimResult:
        request = request.begun()
        looked = await pauses.look_around(connection, request)
        if not looked.has_due(request.until):
            return ClaimResult([], looked)
        admission = await _admission(connection, request)
        claims: list[Claim] = []
        taken = 0
        for (source, priority), number in (await _shares(connection, request, admission, looked)).items():
            names = _EVENT if source == "due" else _EXECUTION
            rows = await queues.take(connection, request, admission, source, priority, names, number)
            taken += len(rows)
            work = _fire if source == "due" else _claim
            claims += await work(connection, request, admission, looked, rows)
        more = taken >= request.limit
        if more:
            return ClaimResult(claims, None)
        later = request.now + queues.LOOK_AGAIN
        look = await queues.look(connection, request, admission, unreadable_at=later)
        return ClaimResult(claims, pauses.without_ended(look, request))

    @write
    async def _one_by_one(self, connection: AsyncConnection, request: ClaimRequest) -> ClaimResult:
        request = request.begun()
        admission = await _admission(connection, request)
        looked = await pauses.look_around(connection, request)
        claims: list[Claim] = []
        for (source, priority), number in (await _shares(connection, request, admission, looked)).items():
            for row in await queues.take(connection, request, admission, source, priority, ("id",), number):
                one = _one_due if source == "due" else _one_ready
                claims += await one(connection, request, admission, looked, row.id)
        later = Waiting("due", 0, request.now + (timedelta(0) if claims else queues.LOOK_AGAIN))
        return ClaimResult(claims, replace(looked, waiting=[later]))

    @write
    async def release(self, connection: AsyncConnection, claims: Sequence[Claim], now: datetime) -> None:
        """Give back what was claimed and not started: any node may take it on, in its turn. What belongs to a task that
        was cancelled meanwhile ends as cancelled."""
        await _RELEASE(connection, [(claim.execution_id, claim.fence) for claim in claims])
        ids = sorted(claim.event.id for claim in claims)
        cancelled = select(EVENTS.c.id, EVENTS.c.active_execution_id).where(
            EVENTS.c.id.in_(ids), EVENTS.c.status == "cancelled", EVENTS.c.active_execution_id.is_not(None)
        )
        for event_id, execution_id in (await connection.execute(cancelled.with_for_update())).all():
            if await close_waiting(connection, execution_id, now):
                await connection.execute(update(EVENTS).where(EVENTS.c.id == event_id).values(active_execution_id=None))

    @read
    async def get_due_tasks(self, connection: AsyncConnection, now: datetime, limit: int = 100) -> list[ScheduledEvent]:
        """The due events, oldest first, whether or not this process knows their functions."""
        query = (
            select(EVENTS)
            .where(EVENTS.c.status == "pending", EVENTS.c.next_execution <= now)
            .order_by(EVENTS.c.next_execution)
            .limit(limit)
        )
        return await readable_rows(connection, query, EVENTS)


async def _admission(connection: AsyncConnection, request: ClaimRequest) -> Admission:
    """What still fits under each limit. Nodes that share one count one after the other."""
    if not request.limits:
        return Admission(request.room)
    if connection.dialect.name == "postgresql":
        for limit in sorted(request.limits, key=str):
            key = f"core.scheduler limit {limit.module_id}:{limit.function_name or ''}"
            await connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(key, 0))))
    modules = {limit.module_id for limit in request.limits}
    query = (
        select(EVENTS.c.module_id, EVENTS.c.function_name, func.count())
        .join_from(EXECUTIONS, EVENTS, EXECUTIONS.c.event_id == EVENTS.c.id)
        .where(EXECUTIONS.c.state == literal_column("'running'"), EVENTS.c.module_id.in_(sorted(modules)))
        .group_by(EVENTS.c.module_id, EVENTS.c.function_name)
    )
    running = (await connection.execute(query)).all()
    room = {
        limit: limit.most - sum(number for module, name, number in running if limit.covers(module, name))
        for limit in request.limits
    }
    return Admission({**room, **request.room})


async def _shares(
    connection: AsyncConnection, request: ClaimRequest, admission: Admission, looked: Look
) -> Counter[tuple[Source, int]]:
    due = [one for one in looked.waiting if one.moment <= request.until]
    if len(due) < 2:  # nearly always: everything has the same priority, and nothing waits for a second attempt
        return Counter({(one.source, one.priority): request.limit for one in due})
    candidates = [
        Waiting(one.source, one.priority, moment)
        for one in due
        for moment in await queues.moments(connection, request, admission, one.source, one.priority)
    ]
    return shares(candidates, request.limit, request.head_start)


async def _claim(
    connection: AsyncConnection,
    request: ClaimRequest,
    admission: Admission,
    looked: Look,
    waiting: Sequence[EventExecution],
) -> list[Claim]:
    # Locked as well: a pause that was acknowledged meanwhile must be kept. One that is under way gets the next turn.
    known = select(*(EVENTS.c[name] for name in _EVENT)).where(EVENTS.c.id.in_({row.event_id for row in waiting}))
    events = {
        event.id: cast(ScheduledEvent, event)
        for event in await connection.execute(known.with_for_update(skip_locked=True))
    }
    claims = [
        Claim(
            event=event,
            execution_id=row.id,
            scheduled_for=row.scheduled_for,
            kind=row.kind,
            attempt=row.attempt,
            fence=row.fence,
            due=row.run_at,
            next_execution=event.next_execution,
            trace_session_id=row.trace_session_id or request.session_id,
            late_from=_late_from(request, event, row),
            parameters=row.parameters,
        )
        for row in waiting
        if (event := events.get(row.event_id)) is not None
        and (event.status != "paused" or row.kind == "manual")
        and admission.take(event.module_id, event.function_name)
    ]
    lease = looked.database_now + request.lease
    await _START(
        connection,
        [
            (
                claim.execution_id,
                request.node_id,
                lease,
                max(claim.due, request.now),
                claim.lateness_ms(request.now),
            )
            for claim in claims
        ],
    )
    return claims


async def _fire(
    connection: AsyncConnection,
    request: ClaimRequest,
    admission: Admission,
    looked: Look,
    due: Sequence[ScheduledEvent],
    *,
    already_ran: bool = False,
) -> list[Claim]:
    claims: list[Claim] = []
    put_off: list[Claim] = []
    advanced: list[tuple[Any, ...]] = []
    missed: list[tuple[str, Firing]] = []
    too_late: list[tuple[str, str]] = []
    for event in due:
        seen = (event.id, event.fence)
        try:
            firing = request.decide(event, request.now)
        except ModuleError as error:
            unchanged = (event.next_execution, event.fired_count, event.fence, None)
            advanced.append((*seen, *unchanged, "paused", _parked(error)))
            continue
        start = firing.start_at or firing.scheduled_for
        waits = start is not None and start > request.until
        runs = firing.scheduled_for is not None and not already_ran
        if runs and not waits and not admission.take(event.module_id, event.function_name):
            continue  # it stays due
        missed.append((event.id, firing))
        if firing.scheduled_for is None or already_ran:
            status = "pending" if firing.next_execution is not None else "completed"
            if not event.recurring and firing.missed:
                status = "failed"
                too_late.append((event.id, f"It did not run, because it was too late: {firing.missed[0].detail}."))
            advanced.append((*seen, firing.next_execution, event.fired_count, event.fence, None, status, None))
            continue
        claim = Claim(
            event=event,
            execution_id=new_id(),
            scheduled_for=firing.scheduled_for,
            kind="schedule",
            attempt=1,
            fence=event.fence + 1,
            due=(firing.start_at if waits else firing.due) or firing.scheduled_for,
            next_execution=firing.next_execution,
            trace_session_id=event.trace_session_id or request.session_id,
        )
        (put_off if waits else claims).append(claim)
        advanced.append(
            (
                *seen,
                firing.next_execution,
                event.fired_count + 1,
                claim.fence,
                claim.execution_id,
                "pending",
                None,
            )
        )
    lease = looked.database_now + request.lease
    await insert_fired(connection, request, lease, claims, put_off)
    await _ADVANCE(connection, advanced)
    await _TOO_LATE(connection, too_late)
    await insert_missed(connection, missed, request.now)
    return claims


async def _one_ready(
    connection: AsyncConnection, request: ClaimRequest, admission: Admission, looked: Look, execution_id: str
) -> list[Claim]:
    query = select(*(EXECUTIONS.c[name] for name in _EXECUTION)).where(EXECUTIONS.c.id == execution_id)
    try:
        async with connection.begin_nested():
            rows = cast(list[EventExecution], (await connection.execute(query)).all())
            return await _claim(connection, request, admission, looked, rows)
    except Exception as error:
        if not is_unreadable(error):
            raise
        logger.exception("execution %s cannot be read and is closed as failed", execution_id)
        await close_unreadable(connection, execution_id, "failed", request.now)
        return []


async def _one_due(
    connection: AsyncConnection, request: ClaimRequest, admission: Admission, looked: Look, event_id: str
) -> list[Claim]:
    query = select(*(EVENTS.c[name] for name in _EVENT)).where(EVENTS.c.id == event_id)
    rows: list[ScheduledEvent] = []
    try:
        async with connection.begin_nested():
            rows = cast(list[ScheduledEvent], (await connection.execute(query)).all())
            return await _fire(connection, request, admission, looked, rows)
    except IntegrityError:
        return await _fire(connection, request, admission, looked, rows, already_ran=True)
    except Exception as error:
        if not is_unreadable(error):
            raise
        logger.exception("task %s cannot be fired and is parked", event_id)
        await connection.execute(
            update(EVENTS).where(EVENTS.c.id == event_id).values(status="paused", pause_reason=_parked(error))
        )
        return []


def _late_from(request: ClaimRequest, event: ScheduledEvent, row: EventExecution) -> datetime | None:
    """What lateness counts from where the first attempt at a fire time was put off."""
    if row.kind != "schedule" or row.attempt > 1 or row.run_at <= row.scheduled_for:
        return None
    return min(row.run_at, request.start_of(event, row.scheduled_for))


def _parked(error: Exception) -> str:
    reason = error.message if isinstance(error, ModuleError) else f"{type(error).__name__}: see the log."
    return f"Parked: it cannot be read any more ({reason}) Correct it with PATCH, then resume."
