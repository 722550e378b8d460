"""Many rows in one statement, in the form that each database is fast at.

PostgreSQL takes arrays and unnest; an UPDATE executed row by row costs it several times as much. asyncpg makes arrays
of lists fast; psycopg would make them slowly, and is handed their text. SQLite takes a list of VALUES. There it matters
that a statement is one call into the driver: the driver lets go of the interpreter for each call, and getting it back
from a busy event loop takes longer than writing the row does.

Rows are tuples in the order of `names`: dictionaries by name cost more than writing the rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    Boolean,
    ColumnClause,
    ColumnElement,
    Float,
    FromClause,
    Integer,
    Table,
    Text,
    and_,
    bindparam,
    case,
    cast,
    column,
    func,
    insert,
    select,
    table,
    update,
)
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

from modules.core.column_types import UtcDateTime, in_utc

Rows = Sequence[tuple[Any, ...]]
Kinds = Mapping[str, TypeEngine[Any]]

_SQLITE = sqlite_dialect()
_PREFIX = "b_"  # SQLAlchemy keeps the names of columns for itself
# A statement for each size is prepared once and kept by the driver; 500 rows stay below SQLite's limit of parameters.
_SIZES = (500, 100, 20, 4, 1)
_ROWS_HERE = "rows_here"
_HERE = f"FROM {_ROWS_HERE}"


class InsertRows:
    """INSERT of these columns, which are also the fields of a row, in this order."""

    def __init__(self, into: Table, columns: Sequence[str]) -> None:
        kinds = {name: into.c[name].type for name in columns}
        self._statement = _Statement(
            kinds,
            {},
            lambda rows: insert(into).from_select(
                list(columns), select(*(rows.c[name] for name in columns)), include_defaults=False
            ),
        )

    async def __call__(self, connection: AsyncConnection, rows: Rows) -> None:
        """Insert these rows; none costs nothing."""
        await self._statement.execute(connection, rows, {})


class UpdateRows:
    """UPDATE of one table by its id.

    `values` maps columns to fields of a row, or to expressions over the table's own columns; `same_as` maps columns
    that must still hold what the row says; `where` is what must hold for every row, and `same` are parameters in it. A
    row is a tuple: the id, the fields of `same_as`, then those of `values`, in the order given.
    """

    def __init__(
        self,
        of: Table,
        values: Mapping[str, str | ColumnElement[Any]],
        *,
        same_as: Mapping[str, str] | None = None,
        where: Callable[[Mapping[str, ColumnElement[Any]]], Sequence[ColumnElement[bool]]] = lambda _same: (),
        same: Kinds | None = None,
    ) -> None:
        wanted = {"id": "id", **(same_as or {})}
        kinds = {name: of.c[key].type for key, name in wanted.items()}
        kinds |= {name: of.c[key].type for key, name in values.items() if isinstance(name, str)}
        shared = {name: bindparam(_PREFIX + name, type_=kind) for name, kind in (same or {}).items()}
        self._statement = _Statement(
            kinds,
            dict(same or {}),
            lambda rows: (
                update(of)
                .where(*(of.c[key] == rows.c[name] for key, name in wanted.items()), *_after(rows, where(shared)))
                .values({key: rows.c[name] if isinstance(name, str) else name for key, name in values.items()})
            ),
        )

    async def __call__(self, connection: AsyncConnection, rows: Rows, **same: Any) -> int:
        """Update these rows; returns how many were as they had to be."""
        return await self._statement.execute(connection, rows, same)


class _Statement:
    """A statement that reads its rows from a table of them. `kinds` are the types of a row's fields, `same` those of
    the parameters that all rows share."""

    def __init__(self, kinds: Kinds, same: Kinds, build: Callable[[FromClause], Any]) -> None:
        self._names, self._same = tuple(kinds), tuple(same)
        fields: list[ColumnClause[Any]] = [column(name, kind) for name, kind in kinds.items()]

        def unnest(array: Callable[[str, TypeEngine[Any]], ColumnElement[Any]]) -> Any:
            arrays = [array(_PREFIX + name, kind) for name, kind in kinds.items()]
            return build(func.unnest(*arrays).table_valued(*fields, name="rows").render_derived())

        self._of_lists = unnest(lambda name, kind: bindparam(name, type_=ARRAY(kind, dimensions=1)))
        self._of_texts = unnest(lambda name, kind: cast(cast(bindparam(name, type_=Text), Text), ARRAY(kind)))
        self._element = [_element_writer(kind) for kind in kinds.values()]
        compiled = build(table(_ROWS_HERE, *fields)).compile(dialect=_SQLITE)
        assert list(compiled.positiontup or ()) == [_PREFIX + name for name in same], "parameters in front of the rows"
        self._text = str(compiled)
        self._convert = [_converter(kind) for kind in (*kinds.values(), *same.values())]
        self._on_sqlite = cache(self._sqlite_text)

    async def execute(self, connection: AsyncConnection, rows: Rows, same: Mapping[str, Any]) -> int:
        if connection.dialect.name == "sqlite":
            return await self._execute_on_sqlite(connection, rows, same)
        if not rows:
            return 0
        parameters: dict[str, Any] = {_PREFIX + name: value for name, value in same.items()}
        fields = zip(self._names, zip(*rows, strict=True), strict=True)
        if connection.dialect.driver == "asyncpg":
            parameters |= {_PREFIX + name: list(values) for name, values in fields}
            return (await connection.execute(self._of_lists, parameters)).rowcount
        for (name, values), write in zip(fields, self._element, strict=True):
            parameters[_PREFIX + name] = _array_text(values, write)
        return (await connection.execute(self._of_texts, parameters)).rowcount

    async def _execute_on_sqlite(self, connection: AsyncConnection, rows: Rows, same: Mapping[str, Any]) -> int:
        last = [
            convert(same[name]) if convert is not None else same[name]
            for name, convert in zip(self._same, self._convert[len(self._names) :], strict=True)
        ]
        matched = 0
        while rows:
            size = next(size for size in _SIZES if size <= len(rows))
            parameters = (*chain.from_iterable(self._converted(rows[:size])), *last)
            matched += (await connection.exec_driver_sql(self._on_sqlite(size), parameters)).rowcount
            rows = rows[size:]
        return matched

    def _converted(self, rows: Rows) -> Rows:
        fields = [
            values if convert is None else _each_once(convert, values)
            for values, convert in zip(zip(*rows, strict=True), self._convert, strict=False)
        ]
        return list(zip(*fields, strict=True))

    def _sqlite_text(self, size: int) -> str:
        row = f"({', '.join('?' * len(self._names))})"
        named = ", ".join(f"column{number} AS {name}" for number, name in enumerate(self._names, 1))
        # Names and question marks only: what a row holds never gets into the text.
        here = f"FROM (SELECT {named} FROM (VALUES {', '.join([row] * size)})) AS {_ROWS_HERE}"  # noqa: S608
        return self._text.replace(_HERE, here)


def _after(rows: FromClause, conditions: Sequence[ColumnElement[bool]]) -> Sequence[ColumnElement[bool]]:
    """The same conditions, for SQLite as one of the table and a row together.

    Where conditions of the table alone seem to cull it, and its statistics are of a time when it was small, SQLite
    reads all of it for a Bloom filter, a million rows to change five hundred: https://sqlite.org/optoverview.html.
    """
    if getattr(rows, "name", None) != _ROWS_HERE or not conditions:
        return conditions
    return [case((rows.c.id.is_not(None), and_(*conditions)))]


def _array_text(values: Sequence[Any], write: Callable[[Any], str]) -> str:
    """PostgreSQL's text of an array: https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO."""
    first = values[0]
    if all(value is first for value in values):
        texts = ["NULL" if first is None else write(first)] * len(values)
    else:
        texts = ["NULL" if value is None else write(value) for value in values]
    return "{" + ",".join(texts) + "}"


def _element_writer(kind: TypeEngine[Any]) -> Callable[[Any], str]:
    if isinstance(kind, UtcDateTime):
        return lambda moment: f'"{in_utc(moment).isoformat()}"'
    if isinstance(kind, JSON):
        return lambda value: _quoted(json.dumps(value))
    if isinstance(kind, Boolean):
        return lambda value: "t" if value else "f"
    if isinstance(kind, Integer | Float):
        return repr
    return _quoted


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _converter(kind: TypeEngine[Any]) -> Callable[[Any], Any] | None:
    return kind.dialect_impl(_SQLITE).bind_processor(_SQLITE)


def _each_once(convert: Callable[[Any], Any], values: Sequence[Any]) -> Sequence[Any]:
    """Rows of a batch often share a moment: it is converted once."""
    first = values[0]
    if all(value is first for value in values):
        return (convert(first),) * len(values)
    return [convert(value) for value in values]
