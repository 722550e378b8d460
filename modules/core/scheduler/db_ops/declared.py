"""Tasks that code states at its start."""

from __future__ import annotations

from typing import cast

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.scheduler.db_models import ScheduledEvent
from modules.core.scheduler.db_ops.base import EVENTS, Statements, read
from modules.core.scheduler.db_ops.salvage import readable_rows


class DeclaredStatements(Statements):
    @read
    async def task_with_key(self, connection: AsyncConnection, unique_key: str) -> ScheduledEvent | None:
        """The event that has this key now; otherwise the newest of those that code has stated under it and somebody
        cancelled."""
        holder = select(EVENTS).where(EVENTS.c.unique_key == unique_key, EVENTS.c.status != "cancelled")
        cancelled = (
            select(EVENTS)
            .where(EVENTS.c.declared_by.is_not(None), EVENTS.c.unique_key == unique_key)
            .order_by(EVENTS.c.id.desc())
            .limit(1)
        )
        for query in (holder, cancelled):
            if rows := await readable_rows(connection, query, EVENTS):
                return cast(ScheduledEvent, rows[0])
        return None

    @read
    async def declared_tasks(self, connection: AsyncConnection) -> list[ScheduledEvent]:
        """The events that code has stated, by key; without those that were cancelled."""
        query = (
            select(EVENTS)
            .where(EVENTS.c.declared_by.is_not(None), EVENTS.c.status != "cancelled")
            .order_by(EVENTS.c.unique_key)
        )
        return await readable_rows(connection, query, EVENTS)
