"""What drivers raise, and what is made of it: whose fault it is, whether to try again, what to do."""

from __future__ import annotations

import sqlite3

import pytest
from sqlalchemy.exc import DatabaseError, DBAPIError, IntegrityError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from modules.core.database_errors import advice, is_disconnect, is_outage, is_transient


class Refusal(Exception):
    """As PostgreSQL's drivers raise: with a state."""

    def __init__(self, sqlstate: str | None, text: str = "") -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


class InternalClientError(Exception):
    """As asyncpg raises for a connection that is cut off in the middle of a statement: without a state."""


def from_postgresql(state: str, kind: type[DBAPIError] = DBAPIError) -> DBAPIError:
    return kind("SELECT 1", {}, Refusal(state))


def from_sqlite(text: str, kind: type[DBAPIError] = OperationalError) -> DBAPIError:
    return kind("SELECT 1", {}, sqlite3.OperationalError(text))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (from_postgresql("57P01"), "see that it runs"),  # asyncpg has no class of its own for it
        (from_postgresql("57P03"), "see that it runs"),
        (from_postgresql("08006"), "see that it runs"),
        (from_postgresql("53100"), "free some space"),
        (from_postgresql("53300"), "no more connections"),
        (from_postgresql("25006", InternalError), "right to write"),  # a standby, after a fail-over
        (from_postgresql("57014"), "too busy"),
        (from_postgresql("40001"), "too busy"),
        (from_postgresql("28P01"), "correct user and password"),
        (from_postgresql("3D000"), "create it"),
        (from_sqlite("database or disk is full"), "free some space"),
        (from_sqlite("attempt to write a readonly database"), "right to write"),
        (from_sqlite("disk I/O error"), "has space"),
        (from_sqlite("unable to open database file"), "folder is there"),
        (from_sqlite("database is locked"), "held by somebody else"),
        (from_sqlite("database disk image is malformed", DatabaseError), "put back a copy"),
        (from_sqlite("file is not a database", DatabaseError), "name another file"),
        (InternalError("SELECT 1", {}, InternalClientError("cannot switch to state 11")), "see that it runs"),
        (ConnectionRefusedError("refused"), "see that it runs"),
        (PoolTimeout("QueuePool limit of size 8"), "too busy"),
    ],
)
def test_an_outage_is_named(error: Exception, words: str) -> None:
    assert is_outage(error)
    assert words in advice(error)


@pytest.mark.parametrize(
    "error",
    [
        from_postgresql("23505", IntegrityError),
        from_postgresql("22003"),
        from_postgresql("42601"),
        from_sqlite("UNIQUE constraint failed", IntegrityError),
        ValueError("a row"),
    ],
)
def test_the_fault_of_a_statement_is_no_outage(error: Exception) -> None:
    assert not is_outage(error)
    assert not is_transient(error)
    assert not is_disconnect(error)


def test_what_is_tried_again() -> None:
    assert is_transient(from_postgresql("40P01"))
    assert is_transient(from_sqlite("database is locked"))
    assert not is_transient(from_sqlite("database or disk is full"))
    assert is_disconnect(from_postgresql("57P01"))
    assert is_disconnect(InternalError("SELECT 1", {}, InternalClientError("cannot switch to state 11")))
    assert not is_disconnect(from_postgresql("25006"))
