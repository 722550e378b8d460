"""How commands answer: tables for people, JSON for programs, exit codes for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import wraps
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from modules.core.errors import ConfigurationError, ModuleError

P = ParamSpec("P")
T = TypeVar("T")

FAILED = 1
INVALID = 2
NOT_FOUND = 3
CONFLICT = 4
CONFIGURATION = 5

AsJson = Annotated[bool, typer.Option("--json", help="Answer with JSON on standard output.")]

_out = Console()
_err = Console(stderr=True)
# Ids and times are for copying: rows stay whole, and a narrow terminal folds them. Only long texts are cut.
_rows = Console(width=1000)
_WIDEST_CELL = 60


def exit_codes(command: Callable[P, T]) -> Callable[P, T]:
    """Errors become one line on standard error and an exit code: 2 invalid, 3 not found, 4 wrong state, 5 set-up or
    database."""

    @wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except ModuleError as error:
            _err.print(
                f"[red]{escape(error.error_code)}[/red] {escape(error.message)}", highlight=False, soft_wrap=True
            )
            raise typer.Exit(_exit_code(error)) from error

    return wrapper


def _exit_code(error: ModuleError) -> int:
    if isinstance(error, ConfigurationError):
        return CONFIGURATION
    return {404: NOT_FOUND, 409: CONFLICT, 422: INVALID, 503: CONFIGURATION}.get(error.http_status, FAILED)


def show_json(value: Any) -> None:
    """One JSON document; times in UTC with Z."""
    sys.stdout.write(json.dumps(value, default=_plain, indent=2, ensure_ascii=False) + "\n")


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """A table, or the sentence `empty` where there are no rows."""
    headers = (Column(name, no_wrap=True, max_width=_WIDEST_CELL) for name in columns)
    table = Table(*headers, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(escape(_text(value)) for value in row))
    if table.row_count:
        _rows.print(table)
    else:
        _out.print(empty)


def show_fields(fields: Mapping[str, Any]) -> None:
    """One thing, field by field; what is not set is left out."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields.items():
        if value not in (None, [], {}):
            table.add_row(name, escape(_text(value)))
    _out.print(table)


def say(sentence: str) -> None:
    """One line for people."""
    _out.print(escape(sentence), highlight=False, soft_wrap=True)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return _utc(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _utc(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return _utc(value.replace(microsecond=0))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict | list):
        return json.dumps(value, default=_plain, ensure_ascii=False)
    return str(value)
