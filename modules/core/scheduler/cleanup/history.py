"""Our own history: executions and missed fire times that are old enough to forget."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Table, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.database import Database
from modules.core.scheduler.cleanup.report import Budget, CleanupReport
from modules.core.scheduler.db_models import EventExecution, MissedRun

EXECUTIONS = cast(Table, EventExecution.__table__)
MISSED_RUNS = cast(Table, MissedRun.__table__)


async def clean_history(
    database: Database, keep_days: int, now: datetime, budget: Budget, *, batch_size: int, dry_run: bool
) -> CleanupReport:
    """Delete executions that ended before the cutoff, and missed spans recorded before it.

    Open executions stay whatever their age, and so do the last success and the last failure of each task.
    """
    cutoff = now - timedelta(days=keep_days)
    report = CleanupReport(EXECUTIONS.name, "history", dry_run, cutoff)
    after = ""
    while True:
        rows = await _old_executions(database, cutoff, after, batch_size)
        if rows:
            after = rows[-1].id
            report.batches += 1
            kept = await _last_of_each(database, {row.event_id for row in rows})
            going = [row.id for row in rows if row.id not in kept]
            await _take(database, EXECUTIONS, going, report)
        if len(rows) < batch_size:
            break
        if budget.used_up:
            report.complete = False
            return report
    await _clean_missed(database, cutoff, budget, batch_size, report)
    return report


async def _old_executions(database: Database, cutoff: datetime, after: str, limit: int) -> Sequence[Any]:
    # Ids grow with time: nothing with an id beyond the last old one needs to be looked at.
    query = (
        select(EXECUTIONS.c.id, EXECUTIONS.c.event_id)
        .where(EXECUTIONS.c.end_time < cutoff, EXECUTIONS.c.id > after)
        .order_by(EXECUTIONS.c.id)
        .limit(limit)
    )
    async with database.read() as connection:
        return (await connection.execute(query)).all()


async def _last_of_each(database: Database, event_ids: set[str]) -> set[str]:
    """The newest closed success and the newest closed failure of these events."""
    query = (
        select(func.max(EXECUTIONS.c.id))
        .where(EXECUTIONS.c.event_id.in_(sorted(event_ids)), EXECUTIONS.c.success.is_not(None))
        .group_by(EXECUTIONS.c.event_id, EXECUTIONS.c.success)
    )
    async with database.read() as connection:
        return set((await connection.execute(query)).scalars())


async def _clean_missed(
    database: Database, cutoff: datetime, budget: Budget, limit: int, report: CleanupReport
) -> None:
    after = ""
    while True:
        query = (
            select(MISSED_RUNS.c.id)
            .where(MISSED_RUNS.c.recorded_at < cutoff, MISSED_RUNS.c.id > after)
            .order_by(MISSED_RUNS.c.id)
            .limit(limit)
        )
        async with database.read() as connection:
            ids = (await connection.execute(query)).scalars().all()
        if ids:
            after = ids[-1]
            report.batches += 1
            await _take(database, MISSED_RUNS, ids, report)
        if len(ids) < limit:
            return
        if budget.used_up:
            report.complete = False
            return


async def _take(database: Database, table: Table, ids: Sequence[str], report: CleanupReport) -> None:
    report.matched += len(ids)
    for row_id in ids[:10]:
        report.show(row_id)
    if report.dry_run or not ids:
        return

    async def work(connection: AsyncConnection) -> int:
        return (await connection.execute(delete(table).where(table.c.id.in_(ids)))).rowcount

    report.deleted += await database.run(work)
