"""Only what code allows can be named, and only sensible numbers set."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import DateTime, MetaData, String
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
     "/srv/../etc", "/proc/1", "/dev/shm", "~", ""],
)  # fmt: skip
def test_folders_of_the_system_are_not_allowed(folder: str) -> None:
    with pytest.raises(ConfigurationError):
        CleanupTargets().allow_directory(folder)


@pytest.mark.parametrize(
    "folder", ["/tmp/uploads", "/var/lib/shop", "/usr/src/app/data/logs", "/app/data", "/home/ada/x"]
)
def test_folders_of_ones_own_are_allowed(folder: str) -> None:
    targets = CleanupTargets()
    targets.allow_directory(folder, ["*.tmp"])
    target, way = targets.directory(f"{folder}/inner")
    assert (target.root, str(way)) == (Path(folder), "inner")


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
