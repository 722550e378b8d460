"""Tasks that wait for runs of another one: that one is marked, so that its ends are looked at; no circle is made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.scheduler.db_ops.base import EVENTS
from modules.core.scheduler.errors import InvalidTask

LONGEST_CHAIN: Final = 100


class NotWatchable(InvalidTask):
    """The task that another one is to wait for."""


async def watch(connection: AsyncConnection, task_ids: Iterable[str | None]) -> None:
    """From now on the ends of these tasks' runs start those that wait for them. None among the ids are passed over,
    and none but None costs nothing. Raises NotWatchable."""
    wanted = sorted({task_id for task_id in task_ids if task_id is not None})
    if not wanted:
        return
    query = select(EVENTS.c.id, EVENTS.c.status).where(EVENTS.c.id.in_(wanted)).order_by(EVENTS.c.id)
    status = {row.id: row.status for row in await connection.execute(query.with_for_update())}
    for task_id in wanted:
        _check(task_id, status.get(task_id))
    await connection.execute(update(EVENTS).where(EVENTS.c.id.in_(wanted)).values(watched=True))


async def refuse_circle(connection: AsyncConnection, event_id: str, task_id: str) -> None:
    """Raises NotWatchable where that task waits, by way of others, for this event, or does not exist."""
    chain = [event_id]
    following: str | None = task_id
    while following is not None:
        if following == event_id:
            circle = " after ".join([*chain, event_id])
            raise NotWatchable(f"on_task.task_id: that would be a circle: {circle}. Let one of them go by the clock.")
        if len(chain) > LONGEST_CHAIN:
            raise NotWatchable(f"on_task.task_id: more than {LONGEST_CHAIN} tasks would wait for each other in a row.")
        chain.append(following)
        query = select(EVENTS.c.status, EVENTS.c.on_task_id).where(EVENTS.c.id == following)
        row = (await connection.execute(query)).first()
        if len(chain) == 2:
            _check(task_id, row.status if row else None)
        following = row.on_task_id if row else None


def _check(task_id: str, status: str | None) -> None:
    if status is None:
        raise NotWatchable(f"on_task.task_id: there is no task {task_id!r}: list the tasks to find its id.")
    if status == "cancelled":
        raise NotWatchable(f"on_task.task_id: task {task_id} is cancelled and will not run again; name another one.")
