"""Rows as far as they can be read: one that somebody damaged must not hide the others, nor itself.

SQLite keeps whatever it is given: text in a number's place, half a JSON document, a date that is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Final

from sqlalchemy import JSON, Column, LargeBinary, Select, Table, cast, type_coerce
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import NullType

from modules.core.column_types import UtcDateTime

_SHAPES: Final[dict[str, type]] = {
    "parameters": dict, "retry": dict, "trigger": dict, "tags": list, "config": dict, "retention": dict,
    "last_report": dict, "loop_block": dict, "cause": dict,
}  # fmt: skip
_UNREADABLE: Final = object()


class Salvaged(SimpleNamespace):
    """A row some of whose columns cannot be read: `damaged` names them, a stand-in or None is in their place."""

    damaged: tuple[str, ...]


def damaged_columns(row: Any) -> tuple[str, ...]:
    """The columns of this row that cannot be read."""
    return row.damaged if isinstance(row, Salvaged) else ()


def is_unreadable(error: BaseException) -> bool:
    """Whether this error is a row's fault and not the database's."""
    return not isinstance(error, DBAPIError) or "decode to UTF-8" in str(error.orig)


async def readable_rows(connection: AsyncConnection, query: Select[Any], table: Table) -> list[Any]:
    """The rows of a query over all columns of `table`; those that are damaged as Salvaged."""
    try:
        rows: Sequence[Any] = (await connection.execute(query)).all()
    except (ValueError, TypeError):
        pass
    except DBAPIError as error:
        if not is_unreadable(error):
            raise
    else:
        return [_checked(row._mapping, table, row) for row in rows]
    raw = await connection.execute(query.with_only_columns(*(_raw(column) for column in table.columns)))
    return [_decoded(row._mapping, table, connection.dialect) for row in raw]


def _raw(column: Column[Any]) -> Any:
    """Text as bytes, since it may not be UTF-8; numbers as whatever they are."""
    if _wanted(column) in (int, float, bool):
        return type_coerce(column, NullType()).label(column.name)
    return cast(column, LargeBinary).label(column.name)


def _decoded(raw: Any, table: Table, dialect: Dialect) -> Any:
    values: dict[str, Any] = {}
    for column in table.columns:
        value = raw[column.name]
        processor = column.type.dialect_impl(dialect).result_processor(dialect, None)
        try:
            text = value.decode() if isinstance(value, bytes) else value
            values[column.name] = processor(text) if processor is not None and text is not None else text
        except (ValueError, TypeError):
            values[column.name] = _UNREADABLE
    return _checked(values, table, SimpleNamespace(**values))


def _checked(values: Any, table: Table, row: Any) -> Any:
    """`row` itself when every value is of its column's kind."""
    damaged = tuple(column.name for column in table.columns if not _fits(values[column.name], column))
    if not damaged:
        return row
    return Salvaged(**(dict(values) | {name: _stand_in(table.columns[name]) for name in damaged}), damaged=damaged)


def _stand_in(column: Column[Any]) -> Any:
    wanted = _wanted(column)
    if column.nullable:
        return None
    return datetime(2000, 1, 1, tzinfo=UTC) if wanted is datetime else wanted()


def _wanted(column: Column[Any]) -> type:
    if isinstance(column.type, UtcDateTime):
        return datetime
    return _SHAPES.get(column.name, object) if isinstance(column.type, JSON) else column.type.python_type


def _fits(value: Any, column: Column[Any]) -> bool:
    if value is _UNREADABLE:
        return False
    if value is None:
        return bool(column.nullable)
    wanted = _wanted(column)
    if wanted is float:
        return isinstance(value, int | float)
    if column.name == "tags":
        return isinstance(value, list) and all(isinstance(tag, str) for tag in value)
    return isinstance(value, wanted)
