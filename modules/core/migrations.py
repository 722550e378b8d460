"""Bring the database's schema up to date, or say that it is not. The scripts ship inside the wheel."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError

from modules.core.database import Database
from modules.core.database_errors import advice, is_outage, reason
from modules.core.errors import ConfigurationError
from modules.core.postgresql import LOCK_TIMEOUT

logger = logging.getLogger(__name__)

VERSION_TABLE = "scheduler_schema_version"
# One writer at a time: nodes that start together wait for each other. The number is arbitrary but fixed.
ADVISORY_LOCK = 7_240_519_662
_ALEMBIC = threading.Lock()


def scripts_folder() -> Path:
    """Where the migration scripts are: inside the installed package, or at the root of a checkout."""
    package = Path(__file__).resolve().parents[1]
    shipped = package / "_migrations"
    return shipped if shipped.is_dir() else package.parent / "migrations"


def alembic_config() -> Config:
    """An Alembic configuration that needs no ini file."""
    config = Config()
    config.set_main_option("script_location", str(scripts_folder()).replace("%", "%%"))
    return config


def head_revision() -> str:
    """The revision that this version of the code was written for."""
    head = ScriptDirectory.from_config(alembic_config()).get_current_head()
    if head is None:
        raise ConfigurationError("The migration scripts are missing from this installation: reinstall core-scheduler.")
    return head


async def current_revision(database: Database) -> str | None:
    """The revision that the database is at; None for an empty one."""
    async with database.read() as connection:
        return await connection.run_sync(_current)


async def migrate(database: Database, *, upgrade: bool = True) -> str:
    """Upgrade to the newest revision and return it; with `upgrade=False` only check.

    Raises ConfigurationError when the schema is older and may not be upgraded, or newer than this code, and when the
    database is full, read-only or away; nothing is changed then.
    """
    try:
        return await _migrated(database, upgrade=upgrade)
    except (DBAPIError, OSError) as error:
        if not is_outage(error):
            raise
        raise ConfigurationError(
            f"The database's schema cannot be read or brought up to date: {reason(error).rstrip('.?')}. {advice(error)}"
        ) from error


async def _migrated(database: Database, *, upgrade: bool) -> str:
    head = head_revision()
    current = await current_revision(database)
    if current == head:
        return head
    known = {script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()}
    if current is not None and current not in known:
        raise ConfigurationError(
            f"The database's schema ({current}) is newer than this version of core-scheduler ({head}): "
            "upgrade the package, or use the database that belongs to this version."
        )
    if not upgrade:
        raise ConfigurationError(
            f"The database's schema is at {current or 'nothing'}, this version needs {head}: "
            "run `scheduler db upgrade`."
        )
    async with _alembic_to_ourselves(), database.transaction() as connection:
        await connection.run_sync(_upgrade)
    logger.info("the database's schema went from %s to %s", current or "nothing", head)
    return head


@asynccontextmanager
async def _alembic_to_ourselves() -> AsyncIterator[None]:
    # Alembic keeps its context in module globals: two upgrades at once in one process would take each other's.
    while not _ALEMBIC.acquire(blocking=False):  # noqa: ASYNC110  # another thread's loop may hold it
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        _ALEMBIC.release()


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        # Another node may be at it, and large tables take their time: no limit but the one on locks of tables.
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    for table in inspect(connection).get_table_names():
        if table.startswith("scheduler_"):  # the others may be the host's, and large
            connection.exec_driver_sql(f"ANALYZE {table}")
