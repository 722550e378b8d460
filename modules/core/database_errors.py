"""What a driver's error means: whether to try again, whether the database itself is at fault, and what to do. Pure."""

from __future__ import annotations

from typing import Final

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

TRANSIENT_SQLSTATES: Final = {"40001", "40P01", "55P03"}
DISCONNECTS: Final = ("08", "57P0")  # connection exceptions; shutdown, crash, not yet up
# Not allowed in, no such database, resources, wrong role of a standby, statement timeout, the system's own errors.
AWAY: Final = (*DISCONNECTS, "28", "3D", "40", "53", "25006", "55P03", "57014", "58")
_ADVICE: Final = (
    (("disk is full", "53100", "no space left"), "The disk of the database is full: free some space, then try again."),
    (
        ("readonly", "read-only", "25006", "permission denied"),
        "The database may only be read: give back the right to write to it (file, folder, mount or standby), "
        "then try again.",
    ),
    (
        ("malformed", "not a database"),
        "The file of the database is damaged or is none: put back a copy, or name another file.",
    ),
    (
        ("unable to open", "disk i/o error"),
        "The file of the database cannot be opened or written: see that its folder is there and writable and that the "
        "disk has space, then try again.",
    ),
    (("is locked", "is busy"), "The database is held by somebody else for too long: see who writes, then try again."),
    (
        ("57014", "55P03", "40001", "40P01", "queuepool"),
        "The database was too busy to finish this in time: try again later.",
    ),
    (("53300", "too many"), "The database takes no more connections: close some or raise its limit, then try again."),
    (
        ("28P01", "28000", "password", 'role "', "no pg_hba"),
        "The database does not let us in: correct user and password in APP_DATABASE_URL.",
    ),
    (("3D000", "does not exist"), "The database of that name does not exist: create it, or correct APP_DATABASE_URL."),
)
_CANNOT_BE_REACHED: Final = (
    "The database cannot be reached: see that it runs and that the way to it is open, then try again."
)


class CommitUnanswered(OSError):
    """The connection broke during the commit: whether the transaction is stored, nobody knows."""


def is_transient(error: Exception) -> bool:
    """Whether the same transaction may well succeed when it is simply tried again."""
    if not isinstance(error, DBAPIError):
        return False
    if (state := sqlstate(error)) is not None:
        return state in TRANSIENT_SQLSTATES
    text = str(error.orig)
    return "database is locked" in text or "database table is locked" in text or "database is busy" in text


def is_disconnect(error: Exception) -> bool:
    """Whether the connection broke or could not be made, so that another one may do."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, ConnectionError)
    if error.connection_invalidated:
        return True
    if (state := sqlstate(error)) is not None:
        return state.startswith(DISCONNECTS)
    if is_out_of_step(error.orig):
        return True
    # That it could not connect, psycopg says without a state.
    return isinstance(error, OperationalError) and type(error.orig).__module__.startswith("psycopg")


def is_out_of_step(error: BaseException | None) -> bool:
    """What asyncpg says of a connection that is cut off while a statement is on its way; it is of no use any more."""
    return type(error).__name__ == "InternalClientError"


def is_outage(error: Exception) -> bool:
    """Whether the database is at fault, and not the statement or a row: away, full, read-only, damaged, too busy."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, PoolTimeout | OSError)
    if error.connection_invalidated or isinstance(error, OperationalError | InterfaceError):
        return True
    if (state := sqlstate(error)) is not None:
        return state.startswith(AWAY)
    if is_out_of_step(error.orig):
        return True
    text = str(error.orig)
    return "malformed" in text or "not a database" in text


def advice(error: BaseException) -> str:
    """What is wrong with the database and what to do, in words that may be shown to anybody."""
    state = sqlstate(error) if isinstance(error, DBAPIError) else None
    text = f"{state or ''} {reason(error)}".lower()
    return next(
        (told for signs, told in _ADVICE if any(sign.lower() in text for sign in signs)),
        _CANNOT_BE_REACHED,
    )


def reason(error: BaseException) -> str:
    """The driver's own words, on one line; they may name hosts and users."""
    cause = getattr(error, "orig", None) or error
    return " ".join(str(cause).split())[:300]


def sqlstate(error: DBAPIError) -> str | None:
    """PostgreSQL's code for the error, where there is one."""
    return getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
