"""The database as every module relies on it, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select, update
from sqlalchemy.exc import DBAPIError, OperationalError, StatementError
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.database import ATTEMPTS, Database, Json, UtcDateTime
from modules.core.errors import Unavailable
from tests.support.clock import WaitingClock

THINGS = Table(
    "things",
    MetaData(),
    Column("id", String(36), primary_key=True),
    Column("count", Integer, nullable=False, default=0),
    Column("moment", UtcDateTime),
    Column("body", Json),
)


@pytest.fixture
async def things(database_url: str) -> AsyncIterator[Database]:
    """An open database with one table `things` that holds the row `a`."""
    database = Database(database_url, clock=WaitingClock())
    await database.open()
    try:
        async with database.transaction() as connection:
            await connection.run_sync(THINGS.metadata.create_all)
            await connection.execute(insert(THINGS).values(id="a", count=0))
        yield database
    finally:
        await database.close()


async def count_of(database: Database, key: str = "a") -> int | None:
    async with database.read() as connection:
        number: int | None = await connection.scalar(select(THINGS.c.count).where(THINGS.c.id == key))
        return number


async def add_one(connection: AsyncConnection) -> None:
    """Read, think, write."""
    query = select(THINGS.c.count).where(THINGS.c.id == "a").with_for_update()
    seen = (await connection.execute(query)).scalar_one()
    await connection.execute(select(1))  # others get their turn meanwhile
    await connection.execute(update(THINGS).where(THINGS.c.id == "a").values(count=seen + 1))


@pytest.mark.parametrize("nodes", [1, 4])
async def test_400_concurrent_read_then_write_updates_lose_nothing(things: Database, nodes: int) -> None:
    """Eight clients read and write one row at once, through one set of connections or four; all 400 updates count."""
    databases = [things.clone() for _ in range(nodes)]
    for database in databases:
        await database.open()

    async def client(database: Database) -> None:
        for _ in range(50):
            await database.run(add_one)

    await asyncio.gather(*(client(databases[number % nodes]) for number in range(8)))

    assert await count_of(things) == 400
    for database in databases:
        await database.close()


async def test_a_transaction_is_all_or_nothing(things: Database) -> None:
    """An exception rolls back what came before it."""

    async def half_done() -> None:
        async with things.transaction() as connection:
            await connection.execute(update(THINGS).values(count=5))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await half_done()

    assert await count_of(things) == 0


async def test_run_returns_what_the_work_returns(things: Database) -> None:
    """And commits."""

    async def work(connection: AsyncConnection) -> str:
        await add_one(connection)
        return "done"

    assert await things.run(work) == "done"
    assert await count_of(things) == 1


async def test_readers_do_not_wait_for_a_writer(things: Database) -> None:
    """They see what was committed before."""
    async with things.transaction() as connection:
        await connection.execute(update(THINGS).values(count=5))
        async with asyncio.timeout(5):
            assert await count_of(things) == 0
    assert await count_of(things) == 5


async def test_a_moment_keeps_its_instant(things: Database) -> None:
    """Written in any zone, read in UTC, compared as time; a naive one is refused."""
    moment = datetime(2026, 3, 29, 3, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2)))

    async with things.transaction() as connection:
        await connection.execute(update(THINGS).values(moment=moment))
        stored = (await connection.execute(select(THINGS.c.moment))).scalar_one()
        earlier = moment.astimezone(UTC) - timedelta(microseconds=1)
        found = (await connection.execute(select(THINGS.c.id).where(THINGS.c.moment > earlier))).all()
        with pytest.raises(StatementError, match="naive datetime"):
            await connection.execute(update(THINGS).values(moment=datetime(2026, 1, 1)))

    assert stored == moment
    assert stored.utcoffset() == timedelta(0)
    assert len(found) == 1


async def test_json_comes_back_as_it_was(things: Database) -> None:
    """None is NULL, not the JSON word null."""
    body = {"text": "gr\u00fc\u00df dich", "list": [1, 2.5, None, True], "empty": {}}

    async with things.transaction() as connection:
        await connection.execute(update(THINGS).values(body=body))
        assert (await connection.execute(select(THINGS.c.body))).scalar_one() == body
        await connection.execute(update(THINGS).values(body=None))
        assert (await connection.execute(select(THINGS.c.id).where(THINGS.c.body.is_(None)))).all() != []


def transient(dialect: str) -> DBAPIError:
    """What the drivers raise when the same transaction may well succeed the next time."""
    cause: Exception = sqlite3.OperationalError("database is locked")
    if dialect != "sqlite":
        cause = Exception("could not serialize access")
        cause.sqlstate = "40001"  # type: ignore[attr-defined]
    return OperationalError("UPDATE", {}, cause)


async def test_a_transaction_that_was_in_the_way_is_tried_again(things: Database) -> None:
    """Whole: what the failed attempt wrote is gone. The waits are short and grow."""
    clock = things._clock
    assert isinstance(clock, WaitingClock)
    attempts: list[int] = []

    async def work(connection: AsyncConnection) -> None:
        await add_one(connection)
        attempts.append(1)
        if len(attempts) < 3:
            raise transient(things.dialect_name)

    await things.run(work)

    assert await count_of(things) == 1
    assert things.retries == 2
    assert len(clock.waits) == 2
    assert all(0 < seconds < 1 for seconds in clock.waits)


async def test_trying_again_has_an_end(things: Database) -> None:
    """Then the error is the caller's."""
    attempts: list[int] = []

    async def work(_connection: AsyncConnection) -> None:
        attempts.append(1)
        raise transient(things.dialect_name)

    with pytest.raises(OperationalError):
        await things.run(work)
    assert len(attempts) == ATTEMPTS


async def test_a_mistake_is_not_tried_again(things: Database) -> None:
    """A statement that cannot succeed fails at once."""
    attempts: list[int] = []

    async def work(connection: AsyncConnection) -> None:
        attempts.append(1)
        await connection.exec_driver_sql("SELECT * FROM no_such_table")

    with pytest.raises(DBAPIError):
        await things.run(work)
    assert len(attempts) == 1


async def test_on_sqlite_work_that_awaits_something_else_is_told_so_and_undone(sqlite_url: str) -> None:
    """It runs in the writer's thread, where no event loop is; the writer works on afterwards."""
    database = Database(sqlite_url)
    await database.open()
    async with database.transaction() as connection:
        await connection.run_sync(THINGS.metadata.create_all)
        await connection.execute(insert(THINGS).values(id="a", count=0))

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(update(THINGS).values(count=5))
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match=r"database\.transaction"):
        await database.run(work)
    assert await count_of(database) == 0
    await database.run(add_one)
    assert await count_of(database) == 1
    await database.close()


async def test_a_real_serialization_failure_is_tried_again(postgres_url: str) -> None:
    """PostgreSQL says so by SQLSTATE 40001, whichever driver hears it."""
    for url in (postgres_url, postgres_url.replace("+psycopg", "+asyncpg")):
        database = Database(url, clock=WaitingClock())
        await database.open()
        attempts: list[int] = []

        async def work(connection: AsyncConnection, attempts: list[int] = attempts) -> None:
            attempts.append(1)
            if len(attempts) == 1:
                await connection.exec_driver_sql(
                    "DO $$ BEGIN RAISE EXCEPTION 'in the way' USING ERRCODE = '40001'; END $$"
                )

        await database.run(work)
        assert len(attempts) == 2
        await database.close()


async def test_asyncpg_works_too(postgres_url: str) -> None:
    """The other driver, by URL alone."""
    database = Database(postgres_url.replace("+psycopg", "+asyncpg"))
    await database.open()
    async with database.transaction() as connection:
        await connection.run_sync(THINGS.metadata.create_all)
        await connection.execute(insert(THINGS).values(id="a", moment=datetime(2026, 1, 1, tzinfo=UTC), body={"a": 1}))
        assert (await connection.exec_driver_sql("SHOW timezone")).scalar_one() == "UTC"
        assert (await connection.exec_driver_sql("SHOW lock_timeout")).scalar_one() == "10s"
        assert (await connection.exec_driver_sql("SHOW plan_cache_mode")).scalar_one() == "force_custom_plan"
    async with database.read() as connection:
        row = (await connection.execute(select(THINGS))).one()
    assert (row.moment, row.body) == (datetime(2026, 1, 1, tzinfo=UTC), {"a": 1})
    await database.close()


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_sessions_are_in_utc_wherever_the_server_is(postgres_url: str, driver: str) -> None:
    """Casts and functions in SQL, an operator's too, mean UTC; the server's own zone decides nothing."""
    url = postgres_url.replace("psycopg", driver)
    first = Database(url)
    await first.open()
    async with first.transaction() as connection:
        await connection.exec_driver_sql(f"ALTER DATABASE {first.url.database} SET timezone = 'Asia/Tokyo'")
    await first.close()
    second = Database(url)
    await second.open()
    async with second.transaction() as connection:
        assert (await connection.exec_driver_sql("SHOW timezone")).scalar_one() == "UTC"
        noon = await connection.exec_driver_sql("SELECT CAST(CAST('2026-01-01 12:00+00' AS timestamptz) AS text)")
        assert noon.scalar_one() == "2026-01-01 12:00:00+00"
    await second.close()


async def test_a_write_transaction_on_sqlite_keeps_other_writers_out_from_its_first_moment(sqlite_url: str) -> None:
    """Before it has read anything: what it reads cannot be old by the time it writes."""
    database = Database(sqlite_url)
    await database.open()
    other = sqlite3.connect(database.url.database or "", timeout=0, isolation_level=None)
    try:
        async with database.transaction():
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    finally:
        other.close()
        await database.close()


async def test_a_reader_on_sqlite_sees_one_moment(sqlite_url: str) -> None:
    """However long it reads, and whoever writes meanwhile."""
    database = Database(sqlite_url)
    await database.open()
    async with database.transaction() as connection:
        await connection.run_sync(THINGS.metadata.create_all)
    async with database.read() as reader:
        for key in ("a", "b"):
            assert (await reader.execute(select(THINGS))).all() == []
            async with database.transaction() as writer:
                await writer.execute(insert(THINGS).values(id=key))
    await database.close()


async def test_readers_cannot_write_on_sqlite(sqlite_url: str) -> None:
    """A write that slipped into a reader would break the order of writers; SQLite refuses it."""
    database = Database(sqlite_url)
    await database.open()
    with pytest.raises(OperationalError, match="readonly"):
        async with database.read() as connection:
            await connection.exec_driver_sql("CREATE TABLE forbidden (id INTEGER)")
    await database.close()


async def test_sqlite_is_set_up_as_promised(sqlite_url: str) -> None:
    """Write-ahead log, foreign keys, and the durability that was asked for, on every connection."""
    database = Database(sqlite_url, sqlite_synchronous="NORMAL")
    await database.open()
    for engine in (database.write_engine, database.read_engine):
        async with engine.begin() as connection:
            pragmas = [
                (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one()
                for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
            ]
        assert pragmas == ["wal", 1, 1, 10_000]
    await database.close()


async def test_a_closed_database_says_so(things: Database) -> None:
    """Close may be repeated; a new open works."""
    await things.close()
    await things.close()
    with pytest.raises(Unavailable, match="not open"):
        await count_of(things)

    await things.open()
    await things.open()
    assert await count_of(things) == 0


async def test_who_is_alone_keeps_others_out(database_url: str) -> None:
    """Several nodes make their tables and first rows at their start: one after the other."""
    one, two = Database(database_url), Database(database_url)
    await one.open()
    await two.open()

    async def enter() -> None:
        async with two.alone():
            pass

    async with one.alone():
        other = asyncio.create_task(enter())
        done, _ = await asyncio.wait({other}, timeout=0.3)
        assert not done
    await other
    await one.close()
    await two.close()
