"""One row that cannot go holds up no other, whoever holds it; keys of every shape fit into a batch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Boolean, Column, ForeignKey, Integer, MetaData, String, Table, insert
from sqlalchemy.exc import DBAPIError

from modules.core.column_types import UtcDateTime
from modules.core.database import Database
from tests.integration.cleanup.test_rows import NOW, clean, left

OLD = NOW - timedelta(hours=1)
TABLES = MetaData()
SESSIONS = Table("sessions", TABLES, Column("id", Integer, primary_key=True), Column("expires_at", UtcDateTime))
VISITS = Table(
    "visits",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("session_id", ForeignKey("sessions.id", deferrable=True, initially="DEFERRED")),
)
FLAGS = Table(
    "flags",
    TABLES,
    Column("number", Integer, primary_key=True),
    Column("flag", Boolean, primary_key=True),
    Column("expires_at", UtcDateTime),
)
WIDE = Table(
    "wide",
    TABLES,
    *(Column(name, Integer, primary_key=True, autoincrement=False) for name in ("a", "b", "c")),
    Column("d", String(10), primary_key=True),
    Column("expires_at", UtcDateTime),
)

REFUSALS = {
    "sqlite": ["""
        CREATE TRIGGER keep BEFORE DELETE ON sessions WHEN old.id = 2
        BEGIN SELECT RAISE(ABORT, 'row 2 is evidence'); END
    """],
    "postgresql": ["""
        CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN IF old.id = 2 THEN RAISE EXCEPTION 'row 2 is evidence'; END IF; RETURN old; END $$
    """, "CREATE TRIGGER keep BEFORE DELETE ON sessions FOR EACH ROW EXECUTE FUNCTION keep()"],
}  # fmt: skip


@pytest.fixture(params=["sqlite", "psycopg", "asyncpg"])
async def tables(request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """The tables, by each driver."""
    sqlite = request.param == "sqlite"
    url: str = request.getfixturevalue("sqlite_url" if sqlite else "postgres_url")
    opened = Database(url.replace("+psycopg", f"+{request.param}"))
    await opened.open()
    async with opened.transaction() as connection:
        await connection.run_sync(TABLES.create_all)
    yield opened
    await opened.close()


async def put(database: Database, table: Table, rows: list[dict[str, Any]]) -> None:
    async with database.transaction() as connection:
        await connection.execute(insert(table), rows)


async def test_a_deferred_foreign_key_speaks_up_at_the_commit(tables: Database) -> None:
    await put(tables, SESSIONS, [{"id": number, "expires_at": OLD} for number in range(6)])
    await put(tables, VISITS, [{"id": 1, "session_id": 2}])
    report = await clean(tables, SESSIONS.c.expires_at, batch_size=4)
    assert (report.matched, report.deleted, report.skipped) == (6, 5, 1)
    assert report.errors == ["row 2 is referred to by another table; delete or unlink that first"]
    assert await left(tables, SESSIONS) == [2]


async def test_a_trigger_that_refuses_a_row(tables: Database) -> None:
    await put(tables, SESSIONS, [{"id": number, "expires_at": OLD} for number in range(6)])
    async with tables.transaction() as connection:
        for statement in REFUSALS[tables.dialect_name]:
            await connection.exec_driver_sql(statement)
    report = await clean(tables, SESSIONS.c.expires_at, batch_size=4)
    assert (report.matched, report.deleted, report.skipped, len(report.errors)) == (6, 5, 1, 1)
    assert report.errors[0].startswith("row 2 is not given up by the database: ")
    assert "row 2 is evidence" in report.errors[0]
    assert await left(tables, SESSIONS) == [2]


async def test_what_is_no_fault_of_a_row_ends_the_cleanup(tables: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is full, or away, is not asked once more for each row."""
    await put(tables, SESSIONS, [{"id": number, "expires_at": OLD} for number in range(6)])
    asked = []

    class Full(Exception):
        sqlstate = None if tables.dialect_name == "sqlite" else "53100"

    async def run(work: Any) -> Any:
        asked.append(work)
        raise DBAPIError("DELETE", {}, Full("database or disk is full"))

    monkeypatch.setattr(tables, "run", run)
    with pytest.raises(DBAPIError, match="full"):
        await clean(tables, SESSIONS.c.expires_at)
    assert len(asked) == 1


async def test_a_key_that_holds_a_boolean(tables: Database) -> None:
    rows = [{"number": number // 2, "flag": number % 2 == 0, "expires_at": OLD} for number in range(20)]
    await put(tables, FLAGS, rows)
    report = await clean(tables, FLAGS.c.expires_at, batch_size=3)
    assert (report.deleted, report.batches, report.errors) == (20, 7, [])


async def test_a_batch_of_wide_keys_is_made_smaller(tables: Database) -> None:
    """9,000 keys of four columns overflow PostgreSQL's stack, and SQLite's number of parameters."""
    rows = [{"a": number, "b": 1, "c": 2, "d": "x", "expires_at": OLD} for number in range(9_500)]
    for start in range(0, len(rows), 1000):
        await put(tables, WIDE, rows[start : start + 1000])
    report = await clean(tables, WIDE.c.expires_at, batch_size=9_000)
    assert (report.deleted, report.batches) == (9_500, 10)
