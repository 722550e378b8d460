"""Downtimes: how long no process dispatched, found at the start of the first one that does again.

The last sign of life is the last heartbeat of any node, or the moment at which the last one left.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, cast

from sqlalchemy import and_, delete, func, insert, literal_column, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.ids import new_id
from modules.core.scheduler.db_models import ScheduledEvent, SchedulerDowntime
from modules.core.scheduler.db_ops.base import DOWNTIMES, EVENTS, NODES, Statements, read, write
from modules.core.scheduler.db_ops.lease_clock import lease_now
from modules.core.scheduler.db_ops.salvage import readable_rows
from modules.core.scheduler.downtime import SHORTEST, Overdue

KEPT: Final = timedelta(days=400)
_ONE_START_AT_A_TIME: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('core.scheduler downtime', 0))")
_FREE: Final = and_(EVENTS.c.status == literal_column("'pending'"), EVENTS.c.active_execution_id.is_(None))


async def come_back(connection: AsyncConnection, node_id: str, now: datetime | None) -> SchedulerDowntime | None:
    """A node starts: the downtime that it ends, or that another one ended within the last minute; else None."""
    if connection.dialect.name == "postgresql":
        await connection.execute(_ONE_START_AT_A_TIME)
    moment: datetime = (await connection.execute(select(lease_now(connection, now)))).scalar_one()
    try:
        last_beat = (await connection.execute(select(func.max(NODES.c.heartbeat_at)))).scalar_one()
    except ValueError:  # somebody damaged it: no reason not to start
        last_beat = None
    left = (await connection.execute(select(DOWNTIMES.c.from_time).where(DOWNTIMES.c.until_time.is_(None)))).scalars()
    signs = [sign for sign in (last_beat, *left) if sign is not None]
    await connection.execute(
        delete(DOWNTIMES).where(DOWNTIMES.c.until_time.is_(None) | (DOWNTIMES.c.until_time < moment - KEPT))
    )
    if signs and moment - max(signs) > SHORTEST:
        found = {"id": new_id(), "from_time": max(signs), "until_time": moment, "node_id": node_id}
        await connection.execute(insert(DOWNTIMES).values(found))
    latest = await _latest(connection)
    if latest is None or latest.until_time is None or moment - latest.until_time > SHORTEST:
        return None
    return latest


async def go_away(connection: AsyncConnection, now: datetime | None) -> None:
    """A node leaves. Whether a downtime begins is known at the next start."""
    await connection.execute(delete(DOWNTIMES).where(DOWNTIMES.c.until_time.is_(None)))
    await connection.execute(insert(DOWNTIMES).values(id=new_id(), from_time=lease_now(connection, now)))


class DowntimeStatements(Statements):
    @read
    async def overdue(self, connection: AsyncConnection, now: datetime, limit: int) -> list[ScheduledEvent]:
        """Up to `limit` of the events that are due, by priority and time: as many rows are read, however many wait."""
        found: list[Any] = []
        priority = await _highest(connection, None)
        while priority is not None and len(found) < limit:
            query = (
                select(EVENTS)
                .where(_FREE, EVENTS.c.priority == priority, EVENTS.c.next_execution <= now)
                .order_by(EVENTS.c.next_execution, EVENTS.c.id)
                .limit(limit - len(found))
            )
            found += await readable_rows(connection, query, EVENTS)
            priority = await _highest(connection, priority)
        return cast(list[ScheduledEvent], found)

    @write
    async def note_overdue(self, connection: AsyncConnection, downtime_id: str, overdue: Overdue) -> None:
        """Keep what a downtime left behind."""
        values = {
            "tasks": overdue.tasks,
            "fire_times": overdue.fire_times,
            "to_run": overdue.to_run,
            "complete": overdue.complete,
        }
        await connection.execute(update(DOWNTIMES).where(DOWNTIMES.c.id == downtime_id).values(values))

    @read
    async def last_downtime(self, connection: AsyncConnection) -> SchedulerDowntime | None:
        """The downtime that ended last."""
        return await _latest(connection)


async def _latest(connection: AsyncConnection) -> SchedulerDowntime | None:
    query = select(DOWNTIMES).where(DOWNTIMES.c.until_time.is_not(None)).order_by(DOWNTIMES.c.id.desc()).limit(1)
    return cast(SchedulerDowntime | None, (await connection.execute(query)).one_or_none())


async def _highest(connection: AsyncConnection, below: int | None) -> int | None:
    """The highest priority in use, or the next one down: a step along the index of what is due."""
    query = select(func.max(EVENTS.c.priority)).where(_FREE)
    if below is not None:
        query = query.where(EVENTS.c.priority < below)
    return cast(int | None, (await connection.execute(query)).scalar_one())
