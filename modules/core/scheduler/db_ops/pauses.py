"""Pauses that end by themselves."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import literal_column, null, select
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.errors import ModuleError
from modules.core.scheduler.db_models import ScheduledEvent
from modules.core.scheduler.db_ops import queues
from modules.core.scheduler.db_ops.base import EVENTS
from modules.core.scheduler.db_ops.changes import ClaimRequest, EventChange, Look
from modules.core.scheduler.db_ops.many_rows import UpdateRows
from modules.core.scheduler.db_ops.missed import insert_missed
from modules.core.scheduler.db_ops.salvage import readable_rows
from modules.core.scheduler.fairness import Admission
from modules.core.scheduler.firing import Firing

logger = logging.getLogger(__name__)

ENDED_AT_ONCE: Final = 1_000

_END = UpdateRows(
    EVENTS,
    {
        "status": "new_status",
        "next_execution": "next",
        "pause_reason": "reason",
        "pause_actor": "actor",
        "paused_at": "since",
        "paused_until": null(),
        "updated_at": "now",
        "version": EVENTS.c.version + literal_column("1"),
    },
)


async def look_around(connection: AsyncConnection, request: ClaimRequest) -> Look:
    """What waits, after the pauses are over whose time has come. Where there are none, that costs nothing."""
    admission = Admission(request.room)
    looked = await queues.look(connection, request, admission, unreadable_at=request.now)
    if request.end_pause is None or looked.pause_ends is None or looked.pause_ends > request.now:
        return looked
    await end_pauses(connection, request.end_pause, request.now)
    return without_ended(await queues.look(connection, request, admission, unreadable_at=request.now), request)


def without_ended(look: Look, request: ClaimRequest) -> Look:
    """A pause that is still there although its time is over is another node's to end: that will be seen."""
    if look.pause_ends is None or look.pause_ends > request.now:
        return look
    return replace(look, pause_ends=request.now + queues.LOOK_AGAIN)


async def end_pauses(
    connection: AsyncConnection, decide: Callable[[ScheduledEvent], EventChange], now: datetime
) -> None:
    """Resume the tasks whose pause ended at or before `now`, at most 1000 of them. One that cannot be resumed stays
    paused, with the reason, and holds up no other. Rows that another node has locked are passed over."""
    query = (
        select(EVENTS)
        .where(
            EVENTS.c.status == literal_column("'paused'"),
            EVENTS.c.paused_until.is_not(None),
            EVENTS.c.paused_until <= now,
        )
        .order_by(EVENTS.c.paused_until)
        .limit(ENDED_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    ended: list[tuple[Any, ...]] = []
    missed: list[tuple[str, Firing]] = []
    for event in await readable_rows(connection, query, EVENTS):
        try:
            change = decide(event)
        except ModuleError as error:
            logger.warning("task %s stays paused: %s", event.id, error.message)
            reason = f"The pause is over, but it cannot go on: {error.message}"
            ended.append((event.id, "paused", event.next_execution, reason, event.pause_actor, event.paused_at, now))
        else:
            ended.append((event.id, change.values["status"], change.values["next_execution"], None, None, None, now))
            missed.append((event.id, Firing(None, None, change.missed)))
    await _END(connection, ended)
    await insert_missed(connection, missed, now)
