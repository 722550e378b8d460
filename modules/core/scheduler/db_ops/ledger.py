"""What became of the fire times of one task: executions by occurrence, and spans that were missed.

Each question reads an index in the order in which it is answered, and stops with the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.scheduler.db_models import EventExecution, MissedRun
from modules.core.scheduler.db_ops.base import EXECUTIONS, MISSED_RUNS, Statements, read
from modules.core.scheduler.db_ops.salvage import readable_rows

MOST_ATTEMPTS = 2_000  # of all occurrences of a page together


@dataclass(frozen=True, slots=True)
class LedgerWindow:
    """Which part of a task's ledger: positions from `low` to `high`, both inclusive, None is no bound.

    With `covering`, also the span that began before `low` and reaches it.
    """

    low: datetime | None
    high: datetime | None
    newest_first: bool
    limit: int
    covering: bool = True


@dataclass(frozen=True, slots=True)
class LedgerRows:
    """`attempts` of at most `limit` occurrences, and at most `limit` spans; both in the order asked for."""

    attempts: list[EventExecution]
    missed: list[MissedRun]


class LedgerStatements(Statements):
    @read
    async def ledger(self, connection: AsyncConnection, event_id: str, window: LedgerWindow) -> LedgerRows:
        """What is on record of these fire times, from one snapshot."""
        attempts = await _attempts(connection, event_id, window)
        return LedgerRows(attempts, await _missed(connection, event_id, window))


async def _attempts(connection: AsyncConnection, event_id: str, window: LedgerWindow) -> list[EventExecution]:
    at, kind, attempt = EXECUTIONS.c.scheduled_for, EXECUTIONS.c.kind, EXECUTIONS.c.attempt
    occurrences = (
        select(at, kind)
        .where(EXECUTIONS.c.event_id == event_id, *_between(at, window.low, window.high))
        .group_by(at, kind)
        .order_by(*_in_order(window, at, kind))
        .limit(window.limit)
    )
    found = (await connection.execute(occurrences)).all()
    if not found:
        return []
    first, last = sorted((found[0], found[-1]))
    query = (
        select(EXECUTIONS)
        .where(EXECUTIONS.c.event_id == event_id, *_between(at, first.scheduled_for, last.scheduled_for))
        .order_by(*_in_order(window, at, kind, attempt))
        .limit(MOST_ATTEMPTS)
    )
    wanted = {tuple(row) for row in found}
    rows = cast(list[EventExecution], await readable_rows(connection, query, EXECUTIONS))
    return [row for row in rows if (row.scheduled_for, row.kind) in wanted]


async def _missed(connection: AsyncConnection, event_id: str, window: LedgerWindow) -> list[MissedRun]:
    begins = MISSED_RUNS.c.from_time
    low = window.low
    if low is not None and window.covering:
        # Spans of one task do not overlap: the last one that began before is the only one that can reach.
        before = (
            select(begins, MISSED_RUNS.c.until_time)
            .where(MISSED_RUNS.c.event_id == event_id, begins < low)
            .order_by(begins.desc())
            .limit(1)
        )
        span = (await connection.execute(before)).first()
        low = span.from_time if span is not None and span.until_time >= low else low
    query = (
        select(MISSED_RUNS)
        .where(MISSED_RUNS.c.event_id == event_id, *_between(begins, low, window.high))
        .order_by(*_in_order(window, begins))
        .limit(window.limit)
    )
    return cast(list[MissedRun], await readable_rows(connection, query, MISSED_RUNS))


def _between(column: Any, low: datetime | None, high: datetime | None) -> list[ColumnElement[bool]]:
    return [*([column >= low] if low is not None else []), *([column <= high] if high is not None else [])]


def _in_order(window: LedgerWindow, *columns: Any) -> Sequence[Any]:
    return [column.desc() for column in columns] if window.newest_first else columns
