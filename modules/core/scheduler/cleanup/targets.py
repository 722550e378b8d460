"""What may be deleted at all. Filled by code in phase 1; configurations can only name what stands here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, DateTime, Table, inspect
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.types import TypeDecorator

from modules.core.errors import ConfigurationError, Invalid, did_you_mean

# Folders that hold more than one application's files; folders inside them may be allowed.
_SHARED: Final = """
    Users export export/home home media mnt opt private private/tmp private/var root run srv tmp usr usr/local
    usr/local/share usr/local/src usr/share usr/src var var/cache var/home var/lib var/local var/log var/opt var/run
    var/tmp
"""
# Nothing in these is ever ours to delete.
_SYSTEM: Final = """
    Applications Library System bin boot dev etc gnu lib lib32 lib64 libx32 nix private/etc proc sbin snap sys
    usr/bin usr/etc usr/games usr/include usr/lib usr/lib32 usr/lib64 usr/libexec usr/libx32 usr/sbin
    usr/local/bin usr/local/etc usr/local/include usr/local/lib usr/local/lib64 usr/local/libexec usr/local/sbin
    usr/share/ca-certificates usr/share/dbus-1 usr/share/doc usr/share/keyrings usr/share/locale usr/share/man
    usr/share/polkit-1 usr/share/zoneinfo var/backups var/lib/apt var/lib/containerd var/lib/containers var/lib/dbus
    var/lib/docker var/lib/dpkg var/lib/kubelet var/lib/pacman var/lib/rpm var/lib/snapd var/lib/systemd var/mail
    var/spool
"""
SHARED_FOLDERS: Final = frozenset(f"/{name}" for name in _SHARED.split())
SYSTEM_TREES: Final = tuple(f"/{name}" for name in _SYSTEM.split())
HOMES: Final = frozenset({"/Users", "/export/home", "/home", "/var/home"})


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
    """Service key "core.scheduler.cleanup". What is allowed once stays as it is: nobody widens it from elsewhere."""

    def __init__(self) -> None:
        self._tables: dict[tuple[str, str], TableTarget] = {}
        self._directories: dict[Path, DirectoryTarget] = {}

    def allow_table(
        self, column: Column[Any] | InstrumentedAttribute[Any], *, where: ColumnElement[bool] | None = None
    ) -> None:
        """Allow rows to be deleted by the date in `column`, such as `UserSession.expires_at`.

        `where` narrows it further. Naive date columns are taken as UTC. Raises ConfigurationError, also when the
        column is allowed already with another `where`.
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
        target = TableTarget(table, date_column, where)
        known = self._tables.setdefault((table.fullname, date_column.name), target)
        if known.column is not date_column or not _same_condition(known.where, where):
            raise ConfigurationError(
                f"{table.fullname}.{date_column.name} is allowed already, with another condition or by another Table: "
                "call allow_table for it in one place only."
            )

    def allow_directory(self, root: Path | str, patterns: Sequence[str] = ("*",)) -> None:
        """Allow files under `root` to be deleted when their name matches one of `patterns` (as in a shell, no '/').

        Raises ConfigurationError for relative paths, for folders that belong to the system or hold homes, and for a
        folder that is allowed already with other patterns.
        """
        path = _normal(_expanded(root))
        if isinstance(patterns, str) or not patterns or any("/" in pattern for pattern in patterns):
            raise ConfigurationError(
                f"The patterns for {path} must be a list of file name patterns, such as ['*.tmp']."
            )
        if not path.is_absolute() or ".." in path.parts or "\x00" in str(path):
            raise ConfigurationError(
                f"{str(root)!r} must be an absolute path without '..', such as '/srv/shop/uploads'."
            )
        if _belongs_to_the_system(path):
            raise ConfigurationError(f"Files in {path} are not ours to delete: allow a folder of your own inside it.")
        known = self._directories.setdefault(path, DirectoryTarget(path, tuple(patterns)))
        if set(known.patterns) != set(patterns):
            raise ConfigurationError(
                f"{path} is allowed already, for the patterns {list(known.patterns)}: "
                "call allow_directory for it in one place only, with all patterns."
            )

    def table(self, table_name: str, date_column: str) -> TableTarget:
        """The allowed table: `schema.name`, or the plain name where only one has it. Raises UnknownTarget."""
        target = self._tables.get((table_name, date_column))
        if target is not None:
            return target
        same_name = [
            known
            for (_, column), known in self._tables.items()
            if known.table.name == table_name and column == date_column
        ]
        if len(same_name) == 1:
            return same_name[0]
        if same_name:
            names = " or ".join(repr(known.table.fullname) for known in same_name)
            raise UnknownTarget(f"There are several tables {table_name[:100]!r}: write {names}.")
        hint = did_you_mean(
            f"{table_name}.{date_column}"[:100], [f"{table}.{column}" for table, column in self._tables]
        )
        raise UnknownTarget(
            f"Rows of {table_name[:100]!r} by {date_column[:100]!r} may not be deleted.{hint} "
            "Allow them in code first: get_service('core.scheduler.cleanup').allow_table(Model.column)."
        )

    def directory(self, directory: str) -> tuple[DirectoryTarget, PurePath]:
        """The allowed root nearest to `directory`, and the way from there. Raises UnknownTarget."""
        path = _normal(Path(directory))
        if not path.is_absolute() or ".." in path.parts:
            raise UnknownTarget(
                f"The directory {directory[:200]!r} must be an absolute path without '..', such as "
                "'/srv/shop/uploads': '~' and relative paths mean something else to each process."
            )
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


def _same_condition(one: ColumnElement[bool] | None, other: ColumnElement[bool] | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.compare(other)


def _expanded(root: Path | str) -> Path:
    try:
        return Path(root).expanduser()
    except RuntimeError as error:
        raise ConfigurationError(f"The home folder in {str(root)!r} is not known: write the path in full.") from error


def _normal(path: Path) -> Path:
    """POSIX keeps a double slash at the beginning, which names the same folder on every system of today."""
    text = str(path)
    return Path("/" + text.lstrip("/")) if text.startswith("/") else path


def _belongs_to_the_system(path: Path) -> bool:
    return (
        len(path.parts) < 2
        or str(path) in SHARED_FOLDERS
        or str(path.parent) in HOMES
        or any(path.is_relative_to(tree) for tree in SYSTEM_TREES)
        or _holds_our_home(path)
    )


def _holds_our_home(path: Path) -> bool:
    try:
        return Path.home().is_relative_to(path)
    except RuntimeError:  # a user id without a name and without HOME, as in some containers
        return False
