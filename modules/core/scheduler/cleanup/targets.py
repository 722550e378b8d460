"""What may be deleted at all. Filled by code in phase 1; configurations can only name what stands here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from sqlalchemy import Column, ColumnElement, DateTime, Table, inspect
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.types import TypeDecorator

from modules.core.errors import ConfigurationError, Invalid, did_you_mean

# Folders that hold more than one application's files; folders inside them may be allowed.
SHARED_ROOTS = ("home", "media", "mnt", "opt", "root", "run", "srv", "tmp", "usr", "usr/local", "usr/src", "var")
SHARED_FOLDERS = frozenset(f"/{name}" for name in (*SHARED_ROOTS, "var/lib", "var/log", "var/tmp"))
# Nothing in these is ever ours to delete.
ROOT_TREES = ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "proc", "sbin", "sys")
USR_TREES = ("usr/bin", "usr/include", "usr/lib", "usr/sbin", "usr/share")
SYSTEM_TREES = tuple(f"/{name}" for name in (*ROOT_TREES, *USR_TREES))


class UnknownTarget(Invalid):
    """A configuration names something that no code has allowed."""

    code = "UNKNOWN_CLEANUP_TARGET"


@dataclass(frozen=True, slots=True)
class TableTarget:
    """A table whose old rows may go: those with `column` in the past and, where given, `where` true."""

    table: Table
    column: Column[Any]
    where: ColumnElement[bool] | None


@dataclass(frozen=True, slots=True)
class DirectoryTarget:
    """A folder whose old files may go, when their name matches one of `patterns`."""

    root: Path
    patterns: tuple[str, ...]


class CleanupTargets:
    """Service key "core.scheduler.cleanup"."""

    def __init__(self) -> None:
        self._tables: dict[tuple[str, str], TableTarget] = {}
        self._directories: dict[Path, DirectoryTarget] = {}

    def allow_table(
        self, column: Column[Any] | InstrumentedAttribute[Any], *, where: ColumnElement[bool] | None = None
    ) -> None:
        """Allow rows to be deleted by the date in `column`, such as `UserSession.expires_at`.

        `where` narrows it further. Naive date columns are taken as UTC. Raises ConfigurationError.
        """
        date_column = _column_of(column)
        table = date_column.table
        if not isinstance(table, Table) or not table.primary_key.columns:
            raise ConfigurationError(
                f"{date_column} belongs to no table with a primary key: rows could not be told apart."
            )
        kind = date_column.type.impl if isinstance(date_column.type, TypeDecorator) else date_column.type
        if not isinstance(kind, DateTime):
            raise ConfigurationError(f"{date_column} is no DateTime column: name the one that says how old a row is.")
        self._tables[table.name, date_column.name] = TableTarget(table, date_column, where)

    def allow_directory(self, root: Path | str, patterns: Sequence[str] = ("*",)) -> None:
        """Allow files under `root` to be deleted when their name matches one of `patterns` (as in a shell, no '/').

        Raises ConfigurationError for relative paths and for folders that belong to the system or hold homes.
        """
        path = Path(root).expanduser()
        if isinstance(patterns, str) or not patterns or any("/" in pattern for pattern in patterns):
            raise ConfigurationError(
                f"The patterns for {path} must be a list of file name patterns, such as ['*.tmp']."
            )
        if not path.is_absolute() or ".." in path.parts:
            raise ConfigurationError(
                f"{str(root)!r} must be an absolute path without '..', such as '/srv/shop/uploads'."
            )
        if _belongs_to_the_system(path):
            raise ConfigurationError(f"Files in {path} are not ours to delete: allow a folder of your own inside it.")
        self._directories[path] = DirectoryTarget(path, tuple(patterns))

    def table(self, table_name: str, date_column: str) -> TableTarget:
        """The allowed table. Raises UnknownTarget."""
        target = self._tables.get((table_name, date_column))
        if target is None:
            known = [f"{table}.{column}" for table, column in self._tables]
            hint = did_you_mean(f"{table_name}.{date_column}"[:100], known)
            raise UnknownTarget(
                f"Rows of {table_name[:100]!r} by {date_column[:100]!r} may not be deleted.{hint} "
                "Allow them in code first: get_service('core.scheduler.cleanup').allow_table(Model.column)."
            )
        return target

    def directory(self, directory: str) -> tuple[DirectoryTarget, PurePath]:
        """The allowed root that holds `directory`, and the way from there. Raises UnknownTarget."""
        path = Path(directory).expanduser()
        if path.is_absolute() and ".." not in path.parts:
            for root in sorted(self._directories, key=lambda root: len(root.parts), reverse=True):
                if path.is_relative_to(root):
                    return self._directories[root], path.relative_to(root)
        raise UnknownTarget(
            f"Files in {directory[:200]!r} may not be deleted. "
            "Allow the folder in code first: get_service('core.scheduler.cleanup').allow_directory(path, patterns)."
        )


def _column_of(column: Column[Any] | InstrumentedAttribute[Any]) -> Column[Any]:
    if isinstance(column, Column):
        return column
    try:
        columns = inspect(column).property.columns
    except (NoInspectionAvailable, AttributeError):
        columns = []
    if len(columns) == 1 and isinstance(columns[0], Column):
        return columns[0]
    raise ConfigurationError(f"allow_table needs a column, such as UserSession.expires_at, not {column!r}.")


def _belongs_to_the_system(path: Path) -> bool:
    text = str(path)
    return (
        len(path.parts) < 2
        or text in SHARED_FOLDERS
        or path == Path.home()
        or Path.home().is_relative_to(path)
        or (len(path.parts) == 3 and path.parts[1] == "home")
        or any(path.is_relative_to(tree) for tree in SYSTEM_TREES)
    )
