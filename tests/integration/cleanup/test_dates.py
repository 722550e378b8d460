"""How old a row is, whatever its column holds: SQLite keeps anything, and decorators differ in what they take."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Column, DateTime, Integer, MetaData, String, Table, insert, text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from modules.core.column_types import UtcDateTime
from modules.core.database import Database
from modules.core.scheduler.cleanup import InvalidCleanup
from tests.integration.cleanup.test_rows import NOW, clean, left
from tests.support.app import manual_clock, running_app

NAIVE_NOW = NOW.replace(tzinfo=None)


class TakesAware(TypeDecorator[datetime]):
    """SQLAlchemy's own recipe: aware moments, kept as naive UTC."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise TypeError("tzinfo is required")
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)


class TakesAnything(TypeDecorator[datetime]):
    """Hands on what it is given, as most decorators that only read differently."""

    impl = DateTime
    cache_ok = True


class KeepsTheOffset(TypeDecorator[datetime]):
    """An aware column with some code of its own around it."""

    impl = DateTime(timezone=True)
    cache_ok = True


def table_of(kind: Any) -> Table:
    return Table(
        "sessions",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("expires_at", kind),
        Column("kind", String(10)),
    )


@pytest.fixture(params=["sqlite", "psycopg", "asyncpg"])
async def database(request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """An open database without tables, by each driver."""
    sqlite = request.param == "sqlite"
    url: str = request.getfixturevalue("sqlite_url" if sqlite else "postgres_url")
    opened = Database(url.replace("+psycopg", f"+{request.param}"))
    await opened.open()
    yield opened
    await opened.close()


async def make(database: Database, table: Table, rows: list[dict[str, Any]]) -> None:
    async with database.transaction() as connection:
        await connection.run_sync(table.create)
        if rows:
            await connection.execute(insert(table), rows)


@pytest.mark.parametrize(
    ("kind", "aware"), [(DateTime(), False), (TakesAnything(), False), (TakesAware(), True), (UtcDateTime(), True)]
)
async def test_the_kind_of_the_column_does_not_matter(database: Database, kind: Any, aware: bool) -> None:
    """What is naive in the database is UTC, whatever the decorator before it takes."""
    table = table_of(kind)
    moments = {1: timedelta(hours=-1), 2: timedelta(0), 3: timedelta(hours=1), 4: timedelta(microseconds=-1)}
    now = NOW if aware else NAIVE_NOW
    await make(database, table, [{"id": number, "expires_at": now + ago} for number, ago in moments.items()])
    report = await clean(database, table.c.expires_at)
    assert (report.deleted, report.skipped, report.errors) == (2, 0, [])
    assert await left(database, table) == [2, 3]


@pytest.mark.parametrize("kind", [DateTime(timezone=True), KeepsTheOffset()])
async def test_columns_that_lose_their_offset_are_refused(database: Database, kind: Any) -> None:
    """SQLite only: there 23:30+12:00 is kept as 23:30."""
    table = table_of(kind)
    await make(database, table, [{"id": 1, "expires_at": NOW - timedelta(hours=1)}])
    if database.dialect_name == "sqlite":
        with pytest.raises(InvalidCleanup, match=r"modules\.core\.column_types\.UtcDateTime"):
            await clean(database, table.c.expires_at)
    else:
        assert (await clean(database, table.c.expires_at)).deleted == 1


async def test_such_a_column_is_refused_when_its_cleanup_is_registered(database_url: str) -> None:
    async with running_app(database_url, clock=manual_clock()) as app:
        table = table_of(DateTime(timezone=True))
        app.context.get_service("core.scheduler.cleanup").allow_table(table.c.expires_at)
        config = {"table_name": "sessions", "date_column": "expires_at"}
        result = await app.service.register_cleanup_task("shop", "sessions", config)
        assert result.success == (not database_url.startswith("sqlite"))
        if not result.success:
            assert (result.error or {})["code"] == "INVALID_CLEANUP"


UNREADABLE = ["1700000000", "1.5", "''", "'01/02/1999'", "'1999'", "'1999-01-01'", "'1999-01-01T00:00:00Z'",
              "'1999-01-01 00:00:00+05:00'", "'1999-01-01 00:00:00Z'", "x'00'", "'00'",
              "CAST('1999-01-01 00:00:00' AS BLOB)"]  # fmt: skip


@pytest.mark.parametrize("kind", [DateTime(), UtcDateTime()])
async def test_sqlite_keeps_rows_whose_date_is_none(sqlite_url: str, kind: Any) -> None:
    """Numbers sort before all text: by comparison alone each of these was old."""
    database = Database(sqlite_url)
    await database.open()
    table = table_of(kind)
    await make(database, table, [{"id": 100, "expires_at": None}])
    readable = ["'1999-01-01 00:00:00'", "'1999-01-01 00:00:00.000001'", "'1999-01-01T00:00:00'"]
    dates = [*UNREADABLE, *readable, "'2199-01-01 00:00:00'"]
    async with database.transaction() as connection:
        for number, date in enumerate(dates):
            sql = f"INSERT INTO sessions (id, expires_at, kind) VALUES ({number}, {date}, 'web')"
            await connection.execute(text(sql))
    for dry_run in (True, False):
        report = await clean(database, table.c.expires_at, dry_run=dry_run)
        assert (report.matched, report.skipped) == (len(readable), len(UNREADABLE))
        assert f"{len(UNREADABLE)} rows stay: their expires_at is no text such as" in report.errors[0]
    assert await left(database, table) == [*range(len(UNREADABLE)), len(dates) - 1, 100]
    narrowed = await clean(database, table.c.expires_at, where=table.c.kind == "api")
    assert (narrowed.skipped, narrowed.errors) == (0, []), "what code leaves out is not looked at"
    await database.close()
