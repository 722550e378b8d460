"""Ends of executions that no function has: cancelled before the start, or not to be read."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import and_, case, not_, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.scheduler.db_ops.base import EVENTS, EXECUTIONS
from modules.core.scheduler.db_ops.happenings import start_after
from modules.core.scheduler.db_ops.lanes import close_unstarted, go_on_without

NOT_STARTED: Final = "The task was cancelled before this started."


async def close_waiting(connection: AsyncConnection, execution_id: str, now: datetime) -> bool:
    """End an execution that waits as cancelled; False when it does not wait."""
    return bool(await close_unstarted(connection, [execution_id], NOT_STARTED, now))


async def close_unreadable(connection: AsyncConnection, execution_id: str, state: str, now: datetime) -> None:
    """End an execution without reading it or its event, so that it stands in nobody's way.

    The event goes on with its next fire time; where it has none left, it has failed.
    """
    reason = "This execution could not be read from the database; the log has the reason."
    await connection.execute(
        update(EXECUTIONS)
        .where(EXECUTIONS.c.id == execution_id)
        .values(state=state, success=False, end_time=now, error=reason, error_type="storage", lease_expires_at=None)
    )
    waits = or_(EVENTS.c.on_event.is_not(None), EVENTS.c.on_task_id.is_not(None))
    over = and_(EVENTS.c.status == "pending", EVENTS.c.next_execution.is_(None), EVENTS.c.others_open == 0, not_(waits))
    freed = await connection.execute(
        update(EVENTS)
        .where(EVENTS.c.active_execution_id == execution_id)
        .values(active_execution_id=None, status=case((over, "failed"), else_=EVENTS.c.status), last_error=reason)
    )
    keyed = select(EXECUTIONS.c.event_id).where(EXECUTIONS.c.id == execution_id, EXECUTIONS.c.overlap_key.is_not(None))
    if (event_id := (await connection.execute(keyed)).scalar()) is not None:
        await go_on_without(connection, event_id, now, was_active=bool(freed.rowcount))
    watched = select(EVENTS.c.id).where(
        EVENTS.c.id == select(EXECUTIONS.c.event_id).where(EXECUTIONS.c.id == execution_id).scalar_subquery(),
        EVENTS.c.watched.is_(true()),
    )
    if (task_id := (await connection.execute(watched)).scalar()) is not None:
        await start_after(connection, [(task_id, execution_id, state)], now)
