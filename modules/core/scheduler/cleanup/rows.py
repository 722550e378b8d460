"""Old rows of allowed tables, in short transactions along the primary key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, delete, literal, or_, select, tuple_
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.database import Database
from modules.core.database_errors import is_transient
from modules.core.scheduler.cleanup.config import InvalidCleanup, RowRule
from modules.core.scheduler.cleanup.dates import check_date_column, older_than, unreadable_dates
from modules.core.scheduler.cleanup.report import Budget, CleanupReport, shown
from modules.core.scheduler.cleanup.targets import TableTarget

Key = tuple[Any, ...]

# PostgreSQL makes a tree as deep as the list from a list of composite keys, and its stack has a limit.
COMPOSITE_PARTS_AT_ONCE: Final = 4_000
UNDEFINED_TABLE: Final = "42P01"
HELD: Final = ("23001", "23503")
# Connection, transaction state, resources, operator (but for a statement's time limit), system, server.
NOT_ABOUT_A_ROW: Final = ("08", "25", "53", "57", "58", "XX")
TIMED_OUT: Final = "57014"


async def clean_rows(
    database: Database, target: TableTarget, rule: RowRule, now: datetime, budget: Budget, *, dry_run: bool
) -> CleanupReport:
    """Delete rows strictly older than the cutoff; those without a date stay. A dry run walks the same way.

    Raises InvalidCleanup when the table is missing or its dates cannot be compared.
    """
    check_date_column(target, database.dialect_name)
    cutoff = now - timedelta(hours=rule.hours)
    report = CleanupReport(f"{target.table.fullname}.{target.column.name}", "rows", dry_run, cutoff)
    old = _if_allowed(target, older_than(target.column, cutoff, database.write_engine.dialect))
    size = _batch_size(target, rule)
    await _report_unreadable(database, target, report)
    after: Key | None = None
    while True:
        keys = await _next_keys(database, target, old, after, size)
        if not keys:
            return report
        after = keys[-1]
        report.batches += 1
        report.matched += len(keys)
        for key in keys[:10]:
            report.show(_key_text(key))
        if not dry_run:
            await _delete(database, target, old, keys, report)
        if len(keys) < size:
            return report
        if budget.used_up:
            report.complete = False
            return report


def _if_allowed(target: TableTarget, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return condition if target.where is None else and_(condition, target.where)


def _batch_size(target: TableTarget, rule: RowRule) -> int:
    columns = len(target.table.primary_key.columns)
    return rule.batch_size if columns == 1 else max(1, min(rule.batch_size, COMPOSITE_PARTS_AT_ONCE // columns))


async def _report_unreadable(database: Database, target: TableTarget, report: CleanupReport) -> None:
    """SQLite only: count what a date column holds that is no date; nobody knows how old such a row is."""
    if database.dialect_name != "sqlite":
        return
    [(count,)] = await _read(database, target, unreadable_dates(target.column, target.where))
    if count:
        report.skipped += count
        report.fail(
            f"{count} rows stay: their {target.column.name} is no text such as '2026-03-02 12:00:00.000000' (in UTC); "
            "write it through SQLAlchemy, or mend it"
        )


async def _next_keys(
    database: Database, target: TableTarget, old: ColumnElement[bool], after: Key | None, size: int
) -> list[Key]:
    columns = list(target.table.primary_key.columns)
    query = select(*columns).where(old).order_by(*columns).limit(size)
    if after is not None:
        query = query.where(_beyond(columns, after))
    return await _read(database, target, query)


async def _read(database: Database, target: TableTarget, query: Any) -> list[Key]:
    try:
        async with database.read() as connection:
            return [tuple(row) for row in await connection.execute(query)]
    except (OperationalError, ProgrammingError) as error:
        if _sqlstate(error) == UNDEFINED_TABLE or "no such table" in str(error.orig):
            raise InvalidCleanup(
                f"The table {target.table.fullname!r} is not in this database: create it before its cleanup runs."
            ) from error
        raise


async def _delete(
    database: Database, target: TableTarget, old: ColumnElement[bool], keys: Sequence[Key], report: CleanupReport
) -> None:
    """Delete a batch at once, or where a row of it cannot go, one by one: that must not hold up the others."""
    try:
        report.deleted += await _delete_keys(database, target, old, keys)
    except DBAPIError as error:
        if not _is_about_a_row(error):
            raise
        await _delete_one_by_one(database, target, old, keys, report)


async def _delete_one_by_one(
    database: Database, target: TableTarget, old: ColumnElement[bool], keys: Sequence[Key], report: CleanupReport
) -> None:
    """A transaction for each row, since a deferred constraint speaks up at the commit only."""
    for key in keys:
        try:
            report.deleted += await _delete_keys(database, target, old, [key])
        except DBAPIError as error:
            if not _is_about_a_row(error):
                raise
            report.skipped += 1
            report.fail(f"row {_key_text(key)} {_refusal(error)}")


async def _delete_keys(database: Database, target: TableTarget, old: ColumnElement[bool], keys: Sequence[Key]) -> int:
    """Each row is looked at again: one that was renewed meanwhile stays."""

    async def work(connection: AsyncConnection) -> int:
        statement = delete(target.table).where(_among(target, keys), old)
        return (await connection.execute(statement)).rowcount

    return await database.run(work)


def _is_about_a_row(error: DBAPIError) -> bool:
    """Whether other rows may well go; not so when the database is away, busy, full or read-only."""
    if error.connection_invalidated or is_transient(error):
        return False
    state = _sqlstate(error)
    if state is None:
        return isinstance(error, IntegrityError)
    return state == TIMED_OUT or not state.startswith(NOT_ABOUT_A_ROW)


def _refusal(error: DBAPIError) -> str:
    if _sqlstate(error) in HELD or "FOREIGN KEY" in str(error.orig):
        return "is referred to by another table; delete or unlink that first"
    return f"is not given up by the database: {shown(str(error.orig).partition(chr(10))[0])}"


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


def _key_text(key: Key) -> str:
    return shown(", ".join(str(part) for part in key))


def _among(target: TableTarget, keys: Sequence[Key]) -> ColumnElement[bool]:
    columns = list(target.table.primary_key.columns)
    if len(columns) == 1:
        return columns[0].in_([key[0] for key in keys])
    return tuple_(*columns).in_(keys)


def _beyond(columns: Sequence[Any], after: Key) -> ColumnElement[bool]:
    """Keys after this one in the order of the columns; written out, because not every type compares as a tuple."""
    # Literals of the column's type: SQLAlchemy compares a plain True by IS, and refuses to order by it.
    last = [literal(value, column.type) for column, value in zip(columns, after, strict=True)]
    return or_(
        *(
            and_(*(columns[before] == last[before] for before in range(index)), columns[index] > last[index])
            for index in range(len(columns))
        )
    )
