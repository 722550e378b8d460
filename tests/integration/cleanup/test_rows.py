"""Old rows go in batches, whatever the key and the kind of date; held and renewed rows stay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Column, DateTime, ForeignKey, Integer, MetaData, String, Table, insert, select, update
from sqlalchemy.exc import DBAPIError

from modules.core.column_types import UtcDateTime
from modules.core.database import Database
from modules.core.scheduler.cleanup import CleanupReport, InvalidCleanup, RowRule
from modules.core.scheduler.cleanup.report import Budget
from modules.core.scheduler.cleanup.rows import clean_rows
from modules.core.scheduler.cleanup.targets import CleanupTargets

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
TABLES = MetaData()
SESSIONS = Table(
    "sessions",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("expires_at", UtcDateTime),
    Column("kind", String(10)),
)
VISITS = Table(
    "visits", TABLES, Column("id", Integer, primary_key=True), Column("session_id", ForeignKey("sessions.id"))
)
PAIRS = Table(
    "pairs",
    TABLES,
    Column("left", Integer, primary_key=True),
    Column("right", String(5), primary_key=True),
    Column("made_at", DateTime),
)


@pytest.fixture
async def tables(database: Database) -> Database:
    async with database.transaction() as connection:
        await connection.run_sync(TABLES.create_all)
    return database


async def put(database: Database, table: Table, rows: list[dict[str, Any]]) -> None:
    async with database.transaction() as connection:
        await connection.execute(insert(table), rows)


async def left(database: Database, table: Table) -> list[Any]:
    async with database.read() as connection:
        column = next(iter(table.primary_key.columns))
        return list((await connection.execute(select(column).order_by(column))).scalars())


async def clean(
    database: Database,
    column: Any,
    *,
    where: Any = None,
    dry_run: bool = False,
    seconds: float = 60,
    clock: Any = lambda: 0.0,
    **rule: Any,
) -> CleanupReport:
    targets = CleanupTargets()
    targets.allow_table(column, where=where)
    target = targets.table(column.table.name, column.name)
    full = RowRule(column.table.name, column.name, **rule)
    return await clean_rows(database, target, full, NOW, Budget(seconds, clock), dry_run=dry_run)


def session(number: int, hours: float | None, kind: str = "web") -> dict[str, Any]:
    expires_at = None if hours is None else NOW - timedelta(hours=hours)
    return {"id": number, "expires_at": expires_at, "kind": kind}


async def test_rows_go_in_batches_and_undated_ones_stay(tables: Database) -> None:
    rows = [session(number, 1) for number in range(25)]
    await put(tables, SESSIONS, [*rows, session(100, None), session(101, -1), session(102, 0)])
    report = await clean(tables, SESSIONS.c.expires_at, batch_size=10)
    assert (report.matched, report.deleted, report.batches, report.complete) == (25, 25, 3, True)
    assert report.cutoff == NOW
    assert await left(tables, SESSIONS) == [100, 101, 102]


async def test_an_age_moves_the_cutoff(tables: Database) -> None:
    await put(tables, SESSIONS, [session(1, 23), session(2, 24), session(3, 25)])
    await clean(tables, SESSIONS.c.expires_at, max_age_days=1)
    assert await left(tables, SESSIONS) == [1, 2]


async def test_a_dry_run_deletes_nothing_and_says_the_same(tables: Database) -> None:
    await put(tables, SESSIONS, [session(number, 1) for number in range(25)])
    report = await clean(tables, SESSIONS.c.expires_at, batch_size=10, dry_run=True)
    assert (report.matched, report.deleted, report.batches) == (25, 0, 3)
    assert report.sample == [str(number) for number in range(10)]
    assert len(await left(tables, SESSIONS)) == 25


async def test_a_condition_of_the_code_always_holds(tables: Database) -> None:
    await put(tables, SESSIONS, [session(1, 5, "web"), session(2, 5, "api")])
    await clean(tables, SESSIONS.c.expires_at, where=SESSIONS.c.kind == "web")
    assert await left(tables, SESSIONS) == [2]


async def test_composite_keys_and_naive_dates(tables: Database) -> None:
    made_at = (NOW - timedelta(hours=1)).replace(tzinfo=None)
    rows = [{"left": number // 3, "right": "abc"[number % 3], "made_at": made_at} for number in range(20)]
    await put(tables, PAIRS, [*rows, {"left": 99, "right": "z", "made_at": NOW.replace(tzinfo=None)}])
    report = await clean(tables, PAIRS.c.made_at, batch_size=7)
    assert (report.deleted, report.batches) == (20, 3)
    assert await left(tables, PAIRS) == [99]


async def test_a_row_that_others_refer_to_stays_and_holds_up_nobody(tables: Database) -> None:
    await put(tables, SESSIONS, [session(number, 1) for number in range(6)])
    await put(tables, VISITS, [{"id": 1, "session_id": 2}])
    report = await clean(tables, SESSIONS.c.expires_at, batch_size=4)
    assert (report.matched, report.deleted, report.skipped) == (6, 5, 1)
    assert "row 2" in report.errors[0]
    assert await left(tables, SESSIONS) == [2]


async def test_when_the_time_is_up_one_batch_is_done_and_the_next_run_goes_on(tables: Database) -> None:
    await put(tables, SESSIONS, [session(number, 1) for number in range(25)])
    ticks = iter([0.0] + [99.0] * 99)
    report = await clean(tables, SESSIONS.c.expires_at, batch_size=10, seconds=1, clock=lambda: next(ticks))
    assert (report.deleted, report.complete) == (10, False)
    assert (await clean(tables, SESSIONS.c.expires_at, batch_size=10)).deleted == 15


async def test_a_table_that_is_not_there_is_a_clear_error(database: Database) -> None:
    with pytest.raises(InvalidCleanup, match="is not in this database"):
        await clean(database, SESSIONS.c.expires_at)


async def test_a_table_without_the_column_is_not_called_a_missing_table(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.exec_driver_sql("CREATE TABLE sessions (id INTEGER PRIMARY KEY)")
    with pytest.raises(DBAPIError, match="expires_at"):
        await clean(database, SESSIONS.c.expires_at)


@pytest.mark.parametrize("held", [False, True])
async def test_a_row_that_was_renewed_after_it_was_found_stays(
    tables: Database, monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    """In a batch that goes at once, and in one that goes row by row because one of it is held."""
    await put(tables, SESSIONS, [session(number, 1) for number in range(4)])
    if held:
        await put(tables, VISITS, [{"id": 1, "session_id": 2}])
    run = tables.run

    async def run_after_a_renewal(work: Any) -> Any:
        async with tables.transaction() as connection:
            renewal = update(SESSIONS).where(SESSIONS.c.id == 1).values(expires_at=NOW + timedelta(hours=1))
            await connection.execute(renewal)
        return await run(work)

    monkeypatch.setattr(tables, "run", run_after_a_renewal)
    report = await clean(tables, SESSIONS.c.expires_at)
    assert (report.matched, report.deleted) == (4, 2 if held else 3)
    assert await left(tables, SESSIONS) == ([1, 2] if held else [1])
