"""Only what code allows can be named, and only sensible numbers set."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, DateTime, Integer, MetaData, String, Table
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from modules.core.errors import ConfigurationError
from modules.core.scheduler.cleanup import (
    CleanupTargets,
    FileRule,
    HistoryRule,
    InvalidCleanup,
    RowRule,
    UnknownTarget,
    cleanup_interval_of,
    parse_config,
)
from modules.core.scheduler.triggers import InvalidTrigger


class OwnBase(DeclarativeBase):
    metadata = MetaData()


class Session(OwnBase):
    __tablename__ = "sessions"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(10))
    expires_at: Mapped[datetime | None] = mapped_column(DateTime)


def test_a_table_is_named_by_its_column() -> None:
    targets = CleanupTargets()
    targets.allow_table(Session.expires_at)
    targets.allow_table(Session.__table__.c.expires_at)
    assert targets.table("sessions", "expires_at").column.name == "expires_at"
    with pytest.raises(UnknownTarget, match=r"Did you mean 'sessions\.expires_at'"):
        targets.table("session", "expires_at")
    with pytest.raises(UnknownTarget, match="allow_table"):
        targets.table("users", "created_at")


@pytest.mark.parametrize("column", [Session.name, Session, "sessions.expires_at", None])
def test_what_is_no_date_column_is_not_allowed(column: Any) -> None:
    with pytest.raises(ConfigurationError):
        CleanupTargets().allow_table(column)


@pytest.mark.parametrize(
    "folder",
    ["/", "/etc", "/etc/shop", "/usr", "/usr/lib/shop", "/var", "/var/log", "/tmp", "/home", "/home/ada", "relative",
     "/srv/../etc", "/proc/1", "/dev/shm", "~", "", "//etc", "//etc/shop", "///usr/bin", "//", "/usr/lib64/x",
     "/usr/libexec", "/var/lib", "/var/lib/dpkg/info", "/var/spool", "/var/spool/cron", "/var/backups",
     "/usr/local/bin", "/usr/share", "/usr/share/zoneinfo", "/Users", "/Users/ada", "/nix/store/x", "/opt", "/srv",
     "~nosuchuser/x", "/srv/a\x00b", "/var/home/ada"],
)  # fmt: skip
def test_folders_of_the_system_are_not_allowed(folder: str) -> None:
    with pytest.raises(ConfigurationError):
        CleanupTargets().allow_directory(folder)


@pytest.mark.parametrize(
    "folder",
    ["/tmp/uploads", "/var/lib/shop", "/usr/src/app/data/logs", "/app/data", "/home/ada/x", "/usr/share/shop/data",
     "/srv/shop", "/opt/shop/logs", "/tmp/x", "/Users/ada/shop", "/var/log/shop", "/libation/x", "/usr/local/shop"],
)  # fmt: skip
def test_folders_of_ones_own_are_allowed(folder: str) -> None:
    targets = CleanupTargets()
    targets.allow_directory(folder, ["*.tmp"])
    for given in (f"{folder}/inner", f"/{folder}/inner/"):
        target, way = targets.directory(given)
        assert (target.root, str(way)) == (Path(folder), "inner")


def test_a_process_without_a_home_can_allow_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user id without a name and without HOME, as in some containers."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("os.getuid", lambda: 123_456_789)
    CleanupTargets().allow_directory("/srv/shop")
    with pytest.raises(ConfigurationError, match="write the path in full"):
        CleanupTargets().allow_directory("~/shop")


def test_the_home_of_this_process_is_not_allowed_wherever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/srv/people/ada")
    for folder in ("/srv/people", "/srv/people/ada"):
        with pytest.raises(ConfigurationError, match="not ours"):
            CleanupTargets().allow_directory(folder)
    CleanupTargets().allow_directory("~/shop")


def test_the_nearest_allowed_folder_decides() -> None:
    targets = CleanupTargets()
    targets.allow_directory("/srv/shop", ["*.tmp"])
    targets.allow_directory("/srv/shop/uploads/raw", ["*.raw"])
    targets.allow_directory("/srv/shop/uploads", ["*.upload"])
    found = {name: targets.directory(f"/srv/shop{name}") for name in ("", "/x", "/uploads/x", "/uploads/raw/x")}
    assert [target.patterns for target, _ in found.values()] == [("*.tmp",), ("*.tmp",), ("*.upload",), ("*.raw",)]


def test_what_is_allowed_once_is_not_widened_from_elsewhere() -> None:
    targets = CleanupTargets()
    for _ in range(2):
        targets.allow_directory("/srv/shop", ["*.tmp", "*.upload"])
        targets.allow_directory("//srv/shop", ["*.upload", "*.tmp"])
        targets.allow_table(Session.expires_at, where=Session.name == "web")
    with pytest.raises(ConfigurationError, match=r"allowed already, for the patterns \['\*.tmp'"):
        targets.allow_directory("/srv/shop")
    for other in (Session.name == "api", Session.id == 1, None):
        with pytest.raises(ConfigurationError, match="allowed already"):
            targets.allow_table(Session.expires_at, where=other)
    with pytest.raises(ConfigurationError, match="allowed already"):
        targets.allow_table(_sessions().c.expires_at, where=Session.name == "web")
    assert targets.directory("/srv/shop")[0].patterns == ("*.tmp", "*.upload")
    assert targets.table("sessions", "expires_at").where is not None


def _sessions(schema: str | None = None) -> Table:
    columns = (Column("id", Integer, primary_key=True), Column("expires_at", DateTime))
    return Table("sessions", MetaData(), *columns, schema=schema)


def test_tables_of_one_name_are_told_apart_by_their_schema() -> None:
    targets = CleanupTargets()
    shop, blog = _sessions("shop"), _sessions("blog")
    targets.allow_table(shop.c.expires_at)
    assert targets.table("sessions", "expires_at").table is shop, "only one has that name"
    targets.allow_table(blog.c.expires_at)
    assert targets.table("shop.sessions", "expires_at").table is shop
    assert targets.table("blog.sessions", "expires_at").table is blog
    with pytest.raises(UnknownTarget, match=r"write 'shop\.sessions' or 'blog\.sessions'"):
        targets.table("sessions", "expires_at")
    plain = _sessions()
    targets.allow_table(plain.c.expires_at)
    assert targets.table("sessions", "expires_at").table is plain


@pytest.mark.parametrize("directory", ["~nosuchuser/x", "~/x", "~", "uploads", "./uploads", "/srv/shop/../x", "", "."])
def test_a_configuration_names_absolute_paths(directory: str) -> None:
    """Nothing is expanded: the process that runs it may have another home, or none."""
    targets = CleanupTargets()
    targets.allow_directory(Path.home() / "x")
    with pytest.raises(UnknownTarget, match="must be an absolute path"):
        targets.directory(directory)


@pytest.mark.parametrize("patterns", ["*.tmp", [], ["a/b"]])
def test_patterns_are_a_list_of_names(patterns: Any) -> None:
    with pytest.raises(ConfigurationError):
        CleanupTargets().allow_directory("/srv/shop/x", patterns)


@pytest.mark.parametrize("directory", ["/srv/shop", "/srv/shop/uploads2", "/srv/shop/uploads/../x", "uploads", "/"])
def test_a_configuration_cannot_leave_its_root(directory: str) -> None:
    targets = CleanupTargets()
    targets.allow_directory("/srv/shop/uploads")
    with pytest.raises(UnknownTarget):
        targets.directory(directory)


def test_the_shapes_of_the_specification() -> None:
    rows = {"table_name": "user_sessions", "date_column": "expires_at", "cleanup_interval": "1 hour", "batch_size": 100}
    assert parse_config(rows) == RowRule("user_sessions", "expires_at", batch_size=100)
    assert cleanup_interval_of(rows, 3600) == (1, "hours")
    files = {"directory": "/tmp/uploads", "max_age_hours": 24, "cleanup_interval": "6 hours"}
    assert parse_config(files) == FileRule("/tmp/uploads", 24)
    assert cleanup_interval_of(files, 3600) == (6, "hours")
    assert parse_config({"history": "executions"}) == HistoryRule()
    assert parse_config({"history": "executions", "keep_days": None}) == HistoryRule(), "the setting says"
    assert cleanup_interval_of({}, 3600) == (1, "hours")
    assert cleanup_interval_of({}, 5400) == (90, "minutes")
    assert cleanup_interval_of({"cleanup_interval": 120}, 3600) == (120, "seconds")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "exactly one"),
        ([], "dict"),
        ({"table_name": "a", "date_column": "b", "directory": "/x"}, "exactly one"),
        ({"table_name": "a"}, "date_column is missing"),
        ({"directory": "/x"}, "max_age_hours is missing"),
        ({"directory": "/x", "max_age_hours": 0}, "at least 1"),
        ({"directory": "/x", "max_age_hours": -1}, "from 0"),
        ({"directory": "/x", "max_age_hours": 1.5}, "whole number"),
        ({"directory": "/x", "max_age_hours": True}, "whole number"),
        ({"directory": "/x", "max_age_hours": None}, "max_age_hours must be a whole number"),
        ({"table_name": "a", "date_column": "b", "max_age_hours": None}, "max_age_hours must be a whole number"),
        ({"table_name": "a", "date_column": "b", "max_age_days": None}, "max_age_days must be a whole number"),
        ({"directory": "/x", "max_age_hours": 1, "pattern": None}, "pattern must be text"),
        ({"directory": "/x", "max_age_hours": 1, "pattern": "a/b"}, "pattern"),
        ({"directory": "/x\x00", "max_age_hours": 1}, "text"),
        ({"directory": 1, "max_age_hours": 1}, "text"),
        ({"directory": "/x", "max_age_hours": 1, "max_age_hour": 2}, "Did you mean 'max_age_hours'"),
        ({"table_name": "a", "date_column": "b", "batch_size": 0}, "from 1"),
        ({"table_name": "a", "date_column": "b", "batch_size": 100_000}, "to 10000"),
        ({"table_name": "a", "date_column": "b", "cleanup_interval": "10 seconds"}, "at least 60"),
        ({"history": "orders"}, "executions"),
        ({"history": "executions", "keep_days": 0}, "from 1"),
    ],
)
def test_configurations_that_cannot_be_are_refused_with_advice(config: Any, words: str) -> None:
    with pytest.raises(InvalidCleanup) as refused:
        parse_config(config)
    assert words in refused.value.message


@pytest.mark.parametrize("interval", ["often", "0 hours"])
def test_intervals_that_cannot_be_are_refused(interval: str) -> None:
    with pytest.raises(InvalidTrigger):
        parse_config({"history": "executions", "cleanup_interval": interval})
