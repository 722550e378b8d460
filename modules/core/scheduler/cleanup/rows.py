"""Old rows of allowed tables, in short transactions along the primary key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, DateTime, and_, delete, or_, select, tuple_
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.column_types import UtcDateTime
from modules.core.database import Database
from modules.core.scheduler.cleanup.config import InvalidCleanup, RowRule
from modules.core.scheduler.cleanup.report import Budget, CleanupReport
from modules.core.scheduler.cleanup.targets import TableTarget

Key = tuple[Any, ...]


async def clean_rows(
    database: Database, target: TableTarget, rule: RowRule, now: datetime, budget: Budget, *, dry_run: bool
) -> CleanupReport:
    """Delete rows strictly older than the cutoff; those without a date stay. A dry run walks the same way."""
    cutoff = now - timedelta(hours=rule.hours)
    report = CleanupReport(f"{target.table.name}.{target.column.name}", "rows", dry_run, cutoff)
    old = _old(target, cutoff)
    after: Key | None = None
    while True:
        keys = await _next_keys(database, target, old, after, rule.batch_size)
        if not keys:
            return report
        after = keys[-1]
        report.batches += 1
        report.matched += len(keys)
        for key in keys[:10]:
            report.show(", ".join(str(part) for part in key))
        if not dry_run:
            await _delete(database, target, old, keys, report)
        if len(keys) < rule.batch_size:
            return report
        if budget.used_up:
            report.complete = False
            return report


def _old(target: TableTarget, cutoff: datetime) -> ColumnElement[bool]:
    kind = target.column.type
    naive = isinstance(kind, DateTime) and not isinstance(kind, UtcDateTime) and not kind.timezone
    condition = target.column < (cutoff.astimezone(UTC).replace(tzinfo=None) if naive else cutoff)
    return condition if target.where is None else and_(condition, target.where)


async def _next_keys(
    database: Database, target: TableTarget, old: ColumnElement[bool], after: Key | None, size: int
) -> list[Key]:
    columns = list(target.table.primary_key.columns)
    query = select(*columns).where(old).order_by(*columns).limit(size)
    if after is not None:
        query = query.where(_beyond(columns, after))
    try:
        async with database.read() as connection:
            return [tuple(row) for row in await connection.execute(query)]
    except (OperationalError, ProgrammingError) as error:
        if "no such table" in str(error.orig) or "does not exist" in str(error.orig):
            raise InvalidCleanup(
                f"The table {target.table.name!r} is not in this database: create it before its cleanup runs."
            ) from error
        raise


async def _delete(
    database: Database, target: TableTarget, old: ColumnElement[bool], keys: Sequence[Key], report: CleanupReport
) -> None:
    """Each row is looked at again: one that was renewed meanwhile stays."""

    async def all_at_once(connection: AsyncConnection) -> int:
        statement = delete(target.table).where(_among(target, keys), old)
        return (await connection.execute(statement)).rowcount

    try:
        report.deleted += await database.run(all_at_once)
    except IntegrityError:
        await _delete_one_by_one(database, target, old, keys, report)


async def _delete_one_by_one(
    database: Database, target: TableTarget, old: ColumnElement[bool], keys: Sequence[Key], report: CleanupReport
) -> None:
    """A row that others refer to must not hold up the rest of its batch."""

    async def each(connection: AsyncConnection) -> tuple[int, list[str]]:
        deleted, held = 0, []
        for key in keys:
            try:
                async with connection.begin_nested():
                    statement = delete(target.table).where(_among(target, [key]), old)
                    deleted += (await connection.execute(statement)).rowcount
            except IntegrityError:
                held.append(", ".join(str(part) for part in key))
        return deleted, held

    deleted, held = await database.run(each)
    report.deleted += deleted
    report.skipped += len(held)
    for key in held:
        report.fail(f"row {key} is referred to by another table; delete or unlink that first")


def _among(target: TableTarget, keys: Sequence[Key]) -> ColumnElement[bool]:
    columns = list(target.table.primary_key.columns)
    if len(columns) == 1:
        return columns[0].in_([key[0] for key in keys])
    return tuple_(*columns).in_(keys)


def _beyond(columns: Sequence[Any], after: Key) -> ColumnElement[bool]:
    """Keys after this one in the order of the columns; written out, because not every type compares as a tuple."""
    return or_(
        *(
            and_(*(columns[before] == after[before] for before in range(index)), columns[index] > after[index])
            for index in range(len(columns))
        )
    )
