"""The clock by which leases are set and judged: one for all nodes, whatever their own clocks say.

On PostgreSQL it is the database's, unless a moment is given: a test's clock. On SQLite, whose nodes share a machine,
the moment is always given. `Runtime.lease_now()` is that moment, or None.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, DateTime, Interval, cast, func, literal, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.column_types import UtcDateTime


def lease_now(connection: AsyncConnection, now: datetime | None) -> ColumnElement[datetime]:
    """The present of the leases. It passes within a statement too: PostgreSQL's clock_timestamp() is no snapshot."""
    if connection.dialect.name == "sqlite":
        return literal(_given(now), UtcDateTime())
    moment = cast(literal(now, UtcDateTime()), DateTime(timezone=True))
    return type_coerce(func.coalesce(moment, func.clock_timestamp()), UtcDateTime())


def lease_until(connection: AsyncConnection, now: datetime | None, lease: timedelta) -> ColumnElement[datetime]:
    """The end of a lease of that length which begins now."""
    if connection.dialect.name == "sqlite":
        return literal(_given(now) + lease, UtcDateTime())
    return type_coerce(lease_now(connection, now) + literal(lease, Interval()), UtcDateTime())


def _given(now: datetime | None) -> datetime:
    if now is None:
        raise ValueError("SQLite has no clock of its own for leases: pass runtime.lease_now()")
    return now
