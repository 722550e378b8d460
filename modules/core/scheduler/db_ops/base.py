"""How every statement runs: one method, one transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from sqlalchemy import Table
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.database import Database
from modules.core.database_errors import CommitUnanswered, advice, is_outage
from modules.core.scheduler import db_models
from modules.core.scheduler.db_ops.salvage import is_unreadable
from modules.core.scheduler.errors import DatabaseUnavailable

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound="Statements")

EVENTS = cast(Table, db_models.ScheduledEvent.__table__)
EXECUTIONS = cast(Table, db_models.EventExecution.__table__)
MISSED_RUNS = cast(Table, db_models.MissedRun.__table__)
NODES = cast(Table, db_models.SchedulerNode.__table__)
DOWNTIMES = cast(Table, db_models.SchedulerDowntime.__table__)
CLEANUP_CONFIGS = cast(Table, db_models.CleanupConfig.__table__)
API_KEYS = cast(Table, db_models.ApiKey.__table__)


class Statements:
    """Base of the groups of statements.

    Rows come back as SQLAlchemy rows and are annotated as the model whose columns they hold: attributes by column
    name, read only, at a fraction of an ORM object's price.
    """

    def __init__(self, database: Database) -> None:
        self.database = database


@contextmanager
def _outages_named(database: Database, *, writing: bool) -> Iterator[None]:
    try:
        with database.watched(writing=writing):
            yield
    except CommitUnanswered as error:
        raise DatabaseUnavailable(
            "The connection to the database broke while it was storing this; whether it is stored is not known: "
            "look before you try again."
        ) from error
    except (DBAPIError, PoolTimeout, OSError) as error:
        if isinstance(error, DBAPIError) and is_unreadable(error):
            raise ValueError("A row holds text that is not UTF-8.") from error
        if not is_outage(error):
            raise
        raise DatabaseUnavailable(f"Nothing was changed. {advice(error)}") from error


def write_in_lane(
    lane: str | None,
) -> Callable[
    [Callable[Concatenate[S, AsyncConnection, P], Awaitable[T]]], Callable[Concatenate[S, P], Coroutine[Any, Any, T]]
]:
    """The method runs in one write transaction, as a whole again when the database rolls it back.

    Those of one lane run one after the other; on PostgreSQL on a connection that is kept for them.
    """

    def decorate(
        method: Callable[Concatenate[S, AsyncConnection, P], Awaitable[T]],
    ) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
        async def wrapper(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
            with _outages_named(self.database, writing=True):
                return await self.database.run(lambda connection: method(self, connection, *args, **kwargs), lane=lane)

        update_wrapper(wrapper, method)
        return wrapper

    return decorate


def write(
    method: Callable[Concatenate[S, AsyncConnection, P], Awaitable[T]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """The method runs in one write transaction, as a whole again when the database rolls it back."""
    return write_in_lane(None)(method)


def read(
    method: Callable[Concatenate[S, AsyncConnection, P], Awaitable[T]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """The method runs on one consistent snapshot."""

    async def wrapper(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with _outages_named(self.database, writing=False):
            async with self.database.read() as connection:
                return await method(self, connection, *args, **kwargs)

    update_wrapper(wrapper, method)
    return wrapper
