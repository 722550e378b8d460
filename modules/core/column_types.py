"""The two column types of every table: UTC moments and JSON."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine


class UtcDateTime(TypeDecorator[datetime]):
    """An aware moment, kept as UTC: TIMESTAMPTZ on PostgreSQL, `YYYY-MM-DD HH:MM:SS.ffffff` text on SQLite.

    A naive value is refused, since nobody can know which instant it means.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any] | None:
        """SQLite's text is written directly: moments are most of what the dispatcher writes."""
        return _to_text if dialect.name == "sqlite" else super().bind_processor(dialect)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        return _from_text if dialect.name == "sqlite" else super().result_processor(dialect, coltype)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment = in_utc(value)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else _aware(value)


def _to_text(moment: datetime | None) -> str | None:
    # Without the offset, which is +00:00 by then.
    return None if moment is None else in_utc(moment).isoformat(" ", "microseconds")[:26]


def _from_text(text: str | None) -> datetime | None:
    return None if text is None else _aware(datetime.fromisoformat(text))


def in_utc(moment: datetime) -> datetime:
    """The same moment in UTC. Raises ValueError for a naive one."""
    if moment.tzinfo is None:
        raise ValueError("a naive datetime cannot be stored: give it a timezone, for example datetime.now(UTC)")
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def json_type() -> TypeEngine[Any]:
    """JSON text on SQLite, JSONB on PostgreSQL; Python's None is SQL NULL."""
    return JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


Json = json_type()
