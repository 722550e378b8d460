"""SQLite's one writer: a thread of its own, in which a whole transaction runs at one visit.

An async driver for SQLite hands every single statement to a thread and waits for it, several times over. That is
invisible in large statements and most of the cost in small ones. Here the coroutine that makes up a transaction is
carried to the thread and run there from its beginning to its end: its connection answers at once, so awaiting it never
suspends. The statements stay the same for SQLite and PostgreSQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import CursorResult, Dialect
from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")


class DirectConnection:
    """The part of an AsyncConnection that work in a transaction needs, over a connection that answers at once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def dialect(self) -> Dialect:
        return self._connection.dialect

    async def execute(self, statement: Any, parameters: Any = None) -> CursorResult[Any]:
        return self._connection.execute(statement, parameters)

    async def scalar(self, statement: Any, parameters: Any = None) -> Any:
        return self._connection.scalar(statement, parameters)

    async def exec_driver_sql(self, statement: str, parameters: Any = None) -> CursorResult[Any]:
        return self._connection.exec_driver_sql(statement, parameters)

    async def run_sync(self, work: Callable[..., T], *arguments: Any) -> T:
        return work(self._connection, *arguments)

    @asynccontextmanager
    async def begin_nested(self) -> AsyncIterator[None]:
        with self._connection.begin_nested():
            yield


class DirectWriter:
    """Transactions on one connection, one after the other, each in one visit to the writer's thread."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._connection: Connection | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="core.database writer")

    async def run(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """`work` in one transaction. It may await its connection and nothing else. A caller that is cancelled leaves
        the transaction to its end."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transaction, work)

    async def close(self) -> None:
        """Let the transaction under way end, then close the connection."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    def _transaction(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        if self._connection is None or self._connection.closed:
            self._connection = self.engine.connect()
        try:
            with self._connection.begin():
                # What statements call is there; the cast is the price of one code for two kinds of connection.
                direct = cast(AsyncConnection, DirectConnection(self._connection))
                return _to_its_end(cast(Coroutine[Any, Any, T], work(direct)))
        except BaseException:
            # A COMMIT that was refused leaves SQLite inside the transaction: another connection has none behind it.
            self._connection.invalidate()
            self._connection.close()
            self._connection = None
            raise

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self.engine.dispose()


def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    try:
        work.send(None)
    except StopIteration as end:
        return cast(T, end.value)
    work.close()
    raise RuntimeError(
        "This work awaited something other than its connection. On SQLite a transaction runs in the writer's thread, "
        "without an event loop: fetch what it needs before, or use `async with database.transaction()`."
    )
