"""Registered cleanups as rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Select, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.scheduler.db_models import CleanupConfig, ScheduledEvent
from modules.core.scheduler.db_ops.base import CLEANUP_CONFIGS, EVENTS, EXECUTIONS, MISSED_RUNS, Statements, read, write
from modules.core.scheduler.db_ops.salvage import damaged_columns, readable_rows
from modules.core.scheduler.errors import CleanupNotFound, DuplicateTask

_RULE = ("interval_type", "interval_value", "timezone")
_OVER = ("completed", "failed")
CLEANUP_KEYS = "cleanup:"
RUN_CLEANUP = ("core.scheduler", "run_cleanup")
_RUNS_A_CLEANUP = and_(EVENTS.c.module_id == RUN_CLEANUP[0], EVENTS.c.function_name == RUN_CLEANUP[1])


class CleanupConfigStatements(Statements):
    async def save_cleanup(self, config: Mapping[str, Any], event: Mapping[str, Any]) -> str:
        """Store a cleanup and the event that runs it, or change those of the same module and type; returns its id.

        An event that has the same interval already keeps its place in time: modules register at every start. So does
        one that was cancelled stay cancelled, until the cleanup is removed or switched on. Raises DuplicateTask.
        """
        try:
            return await self._save_cleanup(config, event)
        except IntegrityError:  # another node registered the same at this moment: now there is something to change
            return await self._save_cleanup(config, event)

    @write
    async def _save_cleanup(
        self, connection: AsyncConnection, config: Mapping[str, Any], event: Mapping[str, Any]
    ) -> str:
        found = await _same_config(connection, config)
        config_id = found or config["id"]
        # A name that was given once is kept when the same cleanup is registered without one.
        values = {name: value for name, value in config.items() if name != "id" and (name, value) != ("name", None)}
        if found is not None and await _was_cancelled(connection, event["unique_key"]):
            values["next_run"] = None
        else:
            values["next_run"] = await _keep_event(connection, config_id, event)
        if found is None:
            await connection.execute(insert(CLEANUP_CONFIGS).values(id=config_id, **values))
        else:
            await connection.execute(update(CLEANUP_CONFIGS).where(CLEANUP_CONFIGS.c.id == found).values(**values))
        return cast(str, config_id)

    @write
    async def enable_cleanup(self, connection: AsyncConnection, config_id: str, event: Mapping[str, Any]) -> None:
        """Switch a cleanup on, with a new event where its own was cancelled. Raises CleanupNotFound, DuplicateTask."""
        await _change_config(connection, config_id, {"enabled": True})
        current = await _event_of(connection, event["unique_key"])
        if current is None or current.status in _OVER:
            next_run = await _keep_event(connection, config_id, event)
            await _change_config(connection, config_id, {"next_run": next_run})

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
        query = select(EVENTS).where(
            EVENTS.c.unique_key.startswith(CLEANUP_KEYS), EVENTS.c.status == "pending", _RUNS_A_CLEANUP
        )
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
        await _change_config(connection, config_id, values)

    @write
    async def record_cleanup_run(
        self, connection: AsyncConnection, config_id: str, unique_key: str, ran_at: datetime, report: Mapping[str, Any]
    ) -> None:
        """Keep the report of a run with its config, and when the next one is due."""
        next_run = (
            select(EVENTS.c.next_execution)
            .where(EVENTS.c.unique_key == unique_key, EVENTS.c.status != "cancelled", _RUNS_A_CLEANUP)
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
            .where(
                EVENTS.c.unique_key == cleanup_key(row.module_id, row.cleanup_type),
                EVENTS.c.status != "cancelled",
                _RUNS_A_CLEANUP,
            )
            .values(status="cancelled", next_execution=None, updated_at=now, version=EVENTS.c.version + 1)
        )

    @read
    async def count_finished_tasks(self, connection: AsyncConnection, before: datetime) -> int:
        """How many tasks delete_finished_tasks would delete."""
        finished = _finished(before, await _keys_in_use(connection)).subquery()
        return (await connection.execute(select(func.count()).select_from(finished))).scalar_one()

    @write
    async def delete_finished_tasks(
        self, connection: AsyncConnection, before: datetime, limit: int
    ) -> tuple[int, bool]:
        """Delete one batch of tasks that were done before that moment; returns how many went, and whether any are left.

        Only what can never run again: completed, failed or cancelled, with nothing open, and changed or run last
        before the cutoff. Their history goes first, at most `limit` rows of it at once, which may be all of a batch.
        """
        query = _finished(before, await _keys_in_use(connection)).order_by(EVENTS.c.id).limit(limit)
        ids = (await connection.execute(query.with_for_update(skip_locked=True))).scalars().all()
        if not ids:
            return 0, False
        for table in (EXECUTIONS, MISSED_RUNS):
            some = select(table.c.id).where(table.c.event_id.in_(ids)).limit(limit)
            if (await connection.execute(delete(table).where(table.c.id.in_(some)))).rowcount == limit:
                return 0, True
        await connection.execute(delete(EVENTS).where(EVENTS.c.id.in_(ids)))
        return len(ids), len(ids) == limit


def cleanup_key(module_id: str, cleanup_type: str) -> str:
    """The unique key of the event that runs this cleanup; ':' and '%' in the names are escaped as in URLs."""
    return f"{CLEANUP_KEYS}{_escaped(module_id)}:{_escaped(cleanup_type)}"


def _escaped(name: str) -> str:
    return name.replace("%", "%25").replace(":", "%3A")


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


async def _keep_event(connection: AsyncConnection, config_id: str, event: Mapping[str, Any]) -> datetime | None:
    """Insert the event, or bring the one that is there up to date; returns when it is due."""
    current = await _event_of(connection, event["unique_key"])
    if current is None:
        await connection.execute(insert(EVENTS).values(**{**event, "parameters": {"config_id": config_id}}))
        return cast(datetime, event["next_execution"])
    same_rule = all(getattr(current, name) == event[name] for name in _RULE)
    if current.status not in _OVER and same_rule and not damaged_columns(current):
        return current.next_execution
    values = {name: event[name] for name in (*_RULE, "anchor_time", "next_execution")} | {
        "status": "pending" if current.status in _OVER else current.status,
        "parameters": {"config_id": config_id},
        "version": current.version + 1,
        "updated_at": event["created_at"],
    }
    await connection.execute(update(EVENTS).where(EVENTS.c.id == current.id).values(**values))
    return cast(datetime, event["next_execution"])


async def _event_of(connection: AsyncConnection, unique_key: str) -> ScheduledEvent | None:
    query = select(EVENTS).where(EVENTS.c.unique_key == unique_key, EVENTS.c.status != "cancelled").with_for_update()
    # However damaged: modules register at every start, which must not fail for one bad row.
    event: ScheduledEvent | None = next(iter(await readable_rows(connection, query, EVENTS)), None)
    if event is not None and (event.module_id, event.function_name) != RUN_CLEANUP:
        raise DuplicateTask(
            f"The task {event.id} of {event.module_id}.{event.function_name} has the unique key {unique_key!r}, which "
            "is the cleanup's own: cancel that task, or give it another key, and register the cleanup again.",
            details={"task_id": event.id},
        )
    return event


async def _was_cancelled(connection: AsyncConnection, unique_key: str) -> bool:
    """Whether all events that ran this cleanup were cancelled."""
    query = select(EVENTS.c.status).where(EVENTS.c.unique_key == unique_key, _RUNS_A_CLEANUP)
    return set((await connection.execute(query)).scalars()) == {"cancelled"}


async def _change_config(connection: AsyncConnection, config_id: str, values: Mapping[str, Any]) -> None:
    statement = update(CLEANUP_CONFIGS).where(CLEANUP_CONFIGS.c.id == config_id).values(**values)
    if (await connection.execute(statement)).rowcount == 0:
        raise _no_such_cleanup(config_id)


async def _keys_in_use(connection: AsyncConnection) -> list[str]:
    """The keys of the cleanups that are registered."""
    rows = await connection.execute(select(CLEANUP_CONFIGS.c.module_id, CLEANUP_CONFIGS.c.cleanup_type))
    return [cleanup_key(row.module_id, row.cleanup_type) for row in rows]


def _finished(before: datetime, keys_in_use: list[str]) -> Select[Any]:
    """The ids of tasks that are done for good; a registered cleanup's own stays, so that a cancelled one is known."""
    open_or_recent = (
        select(EXECUTIONS.c.id)
        .where(
            EXECUTIONS.c.event_id == EVENTS.c.id,
            or_(EXECUTIONS.c.end_time.is_(None), EXECUTIONS.c.end_time >= before),
        )
        .exists()
    )
    return select(EVENTS.c.id).where(
        EVENTS.c.status.in_(("completed", "failed", "cancelled")),
        EVENTS.c.active_execution_id.is_(None),
        EVENTS.c.updated_at < before,
        or_(EVENTS.c.last_execution.is_(None), EVENTS.c.last_execution < before),
        or_(EVENTS.c.unique_key.is_(None), EVENTS.c.unique_key.not_in(keys_in_use)),
        ~open_or_recent,
    )


def _no_such_cleanup(config_id: str) -> CleanupNotFound:
    return CleanupNotFound(f"There is no cleanup {config_id!r}: list the cleanups to find its id.")
