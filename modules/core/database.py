"""The database: one declarative base, a write engine and a read engine, and transactions that are what they say.

SQLite needs care that SQLAlchemy's defaults do not take (measured: 304 of 400 read-then-write updates lost):
the driver's own transaction handling is switched off, every write transaction starts with BEGIN IMMEDIATE, so it
waits for its turn before it reads, and readers use connections that cannot write. The set-up is checked at open().
Transactions handed to `run()` go through one writer (see direct_connection.py); on PostgreSQL those that are on the
hot path have connections of their own, which no pool takes back, resets and tests in between.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Engine, MetaData, create_engine, event, func, select, text
from sqlalchemy.exc import DBAPIError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from modules.core.clock import Clock, SystemClock
from modules.core.column_types import Json, UtcDateTime
from modules.core.database_errors import (
    CommitUnanswered,
    advice,
    is_disconnect,
    is_outage,
    is_transient,
    reason,
)
from modules.core.database_url import async_url
from modules.core.direct_connection import DirectWriter
from modules.core.errors import ConfigurationError, Unavailable
from modules.core.joined import joined_connection
from modules.core.postgresql import Pooler, postgresql_engine

__all__ = ["Base", "Database", "Json", "UtcDateTime"]

T = TypeVar("T")
logger = logging.getLogger(__name__)

BUSY_TIMEOUT_MS = 10_000
ATTEMPTS = 5
CONNECTS = 3
TROUBLE_SHOWN_FOR = 60.0
ALONE_LOCK = 7_240_519_663  # that of the migrations is one less


class Base(DeclarativeBase):
    """The base of every table that the framework migrates, with one naming convention for its constraints."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Database:
    """A database by URL: `sqlite:///file`, `postgresql://...`, `postgresql+psycopg://...`, `postgresql+asyncpg://...`.

    `sqlite_synchronous` is FULL (an answered write survives a power failure) or NORMAL (it survives a crash of the
    process or the system only up to the last checkpoint of the write-ahead log; faster). `pooler` is "transaction"
    where each transaction may have another server connection (PgBouncer): then nothing is kept on connections.
    """

    def __init__(
        self,
        url: str,
        *,
        sqlite_synchronous: str = "FULL",
        clock: Clock | None = None,
        pooler: Pooler = "none",
    ) -> None:
        self.url = async_url(url)
        self._pooler = pooler
        self.dialect_name = self.url.get_backend_name()
        self._synchronous = sqlite_synchronous
        self._clock = clock or SystemClock()
        self._write: AsyncEngine | None = None
        self._read: AsyncEngine | None = None
        self._writer: DirectWriter | None = None
        self._lanes: dict[str, _Lane] = {}
        self.retries = 0
        self._trouble: tuple[float, str] | None = None

    def clone(self) -> Database:
        """The same database with connections of its own, for another event loop; open and close it there."""
        return Database(
            self.url.render_as_string(hide_password=False),
            sqlite_synchronous=self._synchronous,
            clock=self._clock,
            pooler=self._pooler,
        )

    @property
    def trouble(self) -> str | None:
        """What kept the last write from being done, with what to do; None when it was done, or was long ago."""
        if self._trouble is None or self._clock.monotonic() - self._trouble[0] > TROUBLE_SHOWN_FOR:
            return None
        return self._trouble[1]

    @contextmanager
    def watched(self, *, writing: bool) -> Iterator[None]:
        """Around every use: what goes wrong with the database is logged once, and remembered as `trouble`."""
        try:
            yield
        except Exception as error:
            if is_outage(error):
                self._note_trouble(error)
            raise
        if writing and self._trouble is not None:
            self._trouble = None
            logger.info("the database takes writes again")

    def _note_trouble(self, error: Exception) -> None:
        told = advice(error)
        new = self.trouble != told
        logger.log(logging.WARNING if new else logging.DEBUG, "%s (%s)", told, reason(error))
        self._trouble = (self._clock.monotonic(), told)

    @property
    def can_listen(self) -> bool:
        """Whether LISTEN hears what others NOTIFY."""
        return self.dialect_name == "postgresql" and self._pooler == "none"

    @property
    def write_engine(self) -> AsyncEngine:
        if self._write is None:
            raise Unavailable("The database is not open: use it between the application's start and stop.")
        return self._write

    @property
    def read_engine(self) -> AsyncEngine:
        if self._read is None:
            raise Unavailable("The database is not open: use it between the application's start and stop.")
        return self._read

    @property
    def engines(self) -> list[Engine]:
        """Every engine that sends statements, as SQLAlchemy's events take them; for instruments and tests."""
        found = [self.write_engine.sync_engine]
        if self.read_engine is not self.write_engine:
            found.append(self.read_engine.sync_engine)
        if self._writer is not None:
            found.append(self._writer.engine)
        return found

    async def open(self) -> None:
        """Make the engines and check that they behave. Raises ConfigurationError where they cannot be used."""
        if self._write is not None:
            return
        try:
            if self.dialect_name == "sqlite":
                self._open_sqlite()
            else:
                self._open_postgresql()
            # Where several open a new file at once, SQLite may refuse the change to WAL without waiting for its turn.
            await self._again_while_transient(self._check)
        except (NoSuchModuleError, ModuleNotFoundError) as error:
            await self.close()
            raise ConfigurationError(
                f"The driver of {self.url.drivername} is not installed ({error}): "
                "pip install 'core-scheduler[postgres]' for psycopg, 'core-scheduler[asyncpg]' for asyncpg."
            ) from error
        except (DBAPIError, OSError) as error:
            await self.close()
            raise ConfigurationError(
                f"The database {self.url.render_as_string()} cannot be used: {reason(error).rstrip('.?')}. "
                f"{advice(error)} Its address is set with APP_DATABASE_URL."
            ) from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close every connection. Safe to call twice."""
        writer, self._writer = self._writer, None
        lanes, self._lanes = self._lanes, {}
        if writer is not None:
            await writer.close()
        for lane in lanes.values():
            await lane.close()
        write, self._write = self._write, None
        read, self._read = self._read, None
        for engine in (read, write):
            if engine is not None:
                await engine.dispose()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A write transaction: committed at the end of the block, rolled back by an exception."""
        async with self.write_engine.begin() as connection:
            yield connection

    def session(self) -> AsyncSession:
        """A session for the application's own rows in this database, to be used with `async with`. On SQLite there is
        one at a time, and its transaction has the file from its first statement to its end: keep it short."""
        return AsyncSession(self.write_engine, expire_on_commit=False)

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[AsyncConnection]:
        """A write transaction that no other process has at the same time: for making tables and their first rows,
        where several start at once."""
        async with self.transaction() as connection:
            if self.dialect_name != "sqlite":  # there every write transaction is alone
                await connection.execute(select(func.pg_advisory_xact_lock(ALONE_LOCK)))
            yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A consistent snapshot that cannot write (on SQLite; on PostgreSQL, one that should not).

        Inside a caller's transaction (see joined.py) it is that one's view, uncommitted changes included.
        """
        if (joined := joined_connection()) is not None:
            yield joined
            return
        async with self.read_engine.begin() as connection:
            yield connection

    async def run(self, work: Callable[[AsyncConnection], Awaitable[T]], *, lane: str | None = None) -> T:
        """`work` in one write transaction, tried again with jitter when the database asks for that.

        `work` awaits nothing but its connection, and may run more than once: serialization failures, deadlocks, a busy
        SQLite file and a connection that broke before the commit roll back whole, so trying again is safe. One that
        broke during the commit is raised: nobody knows whether it was in time.
        Transactions of one `lane` run one after the other, on PostgreSQL on a connection of their own.
        Inside a caller's transaction (see joined.py) it is a savepoint of that one, and tried once.
        """
        if (joined := joined_connection()) is not None:
            async with joined.begin_nested():
                return await work(joined)
        worked = False  # and so it is the commit that breaks

        async def tracked(connection: AsyncConnection) -> T:
            nonlocal worked
            worked = False
            result = await work(connection)
            worked = True
            return result

        try:
            return await self._again_while_transient(lambda: self._one_transaction(tracked, lane), lambda: worked)
        except (DBAPIError, OSError) as error:
            if worked and is_disconnect(error):
                raise CommitUnanswered(reason(error)) from error
            raise

    async def _one_transaction(self, work: Callable[[AsyncConnection], Awaitable[T]], lane: str | None) -> T:
        if self._writer is not None:
            return await self._writer.run(work)
        if lane is not None:
            return await self._lanes.setdefault(lane, _Lane(self.write_engine)).run(work)
        async with self.transaction() as connection:
            return await work(connection)

    async def _again_while_transient(
        self, work: Callable[[], Awaitable[T]], committing: Callable[[], bool] = lambda: False
    ) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await work()
            except (DBAPIError, OSError) as error:
                again = is_transient(error) or (is_disconnect(error) and attempt < CONNECTS and not committing())
                if attempt == ATTEMPTS or not again:
                    raise
                self.retries += 1
                logger.info(
                    "the database failed and is tried again (%d of %d): %s", attempt + 1, ATTEMPTS, reason(error)
                )
                delay = random.uniform(0.01, 0.05) * 2**attempt  # noqa: S311  # spreads rivals, guards no secret
                await self._clock.wait(asyncio.Event(), delay)
        raise AssertionError("unreachable")

    def _open_sqlite(self) -> None:
        path = self.url.database
        if not path or ":memory:" in path or self.url.query.get("mode") == "memory":
            raise ConfigurationError(
                "SQLite in memory cannot hold a durable scheduler: name a file, for example sqlite:///data/app.sqlite3."
            )
        if Path(path).is_dir():
            raise ConfigurationError(f"{path!r} is a folder: name a file in it, for example {path}/app.sqlite3.")
        if not path.startswith("file:"):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._write = create_async_engine(self.url, pool_size=1, max_overflow=0, pool_timeout=60)
        writer = create_engine(self.url.set(drivername="sqlite"), connect_args={"check_same_thread": False})
        self._read = create_async_engine(self.url, pool_size=4, max_overflow=4, pool_timeout=60)
        for engine in (self._write.sync_engine, writer):
            _set_up_sqlite(engine, begin="BEGIN IMMEDIATE", synchronous=self._synchronous, query_only=False)
        _set_up_sqlite(self._read.sync_engine, begin="BEGIN", synchronous=self._synchronous, query_only=True)
        self._writer = DirectWriter(writer)

    def _open_postgresql(self) -> None:
        self._write = self._read = postgresql_engine(self.url, self._pooler)

    async def _check(self) -> None:
        if self._writer is not None:
            # First, since it fails cleanly: a thread of aiosqlite outlives a connection that it could not make.
            await self._writer.run(lambda connection: connection.scalar(text("PRAGMA journal_mode")))
        async with self.write_engine.connect() as connection:
            if self.dialect_name != "sqlite":
                await connection.exec_driver_sql("SELECT 1")
                return
            await connection.begin()
            raw = await connection.get_raw_connection()
            driver = raw.driver_connection
            mode = (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar_one()
            if driver is None or not driver.in_transaction or mode != "wal":
                raise ConfigurationError(
                    f"SQLite does not behave as needed (journal_mode {mode!r}; write transactions must begin at once): "
                    "keep the file on a local disk, and SQLAlchemy and aiosqlite within the tested versions."
                )
            await connection.rollback()


class _Lane:
    """Transactions one after the other on a connection that is kept: no check-out, no reset, no test in between."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._turn = asyncio.Lock()
        self._connection: AsyncConnection | None = None

    async def run(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        async with self._turn:
            connection = self._connection
            if connection is None or connection.closed or connection.invalidated:
                await self.close()
                connection = self._connection = await self._engine.connect()
            try:
                async with connection.begin():
                    return await work(connection)
            except BaseException:
                # What state it is in nobody knows, least of all after a cancellation in the middle of a statement.
                await asyncio.shield(self.close())
                raise

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def _set_up_sqlite(engine: Engine, *, begin: str, synchronous: str, query_only: bool) -> None:
    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        # busy_timeout first: switching to WAL needs a lock that another process may hold for a moment.
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute(f"PRAGMA synchronous = {synchronous}")
        cursor.execute("PRAGMA foreign_keys = ON")
        if query_only:
            cursor.execute("PRAGMA query_only = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql(begin)
