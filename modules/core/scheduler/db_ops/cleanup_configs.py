"""Registered cleanups as rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.scheduler.db_models import CleanupConfig
from modules.core.scheduler.db_ops.base import CLEANUP_CONFIGS, EVENTS, EXECUTIONS, Statements, read, write
from modules.core.scheduler.errors import CleanupNotFound


class CleanupConfigStatements(Statements):
    @write
    async def save_cleanup_config(self, connection: AsyncConnection, new_id: str, values: Mapping[str, Any]) -> str:
        """Insert a config, or change the one of the same module and type; returns its id."""
        same = (
            CLEANUP_CONFIGS.c.module_id == values["module_id"],
            CLEANUP_CONFIGS.c.cleanup_type == values["cleanup_type"],
        )
        found = (await connection.execute(select(CLEANUP_CONFIGS.c.id).where(*same).with_for_update())).scalar()
        if found is None:
            await connection.execute(insert(CLEANUP_CONFIGS).values(id=new_id, **values))
            return new_id
        await connection.execute(update(CLEANUP_CONFIGS).where(CLEANUP_CONFIGS.c.id == found).values(**values))
        return cast(str, found)

    @read
    async def get_cleanup_config(self, connection: AsyncConnection, config_id: str) -> CleanupConfig:
        """The config of that id. Raises CleanupNotFound."""
        query = select(CLEANUP_CONFIGS).where(CLEANUP_CONFIGS.c.id == config_id)
        row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise CleanupNotFound(f"There is no cleanup {config_id!r}: list the cleanups to find its id.")
        return cast(CleanupConfig, row)

    @read
    async def list_cleanup_configs(
        self, connection: AsyncConnection, cleanup_type: str | None = None
    ) -> list[CleanupConfig]:
        """The configs, or those of one type; most important first, then by module and type."""
        query = select(CLEANUP_CONFIGS).order_by(
            CLEANUP_CONFIGS.c.priority.desc(), CLEANUP_CONFIGS.c.module_id, CLEANUP_CONFIGS.c.cleanup_type
        )
        if cleanup_type is not None:
            query = query.where(CLEANUP_CONFIGS.c.cleanup_type == cleanup_type)
        return cast(list[CleanupConfig], (await connection.execute(query)).all())

    @write
    async def update_cleanup_config(
        self, connection: AsyncConnection, config_id: str, values: Mapping[str, Any]
    ) -> None:
        """Change some columns of a config."""
        await connection.execute(update(CLEANUP_CONFIGS).where(CLEANUP_CONFIGS.c.id == config_id).values(**values))

    @write
    async def delete_finished_tasks(self, connection: AsyncConnection, before: datetime, limit: int) -> int:
        """Delete tasks that were done before that moment, with their history; returns how many went.

        Only what can never run again: completed, failed or cancelled, with nothing open, and changed or run last
        before the cutoff.
        """
        query = (
            select(EVENTS.c.id)
            .where(
                EVENTS.c.status.in_(("completed", "failed", "cancelled")),
                EVENTS.c.active_execution_id.is_(None),
                EVENTS.c.updated_at < before,
                or_(EVENTS.c.last_execution.is_(None), EVENTS.c.last_execution < before),
                ~select(EXECUTIONS.c.id)
                .where(
                    EXECUTIONS.c.event_id == EVENTS.c.id,
                    or_(EXECUTIONS.c.end_time.is_(None), EXECUTIONS.c.end_time >= before),
                )
                .exists(),
            )
            .order_by(EVENTS.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        ids = (await connection.execute(query)).scalars().all()
        if ids:
            await connection.execute(delete(EVENTS).where(EVENTS.c.id.in_(ids)))
        return len(ids)
