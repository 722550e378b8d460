"""Fire and claim: from a due row to an execution that this node holds, in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, and_, bindparam, exists, insert, or_, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.errors import ModuleError, Unavailable
from modules.core.ids import new_id
from modules.core.scheduler.db_models import EventExecution, ScheduledEvent
from modules.core.scheduler.db_ops.base import EVENTS, EXECUTIONS, Statements, read, write
from modules.core.scheduler.db_ops.changes import Claim, ClaimRequest, ClaimResult
from modules.core.scheduler.db_ops.completion import close_unreadable
from modules.core.scheduler.db_ops.missed import insert_missed
from modules.core.scheduler.db_ops.salvage import is_unreadable, readable_rows
from modules.core.scheduler.firing import Firing

logger = logging.getLogger(__name__)

LOOK_AGAIN = timedelta(seconds=1)  # where rows are in the way that cannot be read

# The rows are locked and were read a moment ago; the fence stands for all that was seen of them.
_ADVANCE = (
    update(EVENTS)
    .where(
        EVENTS.c.id == bindparam("b_id"),
        EVENTS.c.status == "pending",
        EVENTS.c.active_execution_id.is_(None),
        EVENTS.c.fence == bindparam("b_seen"),
    )
    .values(
        next_execution=bindparam("b_next"),
        fired_count=bindparam("b_fired"),
        fence=bindparam("b_fence"),
        active_execution_id=bindparam("b_active"),
        status=bindparam("b_status"),
        pause_reason=bindparam("b_reason"),
    )
)
_START = (
    update(EXECUTIONS)
    .where(EXECUTIONS.c.id == bindparam("b_id"), EXECUTIONS.c.state == "ready")
    .values(
        state="running",
        node_id=bindparam("b_node"),
        lease_expires_at=bindparam("b_lease"),
        start_time=bindparam("b_start"),
        lateness_ms=bindparam("b_late"),
    )
)


class DispatchStatements(Statements):
    async def fire_and_claim(self, request: ClaimRequest) -> ClaimResult:
        """Take on up to `request.limit` executions: those that wait, oldest first, then due events.

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

    @write
    async def _fire_and_claim(self, connection: AsyncConnection, request: ClaimRequest) -> ClaimResult:
        request = request.begun()
        claims = await _claim(connection, request, await _ready_ids(connection, request))
        if len(claims) < request.limit:
            due = await _due_ids(connection, request, request.limit - len(claims))
            claims += await _fire(connection, request, due)
        next_due = await _next_due(connection, request) if len(claims) < request.limit else request.now
        return ClaimResult(claims, next_due)

    @write
    async def _one_by_one(self, connection: AsyncConnection, request: ClaimRequest) -> ClaimResult:
        request = request.begun()
        claims: list[Claim] = []
        for execution_id in await _ready_ids(connection, request):
            try:
                async with connection.begin_nested():
                    claims += await _claim(connection, request, [execution_id])
            except Exception as error:
                if not is_unreadable(error):
                    raise
                logger.exception("execution %s cannot be read and is closed as failed", execution_id)
                await close_unreadable(connection, execution_id, "failed", request.now)
        for event_id in await _due_ids(connection, request, request.limit - len(claims)):
            try:
                async with connection.begin_nested():
                    claims += await _fire(connection, request, [event_id])
            except IntegrityError:
                await _fire(connection, request, [event_id], already_ran=True)
            except Exception as error:
                if not is_unreadable(error):
                    raise
                logger.exception("task %s cannot be fired and is parked", event_id)
                await connection.execute(
                    update(EVENTS).where(EVENTS.c.id == event_id).values(status="paused", pause_reason=_parked(error))
                )
        return ClaimResult(claims, request.now if claims else request.now + LOOK_AGAIN)

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


def _known(functions: Collection[tuple[str, str]]) -> ColumnElement[bool]:
    # Rows whose function is not registered here wait for a process that has it; they must not block others.
    return tuple_(EVENTS.c.module_id, EVENTS.c.function_name).in_(sorted(functions))


def _fireable(request: ClaimRequest) -> ColumnElement[bool]:
    free = and_(EVENTS.c.status == "pending", EVENTS.c.active_execution_id.is_(None), _known(request.functions))
    return and_(free, EVENTS.c.id.not_in(sorted(request.excluded_events))) if request.excluded_events else free


def _startable(request: ClaimRequest) -> ColumnElement[bool]:
    allowed = exists().where(
        EVENTS.c.id == EXECUTIONS.c.event_id,
        or_(EVENTS.c.status != "paused", EXECUTIONS.c.kind == "manual"),
        _known(request.functions),
    )
    waiting = and_(EXECUTIONS.c.state == "ready", allowed)
    if request.excluded_events:
        waiting = and_(waiting, EXECUTIONS.c.event_id.not_in(sorted(request.excluded_events)))
    return waiting


async def _ready_ids(connection: AsyncConnection, request: ClaimRequest) -> Sequence[str]:
    query = (
        select(EXECUTIONS.c.id)
        .where(_startable(request), EXECUTIONS.c.run_at <= request.now)
        .order_by(EXECUTIONS.c.run_at)
        .limit(request.limit)
        .with_for_update(skip_locked=True, of=EXECUTIONS)
    )
    return (await connection.execute(query)).scalars().all()


async def _claim(connection: AsyncConnection, request: ClaimRequest, execution_ids: Sequence[str]) -> list[Claim]:
    if not execution_ids:
        return []
    query = select(EXECUTIONS).where(EXECUTIONS.c.id.in_(execution_ids)).order_by(EXECUTIONS.c.run_at)
    waiting = cast(list[EventExecution], (await connection.execute(query)).all())
    # Locked as well: a pause that was acknowledged meanwhile must be kept. One that is under way gets the next turn.
    known = select(EVENTS).where(EVENTS.c.id.in_({execution.event_id for execution in waiting}))
    events = {
        event.id: cast(ScheduledEvent, event)
        for event in await connection.execute(known.with_for_update(skip_locked=True))
    }
    waiting = [row for row in waiting if _may_start(row, events.get(row.event_id))]
    if not waiting:
        return []
    await connection.execute(
        _START,
        [
            {
                "b_id": execution.id,
                "b_node": request.node_id,
                "b_lease": request.lease_until,
                "b_start": request.now,
                "b_late": _milliseconds(request.now, execution.run_at),
            }
            for execution in waiting
        ],
    )
    return [
        Claim(
            event=events[execution.event_id],
            execution_id=execution.id,
            scheduled_for=execution.scheduled_for,
            kind=execution.kind,
            attempt=execution.attempt,
            fence=execution.fence,
            start_time=request.now,
            trace_session_id=execution.trace_session_id or request.session_id,
        )
        for execution in waiting
    ]


def _may_start(execution: EventExecution, event: ScheduledEvent | None) -> bool:
    return event is not None and (event.status != "paused" or execution.kind == "manual")


async def _due_ids(connection: AsyncConnection, request: ClaimRequest, limit: int) -> Sequence[str]:
    if limit <= 0:
        return []
    query = (
        select(EVENTS.c.id)
        .where(_fireable(request), EVENTS.c.next_execution <= request.now)
        .order_by(EVENTS.c.next_execution)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return (await connection.execute(query)).scalars().all()


async def _fire(
    connection: AsyncConnection, request: ClaimRequest, event_ids: Sequence[str], *, already_ran: bool = False
) -> list[Claim]:
    if not event_ids:
        return []
    query = select(EVENTS).where(EVENTS.c.id.in_(event_ids)).order_by(EVENTS.c.next_execution)
    due = cast(list[ScheduledEvent], (await connection.execute(query)).all())
    claims: list[Claim] = []
    advanced: list[dict[str, Any]] = []
    missed: list[tuple[str, Firing]] = []
    for event in due:
        values: dict[str, Any] = {
            "b_id": event.id,
            "b_seen": event.fence,
            "b_fired": event.fired_count,
            "b_fence": event.fence,
            "b_active": None,
            "b_status": "pending",
            "b_reason": None,
        }
        advanced.append(values)
        try:
            firing = request.decide(event, request.now)
        except ModuleError as error:
            values |= {"b_next": event.next_execution, "b_status": "paused", "b_reason": _parked(error)}
            continue
        values["b_next"] = firing.next_execution
        missed.append((event.id, firing))
        if firing.scheduled_for is None or already_ran:
            values["b_status"] = "pending" if firing.next_execution is not None else "completed"
            continue
        claim = Claim(
            event=event,
            execution_id=new_id(),
            scheduled_for=firing.scheduled_for,
            kind="schedule",
            attempt=1,
            fence=event.fence + 1,
            start_time=request.now,
            trace_session_id=event.trace_session_id or request.session_id,
        )
        claims.append(claim)
        values |= {"b_fired": event.fired_count + 1, "b_fence": claim.fence, "b_active": claim.execution_id}
    if claims:
        await connection.execute(insert(EXECUTIONS), [_running_row(claim, request) for claim in claims])
    if advanced:
        await connection.execute(_ADVANCE, advanced)
    await insert_missed(connection, missed, request.now)
    return claims


def _running_row(claim: Claim, request: ClaimRequest) -> dict[str, Any]:
    return {
        "id": claim.execution_id,
        "event_id": claim.event.id,
        "start_time": request.now,
        "trace_session_id": claim.trace_session_id,
        "scheduled_for": claim.scheduled_for,
        "kind": claim.kind,
        "attempt": claim.attempt,
        "state": "running",
        "run_at": request.now,
        "node_id": request.node_id,
        "fence": claim.fence,
        "lease_expires_at": request.lease_until,
        "lateness_ms": _milliseconds(request.now, claim.scheduled_for),
    }


async def _next_due(connection: AsyncConnection, request: ClaimRequest) -> datetime | None:
    # Not min(): PostgreSQL would read every waiting execution with its event for it.
    fires = select(EVENTS.c.next_execution).where(_fireable(request), EVENTS.c.next_execution.is_not(None))
    starts = select(EXECUTIONS.c.run_at).where(_startable(request))
    query = select(
        fires.order_by(EVENTS.c.next_execution).limit(1).scalar_subquery(),
        starts.order_by(EXECUTIONS.c.run_at).limit(1).scalar_subquery(),
    )
    try:
        row = (await connection.execute(query)).one()
    except ValueError:  # a damaged time stands first and hides the next ones: look again soon
        return request.now + LOOK_AGAIN
    moments = [moment for moment in row if moment is not None]
    return min(moments) if moments else None


def _parked(error: Exception) -> str:
    reason = error.message if isinstance(error, ModuleError) else f"{type(error).__name__}: see the log."
    return f"Parked: it cannot be read any more ({reason}) Correct it with PATCH, then resume."


def _milliseconds(later: datetime, earlier: datetime) -> float:
    return max(0.0, (later - earlier).total_seconds() * 1000)
