"""A caller's own transaction: what is done inside `joining` is part of it, and takes effect if the caller commits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import URL, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from modules.core.errors import Invalid

Effect = Callable[[], None]
_EFFECTS = "core.scheduler: when the transaction has ended"


class WrongSession(Invalid):
    """The session given is none, or belongs to another database."""

    code = "WRONG_SESSION"


@dataclass(frozen=True, slots=True)
class Joined:
    """The transaction at work: its connection, and what has to be told when it has ended."""

    connection: AsyncConnection
    effects: list[Effect] = field(default_factory=list)


_joined: ContextVar[Joined | None] = ContextVar("joined_transaction", default=None)


def joined_connection() -> AsyncConnection | None:
    """The connection of the caller's transaction; None outside `joining`."""
    joined = _joined.get()
    return None if joined is None else joined.connection


def after_commit(effect: Effect) -> None:
    """Have this done when the caller's transaction has ended; at once where there is none.

    It is done after a rollback too, so it must be harmless then: a look for work that is not there.
    """
    joined = _joined.get()
    if joined is None:
        effect()
    else:
        joined.effects.append(effect)


@asynccontextmanager
async def joining(url: URL, session: AsyncSession | None) -> AsyncIterator[None]:
    """Statements inside the block run in the transaction of `session`, whose database must be the one at `url`.

    None joins nothing. Raises WrongSession.
    """
    if session is None:
        yield
        return
    _check(url, session)
    joined = Joined(await session.connection())
    await _begin(joined.connection)
    token = _joined.set(joined)
    try:
        yield
    finally:
        _joined.reset(token)
        _at_the_end(session.sync_session, joined.effects)


async def _begin(connection: AsyncConnection) -> None:
    """Python's SQLite driver, as it comes, begins a transaction with the first INSERT, UPDATE or DELETE; a savepoint
    before that would be a transaction of its own, and its release a commit."""
    if connection.dialect.name == "sqlite":
        driver = (await connection.get_raw_connection()).driver_connection
        if driver is not None and not driver.in_transaction:
            await connection.exec_driver_sql("BEGIN IMMEDIATE")


def _at_the_end(session: Session, effects: list[Effect]) -> None:
    if not effects:
        return
    session.info.setdefault(_EFFECTS, []).extend(effects)
    if not event.contains(session, "after_transaction_end", _ended):
        event.listen(session, "after_transaction_end", _ended)


def _ended(session: Session, transaction: SessionTransaction) -> None:
    # Savepoints end before; only the end of the whole transaction tells whether the rows are there.
    if transaction.parent is None:
        for effect in session.info.pop(_EFFECTS, ()):
            effect()


def _check(url: URL, session: Any) -> None:
    if not isinstance(session, AsyncSession):
        raise WrongSession("session: give the AsyncSession whose transaction this is to be part of.")
    bind = session.get_bind()
    other = bind.engine.url
    if other.get_backend_name() != url.get_backend_name() or _name(other) != _name(url):
        raise WrongSession(
            f"session: it is connected to {other.render_as_string()!r}, but tasks are kept in "
            f"{url.render_as_string()!r}; use a session on that database, or leave `session` out."
        )


def _name(url: URL) -> Any:
    """What tells databases apart. Hosts have several names, so they do not."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database.startswith("file:"):
        return url.database
    return Path(url.database).resolve()
