"""Executions as history: read and list."""

from __future__ import annotations

from typing import cast

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.scheduler.db_models import EventExecution
from modules.core.scheduler.db_ops.base import EXECUTIONS, Statements, read
from modules.core.scheduler.db_ops.salvage import readable_rows
from modules.core.scheduler.errors import ExecutionNotFound
from modules.core.scheduler.lifecycle import OPEN_STATES


class HistoryStatements(Statements):
    @read
    async def get_execution(self, connection: AsyncConnection, execution_id: str) -> EventExecution:
        """The execution of that id. Raises ExecutionNotFound."""
        query = select(EXECUTIONS).where(EXECUTIONS.c.id == execution_id)
        rows = await readable_rows(connection, query, EXECUTIONS)
        if not rows:
            raise ExecutionNotFound(
                f"There is no execution {execution_id!r}: it may be older than the history that is kept."
            )
        return cast(EventExecution, rows[0])

    @read
    async def list_executions(
        self, connection: AsyncConnection, event_id: str | None, before: str | None, limit: int
    ) -> list[EventExecution]:
        """Up to `limit` executions, newest first (ids sort by the time of their making), older than the id `before`."""
        query = select(EXECUTIONS).order_by(EXECUTIONS.c.id.desc()).limit(limit)
        if event_id is not None:
            query = query.where(EXECUTIONS.c.event_id == event_id)
        if before is not None:
            query = query.where(EXECUTIONS.c.id < before)
        return await readable_rows(connection, query, EXECUTIONS)

    @read
    async def count_open(self, connection: AsyncConnection) -> dict[str, int]:
        """How many executions are ready and running, on all nodes."""
        # One question for each state: each has an index of its own.
        counts = {}
        for state in OPEN_STATES:
            query = select(func.count()).select_from(EXECUTIONS).where(EXECUTIONS.c.state == state)
            counts[state] = (await connection.execute(query)).scalar_one()
        return {state: number for state, number in counts.items() if number}
