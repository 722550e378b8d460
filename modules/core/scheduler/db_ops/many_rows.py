"""One statement for many rows, in the form that each database is fast at.

SQLite: a prepared statement executed for each row inside the driver. PostgreSQL: a single statement over arrays and
unnest; an UPDATE executed row by row costs it several times as much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ARRAY, Column, ColumnElement, Table, bindparam, column, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.selectable import TableValuedAlias

Rows = Sequence[Mapping[str, Any]]


class InsertRows:
    """INSERT of these columns; each row is a dict by column name."""

    def __init__(self, table: Table, columns: Sequence[str]) -> None:
        self._names = tuple(columns)
        self._each = insert(table).values({name: bindparam(_bound(name), type_=table.c[name].type) for name in columns})
        rows = _rows([(name, table.c[name]) for name in columns])
        self._all = insert(table).from_select(
            list(columns), select(*(rows.c[name] for name in columns)), include_defaults=False
        )

    async def __call__(self, connection: AsyncConnection, rows: Rows) -> None:
        """Insert these rows; none costs nothing."""
        await _execute(connection, self._each, self._all, self._names, rows)


class UpdateRows:
    """UPDATE of one table by its id.

    `values` maps columns to names in the rows, or to expressions over the table's own columns; `same_as` maps columns
    that must still hold what the row says; `where` is what must hold for every row.
    """

    def __init__(
        self,
        table: Table,
        values: Mapping[str, str | ColumnElement[Any]],
        *,
        same_as: Mapping[str, str] | None = None,
        where: Sequence[ColumnElement[bool]] = (),
    ) -> None:
        wanted = {"id": "id", **(same_as or {})}
        given = {name: table.c[key] for key, name in wanted.items()}
        given |= {name: table.c[key] for key, name in values.items() if isinstance(name, str)}
        self._names = tuple(given)

        def build(source: Mapping[str, ColumnElement[Any]]) -> Any:
            return (
                update(table)
                .where(*(table.c[key] == source[name] for key, name in wanted.items()), *where)
                .values({key: source[name] if isinstance(name, str) else name for key, name in values.items()})
            )

        self._each = build({name: bindparam(_bound(name), type_=of.type) for name, of in given.items()})
        rows = _rows(list(given.items()))
        self._all = build({name: rows.c[name] for name in given})

    async def __call__(self, connection: AsyncConnection, rows: Rows, **same: Any) -> int:
        """Update these rows; returns how many were as they had to be. `same` are parameters of `where`."""
        return await _execute(connection, self._each, self._all, self._names, rows, same)


def _rows(columns: Sequence[tuple[str, Column[Any]]]) -> TableValuedAlias:
    """The rows as a table: unnest of one array for each column."""
    arrays = [bindparam(_bound(name), type_=ARRAY(of.type)) for name, of in columns]
    shapes = [column(name, of.type) for name, of in columns]
    return func.unnest(*arrays).table_valued(*shapes, name="rows").render_derived()


def _bound(name: str) -> str:
    """SQLAlchemy keeps the names of columns for itself."""
    return f"b_{name}"


async def _execute(
    connection: AsyncConnection,
    each: Any,
    together: Any,
    names: Sequence[str],
    rows: Rows,
    same: Mapping[str, Any] | None = None,
) -> int:
    if not rows:
        return 0
    if connection.dialect.name == "sqlite":
        alike = same or {}
        parameters: Any = [{**{_bound(name): row[name] for name in names}, **alike} for row in rows]
        return (await connection.execute(each, parameters)).rowcount
    parameters = {**{_bound(name): [row[name] for row in rows] for name in names}, **(same or {})}
    return (await connection.execute(together, parameters)).rowcount
