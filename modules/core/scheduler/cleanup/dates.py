"""What a date column holds on each database, and how it is compared with a cutoff."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, DateTime, Select, String, and_, func, literal, not_, select, type_coerce
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from modules.core.scheduler.cleanup.config import InvalidCleanup
from modules.core.scheduler.cleanup.targets import TableTarget

# With a "T" it sorts after all that SQLAlchemy writes on that day, so such a row may stay a day longer, never less.
SQLITE_DATE: Final = "[0-9][0-9][0-9][0-9]-[0-1][0-9]-[0-3][0-9][ T]*"
NO_OFFSET_AFTER_IT: Final = "*[^0-9:.]*"


def check_date_column(target: TableTarget, dialect_name: str) -> None:
    """Raises InvalidCleanup where this database keeps the column's dates without saying which instant they mean."""
    if dialect_name == "sqlite" and _loses_its_offset(target.column.type, sqlite.dialect()):
        raise InvalidCleanup(
            f"{target.table.fullname}.{target.column.name} drops the offset of a time on SQLite, so that nobody knows "
            "which instant it means: declare it as modules.core.column_types.UtcDateTime."
        )


def older_than(column: Column[Any], cutoff: datetime, dialect: Dialect) -> ColumnElement[bool]:
    """The condition for dates strictly before the cutoff; naive columns hold UTC."""
    stored = _stored_as(column.type, dialect)
    if stored.timezone:
        earlier = column < literal(cutoff, column.type)
    else:
        # As it is stored: decorators differ in whether they take naive or aware values.
        earlier = type_coerce(column, stored) < literal(cutoff.astimezone(UTC).replace(tzinfo=None), stored)
    return and_(_readable(column), earlier) if dialect.name == "sqlite" else earlier


def unreadable_dates(column: Column[Any], where: ColumnElement[bool] | None) -> Select[Any]:
    """SQLite: how many rows hold something there that cannot be compared with a date."""
    query = select(func.count()).select_from(column.table).where(column.is_not(None), not_(_readable(column)))
    return query if where is None else query.where(where)


def _readable(column: Column[Any]) -> ColumnElement[bool]:
    """SQLite keeps whatever it is given: numbers sort before all text, and text in another order of its parts."""
    text = type_coerce(column, String)
    return and_(
        func.typeof(text) == "text",
        text.op("GLOB", is_comparison=True)(SQLITE_DATE),
        func.substr(text, len("2026-03-02 ") + 1).op("NOT GLOB", is_comparison=True)(NO_OFFSET_AFTER_IT),
    )


def _loses_its_offset(kind: TypeEngine[Any], dialect: Dialect) -> bool:
    """Whether one instant, written with two offsets, is stored as two."""
    if not _stored_as(kind, dialect).timezone:
        return False
    store = kind.dialect_impl(dialect).bind_processor(dialect)
    noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
    return store is None or store(noon) != store(noon.astimezone(timezone(timedelta(hours=5))))


def _stored_as(kind: TypeEngine[Any], dialect: Dialect) -> DateTime:
    """The database's own type behind decorators and variants."""
    stored: Any = kind.dialect_impl(dialect)
    while isinstance(stored, TypeDecorator):
        stored = stored.impl_instance
    assert isinstance(stored, DateTime), "allow_table takes DateTime columns only"
    return stored
