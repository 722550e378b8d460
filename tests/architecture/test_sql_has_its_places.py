"""SQL lives in db_ops, cleanup, the tables and the core's database files; nobody else knows that there are rows."""

from __future__ import annotations

import ast
import re

from tests.support.sources import Source, imports_of, python_files, within

SQL_PLACES = (
    "modules/core/database.py",
    "modules/core/database_errors.py",
    "modules/core/database_url.py",
    "modules/core/direct_connection.py",
    "modules/core/joined.py",
    "modules/core/column_types.py",
    "modules/core/migrations.py",
    "modules/core/postgresql.py",
    "modules/core/scheduler/db_models.py",
    "modules/core/scheduler/db_ops/",
    "modules/core/scheduler/cleanup/",
    "modules/standard/",  # examples define and use tables of their own, as a host's modules do
)
EXCEPTIONS_ONLY = {
    "modules/core/scheduler/recorder.py": "tells a database that is away from a statement that cannot succeed",
    "modules/core/scheduler/service.py": "a stop goes on, whatever the database does",
    "modules/core/scheduler/node_service.py": "health answers, whatever the database does",
}
STATEMENT = re.compile(
    r"\s*(SELECT\s|INSERT INTO\s|UPDATE \w+ SET\s|DELETE FROM\s|(CREATE|ALTER|DROP) (TABLE|INDEX)\s|PRAGMA\s|BEGIN IMM)"
)
REASON = (
    "SQL belongs to db_ops/ (one method = one transaction) or cleanup/, so that every statement can be found and tested"
)


def misplaced_sql(source: Source) -> list[str]:
    """A sentence for each import of SQLAlchemy and each text of a statement where none belongs."""
    if source.path.startswith(SQL_PLACES):
        return []
    found = [
        (item.line, f"import of {item.target}")
        for item in imports_of(source)
        if within(item.target, "sqlalchemy")
        and not item.typing_only
        and not (source.path in EXCEPTIONS_ONLY and within(item.target, "sqlalchemy.exc"))
    ]
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and STATEMENT.match(node.value):
            found.append((node.lineno, f"statement {node.value.strip()[:30]!r}"))
    return [f"{source.path}:{line}: {what}: {REASON}." for line, what in sorted(found)]


def test_sql_is_where_it_belongs() -> None:
    """Services, loops and doors speak of tasks and executions, never of rows."""
    assert [line for source in python_files("modules") for line in misplaced_sql(source)] == []


def test_misplaced_sql_is_reported() -> None:
    """The checker bites on an import and on text, and knows the places."""
    text = 'from sqlalchemy import select\nimport sqlalchemy.exc\nquery = "DELETE FROM scheduler_events"\n'
    assert len(misplaced_sql(Source("modules/core/scheduler/dispatcher.py", text))) == 3
    assert len(misplaced_sql(Source("modules/core/scheduler/recorder.py", text))) == 2
    assert misplaced_sql(Source("modules/core/scheduler/db_ops/events.py", text)) == []
