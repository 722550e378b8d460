"""Registered cleanups as rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.scheduler.db_models import CleanupConfig, ScheduledEvent
from modules.core.scheduler.db_ops.base import CLEANUP_CONFIGS, EVENTS, EXECUTIONS, Statements, read, write
from modules.core.scheduler.db_ops.salvage import readable_rows
from modules.core.scheduler.errors import CleanupNotFound

_RULE = ("interval_type", "interval_value", "timezone")
_OVER = ("completed", "failed")


class CleanupConfigStatements(Statements):
    @write
    async def save_cleanup(
        self, connection: AsyncConnection, config: Mapping[str, Any], event: Mapping[str, Any]
    ) -> str:
        """Store a cleanup and the event that runs it, or change those of the same module and type; returns its id.

        An event that has the same interval already keeps its place in time: modules register at every start.
        """
        found = await _same_config(connection, config)
        config_id = found or config["id"]
        now = event["created_at"]
        # A name that was given once is kept when the same cleanup is registered without one.
        values = {name: value for name, value in config.items() if name != "id" and (name, value) != ("name", None)}
        current = await _event_of(connection, event["unique_key"])
        if current is None:
            next_run = event["next_execution"]
            await connection.execute(insert(EVENTS).values(**{**event, "parameters": {"config_id": config_id}}))
        elif any(getattr(current, name) != event[name] for name in _RULE) or current.status in _OVER:
            next_run = event["next_execution"]
            rule = {name: event[name] for name in (*_RULE, "anchor_time", "next_execution")}
            status = "pending" if current.status in _OVER else current.status
            await connection.execute(
                update(EVENTS)
                .where(EVENTS.c.id == current.id)
                .values(
                    **rule,
                    status=status,
                    parameters={"config_id": config_id},
                    version=current.version + 1,
                    updated_at=now,
                )
            )
        else:
            next_run = current.next_execution
        values["next_run"] = next_run
        if found is None:
            await connection.execute(insert(CLEANUP_CONFIGS).values(id=config_id, **values))
        else:
            await connection.execute(update(CLEANUP_CONFIGS).where(CLEANUP_CONFIGS.c.id == found).values(**values))
        return cast(str, config_id)

    @read
    async def get_cleanup_config(self, connection: AsyncConnection, config_id: str) -> CleanupConfig:
        """The config of that id. Raises CleanupNotFound."""
        query = select(CLEANUP_CONFIGS).where(CLEANUP_CONFIGS.c.id == config_id)
        rows = await readable_rows(connection, query, CLEANUP_CONFIGS)
        if not rows:
            raise _no_such_cleanup(config_id)
        return cast(CleanupConfig, rows[0])

    @read
    async def next_cleanup_runs(self, connection: AsyncConnection) -> dict[str, datetime]:
        """When the tasks that run cleanups are due next, by unique key; those are missing that are paused or over."""
        query = select(EVENTS).where(EVENTS.c.unique_key.startswith("cleanup:"), EVENTS.c.status == "pending")
        tasks = cast(list[ScheduledEvent], await readable_rows(connection, query, EVENTS))
        return {task.unique_key: task.next_execution for task in tasks if task.unique_key and task.next_execution}

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
        return await readable_rows(connection, query, CLEANUP_CONFIGS)

    @write
    async def update_cleanup_config(
        self, connection: AsyncConnection, config_id: str, values: Mapping[str, Any]
    ) -> None:
        """Change some columns of a config. Raises CleanupNotFound."""
        statement = update(CLEANUP_CONFIGS).where(CLEANUP_CONFIGS.c.id == config_id).values(**values)
        if (await connection.execute(statement)).rowcount == 0:
            raise _no_such_cleanup(config_id)

    @write
    async def record_cleanup_run(
        self, connection: AsyncConnection, config_id: str, unique_key: str, ran_at: datetime, report: Mapping[str, Any]
    ) -> None:
        """Keep the report of a run with its config, and when the next one is due."""
        next_run = (
            select(EVENTS.c.next_execution)
            .where(EVENTS.c.unique_key == unique_key, EVENTS.c.status != "cancelled")
            .scalar_subquery()
        )
        await connection.execute(
            update(CLEANUP_CONFIGS)
            .where(CLEANUP_CONFIGS.c.id == config_id)
            .values(last_run=ran_at, last_report=dict(report), next_run=next_run)
        )

    @write
    async def delete_cleanup(self, connection: AsyncConnection, config_id: str, now: datetime) -> None:
        """Forget a cleanup; the event that ran it is cancelled and its history stays. Raises CleanupNotFound."""
        query = select(CLEANUP_CONFIGS.c.module_id, CLEANUP_CONFIGS.c.cleanup_type)
        row = (await connection.execute(query.where(CLEANUP_CONFIGS.c.id == config_id))).one_or_none()
        if row is None:
            raise _no_such_cleanup(config_id)
        await connection.execute(delete(CLEANUP_CONFIGS).where(CLEANUP_CONFIGS.c.id == config_id))
        await connection.execute(
            update(EVENTS)
            .where(EVENTS.c.unique_key == cleanup_key(row.module_id, row.cleanup_type), EVENTS.c.status != "cancelled")
            .values(status="cancelled", next_execution=None, updated_at=now, version=EVENTS.c.version + 1)
        )

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


def cleanup_key(module_id: str, cleanup_type: str) -> str:
    """The unique key of the event that runs this cleanup."""
    return f"cleanup:{module_id}:{cleanup_type}"


async def _same_config(connection: AsyncConnection, config: Mapping[str, Any]) -> str | None:
    query = (
        select(CLEANUP_CONFIGS.c.id)
        .where(
            CLEANUP_CONFIGS.c.module_id == config["module_id"],
            CLEANUP_CONFIGS.c.cleanup_type == config["cleanup_type"],
        )
        .with_for_update()
    )
    return cast(str | None, (await connection.execute(query)).scalar())


async def _event_of(connection: AsyncConnection, unique_key: str) -> ScheduledEvent | None:
    query = select(EVENTS).where(EVENTS.c.unique_key == unique_key, EVENTS.c.status != "cancelled").with_for_update()
    return cast(ScheduledEvent | None, (await connection.execute(query)).one_or_none())


def _no_such_cleanup(config_id: str) -> CleanupNotFound:
    return CleanupNotFound(f"There is no cleanup {config_id!r}: list the cleanups to find its id.")
