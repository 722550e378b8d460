"""Many rows in one statement: what goes in comes out, whatever the driver, the number and the shape of the values."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Column, Float, Integer, MetaData, String, Table, literal_column, select

from modules.core.column_types import Json, UtcDateTime
from modules.core.database import Database
from modules.core.scheduler.db_ops.many_rows import InsertRows, UpdateRows

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
THINGS = Table(
    "things",
    MetaData(),
    Column("id", String(36), primary_key=True),
    Column("fence", Integer, nullable=False),
    Column("body", Json),
    Column("moment", UtcDateTime),
    Column("size", Float),
)
NAMES = ("id", "fence", "body", "moment", "size")
BODIES: list[Any] = [
    None, [], {}, [1, "two", None], [[1], [2, [3]]], {"a": [True, {"b": 'quote " and back \\ slash'}]}, "text", 0,
    False, ["{", "}", ",", "NULL"],
]  # fmt: skip


@pytest.fixture(params=["sqlite", "psycopg", "asyncpg"])
async def things(request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    is_sqlite = request.param == "sqlite"
    url = request.getfixturevalue("sqlite_url" if is_sqlite else "postgres_url").replace(
        "+psycopg", f"+{request.param}"
    )
    database = Database(url.replace("+sqlite", ""))
    await database.open()
    async with database.transaction() as connection:
        await connection.run_sync(THINGS.metadata.create_all)
    yield database
    await database.close()


async def _insert(database: Database, rows: list[tuple[Any, ...]]) -> None:
    insert = InsertRows(THINGS, NAMES)
    await database.run(lambda connection: insert(connection, rows), lane="test")


async def _all(database: Database) -> list[tuple[Any, ...]]:
    async with database.read() as connection:
        return [tuple(row) for row in await connection.execute(select(THINGS).order_by(THINGS.c.id))]


async def test_json_of_any_shape_and_null_are_kept_apart(things: Database) -> None:
    """A list is a value, and no second dimension of the array that carries it."""
    rows = [(f"{number:03}", number, body, NOON, None) for number, body in enumerate(BODIES)]
    await _insert(things, rows)
    assert await _all(things) == rows
    async with things.read() as connection:
        nulls = await connection.execute(select(THINGS.c.id).where(THINGS.c.body.is_(None)))
        assert nulls.scalars().all() == ["000"], "None is SQL's NULL, and nothing else is"


@pytest.mark.parametrize("number", [0, 1, 3, 4, 23, 100, 624, 1001])
async def test_any_number_of_rows_goes(things: Database, number: int) -> None:
    rows = [(f"{index:06}", 1, {"n": index}, NOON + timedelta(seconds=index), index / 2) for index in range(number)]
    await _insert(things, rows)
    assert await _all(things) == rows


async def test_an_update_matches_what_is_as_it_was_seen_and_says_how_many(things: Database) -> None:
    await _insert(things, [(f"{index:06}", index % 2, None, NOON, 1.0) for index in range(130)])
    update = UpdateRows(
        THINGS,
        {"body": "new", "size": THINGS.c.size + literal_column("1"), "moment": "at"},
        same_as={"fence": "seen"},
        where=lambda same: [THINGS.c.moment <= same["until"]],
        same={"until": UtcDateTime()},
    )
    rows = [(f"{index:06}", 1, [index], None) for index in range(130)]
    matched = await things.run(lambda connection: update(connection, rows, until=NOON))
    assert matched == 65
    for index, (_, fence, body, moment, size) in enumerate(await _all(things)):
        assert (body, moment, size) == (([index], None, 2.0) if fence == 1 else (None, NOON, 1.0))
    early = NOON - timedelta(seconds=1)
    zero = [(f"{index:06}", 0, [index], None) for index in range(130)]
    assert await things.run(lambda connection: update(connection, zero, until=early)) == 0


async def test_a_long_list_is_one_statement_or_few(things: Database) -> None:
    """The driver lets go of the interpreter for each statement."""
    from sqlalchemy import event

    sent: list[str] = []
    for engine in things.engines:
        event.listen(engine, "before_cursor_execute", lambda _c, _k, statement, *_r: sent.append(statement))
    await _insert(things, [(f"{index:06}", 1, None, NOON, None) for index in range(500)])
    assert len([statement for statement in sent if statement.startswith("INSERT")]) == 1
