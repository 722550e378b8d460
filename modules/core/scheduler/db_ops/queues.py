"""What waits to be taken on: events that are due, and executions that are ready.

Each queue has a partial index that begins with the priority. The priorities in use are found by stepping through it,
so that every question reads the rows that it answers with, and no others, however many wait. The statements are built
once: building one costs more than executing it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Integer,
    Select,
    and_,
    bindparam,
    exists,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.column_types import UtcDateTime
from modules.core.scheduler.db_ops.base import EVENTS, EXECUTIONS
from modules.core.scheduler.db_ops.changes import ClaimRequest, Look
from modules.core.scheduler.fairness import Admission, Source, Waiting

LOOK_AGAIN = timedelta(
    seconds=1
)  # where rows are in the way that cannot be read, and where others hold what is limited

SOURCES: tuple[Source, ...] = ("ready", "due")
MOMENT = {"due": "next_execution", "ready": "run_at"}
_TABLES = {"due": EVENTS, "ready": EXECUTIONS}
_UNTIL = bindparam("until", type_=UtcDateTime)
_PRIORITY = bindparam("priority", type_=Integer)
_LIMIT = bindparam("limit", type_=Integer)


def _free(source: Source, rows: Any) -> ColumnElement[bool]:
    """In the words of the partial index, with literals: SQLite does not match parameters with it."""
    if source == "ready":
        return and_(rows.c.state == literal_column("'ready'"))
    return and_(rows.c.status == literal_column("'pending'"), rows.c.active_execution_id.is_(None))


def _known(rows: Any) -> ColumnElement[bool]:
    # Rows whose function is not registered here wait for a process that has it; they must not block others.
    return tuple_(rows.c.module_id, rows.c.function_name).in_(bindparam("functions", expanding=True))


def _runnable(source: Source, rows: Any, excluding: bool) -> ColumnElement[bool]:
    event_id = rows.c.event_id if source == "ready" else rows.c.id
    if source == "due":
        conditions = [_known(rows)]
    else:
        of = EVENTS.alias()
        allowed = or_(of.c.status != "paused", rows.c.kind == "manual")
        conditions = [exists().where(of.c.id == event_id, allowed, _known(of)).correlate(rows)]
    if excluding:
        conditions.append(event_id.not_in(bindparam("excluded", expanding=True)))
    return and_(_free(source, rows), *conditions)


@cache
def _look_query(excluding: bool, is_postgresql: bool) -> Any:
    clock = func.clock_timestamp(type_=UtcDateTime) if is_postgresql else null()
    running = EXECUTIONS.alias()
    lease = (
        select(running.c.lease_expires_at)
        .where(running.c.state == literal_column("'running'"))
        .order_by(running.c.lease_expires_at)
        .limit(1)
        .scalar_subquery()
    )
    paused = EVENTS.alias()
    pause = (
        select(paused.c.paused_until)
        .where(paused.c.status == literal_column("'paused'"), paused.c.paused_until.is_not(None))
        .order_by(paused.c.paused_until)
        .limit(1)
        .scalar_subquery()
    )
    return union_all(
        _first_moments("ready", excluding),
        _first_moments("due", excluding),
        select(literal("lease"), literal(0), lease),
        select(literal("pause"), literal(0), pause),
        select(literal("clock"), literal(0), clock),
    )


def _first_moments(source: Source, excluding: bool) -> Select[Any]:
    """`(source, priority, first moment)` for each priority in use."""
    highest, lower, rows = (_TABLES[source].alias() for _ in range(3))
    levels = (
        select(func.max(highest.c.priority).label("priority"))
        .where(_free(source, highest))
        .cte(f"{source}_levels", recursive=True)
    )
    below = select(func.max(lower.c.priority)).where(_free(source, lower), lower.c.priority < levels.c.priority)
    levels = levels.union_all(select(below.scalar_subquery()).where(levels.c.priority.is_not(None)))
    moment = rows.c[MOMENT[source]]
    # Not min(): PostgreSQL would read every waiting row for it.
    first = (
        select(moment)
        .where(_runnable(source, rows, excluding), rows.c.priority == levels.c.priority, moment.is_not(None))
        .order_by(moment)
        .limit(1)
        .scalar_subquery()
    )
    return select(literal(source).label("source"), levels.c.priority, first.label("moment")).where(
        levels.c.priority.is_not(None)
    )


@cache
def _priorities_query(source: Source) -> Select[Any]:
    rows = _TABLES[source]
    return select(rows.c.priority).where(_free(source, rows)).distinct()


@cache
def _moments_query(source: Source, excluding: bool) -> Select[Any]:
    rows = _TABLES[source]
    return _of_one_priority(select(rows.c[MOMENT[source]].label("moment")), source, rows, excluding)


@cache
def _rows_query(source: Source, names: tuple[str, ...], excluding: bool) -> Select[Any]:
    rows = _TABLES[source]
    query = select(*(rows.c[name] for name in names))
    return _of_one_priority(query, source, rows, excluding).with_for_update(skip_locked=True, of=rows)


def _of_one_priority(query: Select[Any], source: Source, rows: FromClause, excluding: bool) -> Select[Any]:
    moment = rows.c[MOMENT[source]]
    return (
        query.where(_runnable(source, rows, excluding), rows.c.priority == _PRIORITY, moment <= _UNTIL)
        .order_by(moment, rows.c.id)
        .limit(_LIMIT)
    )


def _parameters(request: ClaimRequest, admission: Admission, **others: Any) -> dict[str, Any]:
    excluded = {"excluded": sorted(request.excluded_events)} if request.excluded_events else {}
    functions = sorted(key for key in request.functions if not admission.is_full(*key))
    return {"functions": functions, **excluded, **others}


async def look(
    connection: AsyncConnection, request: ClaimRequest, admission: Admission, *, unreadable_at: datetime
) -> Look:
    """What waits for this node, by one statement. Where a damaged time stands first and hides the others,
    `unreadable_at` stands in for all of them."""
    is_postgresql = connection.dialect.name == "postgresql"
    query = _look_query(bool(request.excluded_events), is_postgresql)
    waiting: list[Waiting] = []
    lease, pause_ends, database_now = None, None, request.lease_now or request.now
    try:
        for source, priority, moment in await connection.execute(query, _parameters(request, admission)):
            if source == "lease":
                lease = moment
            elif source == "pause":
                pause_ends = moment
            elif source == "clock":
                database_now = request.lease_now or moment or database_now
            elif moment is not None:
                waiting.append(Waiting(source, priority, moment))
    except ValueError:
        pause_ends = unreadable_at
        waiting = [
            Waiting(source, priority, unreadable_at)
            for source in SOURCES
            for priority in (await connection.execute(_priorities_query(source))).scalars()
        ]
    if admission.any_full:
        waiting.append(Waiting("due", 0, request.now + LOOK_AGAIN))
    return Look(waiting, lease, database_now, pause_ends)


async def moments(
    connection: AsyncConnection, request: ClaimRequest, admission: Admission, source: Source, priority: int
) -> Sequence[datetime]:
    """The first moments of one queue and priority, up to the request's limit."""
    given = _parameters(request, admission, priority=priority, until=request.until, limit=request.limit)
    query = _moments_query(source, bool(request.excluded_events))
    found: Sequence[datetime] = (await connection.execute(query, given)).scalars().all()
    return found


async def take(
    connection: AsyncConnection,
    request: ClaimRequest,
    admission: Admission,
    source: Source,
    priority: int,
    names: tuple[str, ...],
    limit: int,
) -> Sequence[Any]:
    """The first rows of one queue and priority, locked; those that another node has locked are passed over."""
    given = _parameters(request, admission, priority=priority, until=request.until, limit=limit)
    query = _rows_query(source, names, bool(request.excluded_events))
    rows: Sequence[Any] = (await connection.execute(query, given)).all()
    return rows
