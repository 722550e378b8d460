"""The schema comes from migrations, on both databases, however many processes start at once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect

from modules.core.database import Base, Database
from modules.core.errors import ConfigurationError
from modules.core.migrations import ADVISORY_LOCK, VERSION_TABLE, current_revision, head_revision, migrate
from modules.core.scheduler import db_models

TABLES = sorted(name for name in db_models.ScheduledEvent.metadata.tables if name.startswith("scheduler_"))


@pytest.fixture
async def empty(database_url: str) -> Database:
    """An open database without a single table."""
    database = Database(database_url)
    await database.open()
    return database


async def table_names(database: Database) -> list[str]:
    async with database.read() as connection:
        return sorted(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))


async def test_a_fresh_database_gets_every_table(empty: Database) -> None:
    """And knows which revision it is at."""
    assert await current_revision(empty) is None

    assert await migrate(empty) == head_revision()

    assert await current_revision(empty) == head_revision()
    assert await table_names(empty) == sorted([*TABLES, VERSION_TABLE])
    await empty.close()


async def test_migrating_again_changes_nothing(database: Database) -> None:
    """Every start does it."""
    before = await table_names(database)

    assert await migrate(database) == head_revision()
    assert await migrate(database, upgrade=False) == head_revision()

    assert await table_names(database) == before


async def test_an_old_schema_may_be_refused_instead_of_upgraded(empty: Database) -> None:
    """With auto_migrate off the message names the command, and nothing is touched."""
    with pytest.raises(ConfigurationError, match=r"is at nothing, .*run `scheduler db upgrade`"):
        await migrate(empty, upgrade=False)

    assert await table_names(empty) == []
    await empty.close()


@pytest.mark.parametrize("upgrade", [True, False])
async def test_a_schema_newer_than_the_code_is_refused(database: Database, upgrade: bool) -> None:
    """An old program must not write into tables that it does not know."""
    async with database.transaction() as connection:
        await connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")

    with pytest.raises(ConfigurationError, match=r"\(9999\) is newer than this version"):
        await migrate(database, upgrade=upgrade)

    assert await current_revision(database) == "9999"


async def test_tables_of_the_host_are_left_alone(empty: Database) -> None:
    """The database may belong to an application, with an Alembic of its own."""
    async with empty.transaction() as connection:
        await connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        await connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('hosts')")

    await migrate(empty)

    async with empty.read() as connection:
        assert (await connection.exec_driver_sql("SELECT version_num FROM alembic_version")).scalar_one() == "hosts"
    await empty.close()


async def test_connections_that_start_at_once_migrate_once(database_url: str) -> None:
    """One does the work, the others wait for it."""
    nodes = [Database(database_url) for _ in range(4)]

    async def start(node: Database) -> str:
        await node.open()
        try:
            return await migrate(node)
        finally:
            await node.close()

    assert await asyncio.gather(*map(start, nodes)) == [head_revision()] * 4


async def test_two_databases_may_be_migrated_at_once(tmp_path: Path) -> None:
    """Two applications in one process do not disturb each other."""
    both = [Database(f"sqlite:///{tmp_path / name}") for name in ("one.sqlite3", "two.sqlite3")]
    for database in both:
        await database.open()

    await asyncio.gather(*map(migrate, both))

    for database in both:
        assert await table_names(database) == sorted([*TABLES, VERSION_TABLE])
        await database.close()


PROCESS = """
import asyncio, sys
from modules.core.database import Database
from modules.core.migrations import migrate

async def main():
    database = Database(sys.argv[1])
    await database.open()
    print(await migrate(database))
    await database.close()

asyncio.run(main())
"""


async def test_processes_that_start_at_once_migrate_once(database_url: str) -> None:
    """As nodes of one installation do after a deployment."""

    async def start() -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", PROCESS, database_url),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return process.returncode, output.decode().strip()

    assert list(await asyncio.gather(start(), start(), start())) == [(0, head_revision())] * 3


async def test_a_node_waits_for_another_ones_long_migration(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes: the limits of everyday statements do not hold for a migration."""
    monkeypatch.setattr("modules.core.postgresql.LOCK_TIMEOUT", "20ms")
    monkeypatch.setattr("modules.core.postgresql.STATEMENT_TIMEOUT", "30ms")
    first, second = Database(postgres_url), Database(postgres_url)
    await first.open()
    await second.open()

    async with first.transaction() as connection:
        await connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
        waiting = asyncio.create_task(migrate(second))
        waiting_for_long = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND wait_event = 'advisory' "
            "AND clock_timestamp() - query_start > interval '100 ms'"
        )
        while not (await connection.exec_driver_sql(waiting_for_long)).scalar_one():
            assert not waiting.done(), "it did not wait as long as the other one took"

    assert await waiting == head_revision()
    await first.close()
    await second.close()


def _ours(name: str | None, kind: str, _parents: object) -> bool:
    return kind != "table" or name in TABLES


def _differences(connection: Connection) -> list[object]:
    options = {"compare_type": True, "include_name": _ours, "version_table": VERSION_TABLE}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))


async def test_the_migrations_make_what_the_models_say(database: Database) -> None:
    """`alembic check` finds nothing to do."""
    async with database.transaction() as connection:
        assert await connection.run_sync(_differences) == []


def _as_text(rule: Mapping[str, object]) -> str:
    options = rule.get("dialect_options")
    told = {name: str(value) for name, value in options.items()} if isinstance(options, dict) else {}
    return str({**rule, "dialect_options": told})


def _rules(connection: Connection) -> dict[str, list[str]]:
    """Checks, keys and indexes of every table, as the database itself tells them."""
    looking = inspect(connection)
    return {
        table: sorted(
            _as_text(rule)
            for rule in [
                *looking.get_check_constraints(table),
                *looking.get_unique_constraints(table),
                *looking.get_foreign_keys(table),
                *looking.get_indexes(table),
                {"pk": looking.get_pk_constraint(table)},
                *({"column": one["name"], "null": one["nullable"]} for one in looking.get_columns(table)),
            ]
        )
        for table in TABLES
    }


async def test_the_migrations_make_every_rule_of_the_models(database: Database) -> None:
    """Alembic does not compare check constraints and the conditions of indexes: here the models' own tables do."""
    async with database.transaction() as connection:
        migrated = await connection.run_sync(_rules)
        tables = [Base.metadata.tables[name] for name in TABLES]
        await connection.run_sync(Base.metadata.drop_all, tables=tables)
        await connection.run_sync(Base.metadata.create_all, tables=tables)
        assert await connection.run_sync(_rules) == migrated
