"""Fire times that did not run: one row a span."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.ids import new_id
from modules.core.scheduler.db_ops.base import MISSED_RUNS
from modules.core.scheduler.firing import Firing

LARGEST_COUNT: Final = 2**31 - 1


async def insert_missed(connection: AsyncConnection, firings: Iterable[tuple[str, Firing]], now: datetime) -> None:
    """Record what the firings of these events left out; nothing to record costs nothing."""
    rows = [
        {
            "id": new_id(),
            "event_id": event_id,
            "from_time": span.from_time,
            "until_time": span.until_time,
            "count": min(span.count, LARGEST_COUNT),  # a task of every second gets there after 68 years
            "reason": span.reason,
            "detail": span.detail,
            "recorded_at": now,
        }
        for event_id, firing in firings
        for span in firing.missed
    ]
    if rows:
        await connection.execute(insert(MISSED_RUNS), rows)
