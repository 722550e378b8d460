"""LISTEN and NOTIFY: how nodes on PostgreSQL tell each other that it is time to look.

A notification is never part of another transaction: at its commit, NOTIFY takes a lock of the whole instance.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.database import Database
from modules.core.scheduler.db_ops.base import Statements, write

CHANNEL: Final = "core_scheduler"
# psycopg's connections have TCP keep-alives; one of asyncpg is asked now and then whether it still lives.
ASKED_EVERY = 60.0


class ListeningEnded(Exception):
    """The connection that listened is gone."""


class NotificationStatements(Statements):
    @write
    async def notify(self, connection: AsyncConnection, payload: str) -> None:
        """Tell every process that listens."""
        await connection.execute(select(func.pg_notify(CHANNEL, payload)))


async def listen(database: Database, heard: Callable[[str], None], began: Callable[[], None]) -> None:
    """Call `heard` with each payload, on a connection of its own, until that is lost; `began` when nothing more is
    missed. Always ends with an exception; open `database` for this alone."""
    await database.open()
    async with database.write_engine.connect() as connection:
        try:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            driver: Any = (await connection.get_raw_connection()).driver_connection
            if database.url.get_driver_name() == "asyncpg":
                await _with_asyncpg(driver, heard, began)
            else:
                await connection.exec_driver_sql(f"LISTEN {CHANNEL}")
                await _with_psycopg(driver, heard, began)
        finally:
            # It listens for ever: it must not serve anybody else.
            await connection.invalidate()


async def _with_psycopg(driver: Any, heard: Callable[[str], None], began: Callable[[], None]) -> None:
    # Its own way of waiting looks ten times a second; the event loop knows when there is something to read.
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    began()
    while True:
        loop.add_reader(driver.fileno(), readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(driver.fileno())
        readable.clear()
        async for notification in driver.notifies(timeout=1.0, stop_after=1):
            heard(notification.payload)


async def _with_asyncpg(driver: Any, heard: Callable[[str], None], began: Callable[[], None]) -> None:
    ended = asyncio.Event()
    driver.add_termination_listener(lambda _connection: ended.set())
    await driver.add_listener(CHANNEL, lambda _connection, _pid, _channel, payload: heard(payload))
    began()
    while not ended.is_set():
        try:
            async with asyncio.timeout(ASKED_EVERY):
                await ended.wait()
        except TimeoutError:
            await driver.execute("SELECT 1", timeout=10)
    raise ListeningEnded("the server closed the connection")
