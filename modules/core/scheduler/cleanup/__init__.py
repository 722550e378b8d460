"""Deleting what is old, and only that: rows, files and our own history. Rules name targets that code has allowed."""

from modules.core.scheduler.cleanup.config import (
    FileRule,
    HistoryRule,
    InvalidCleanup,
    RowRule,
    cleanup_interval_of,
    parse_config,
)
from modules.core.scheduler.cleanup.dates import check_date_column
from modules.core.scheduler.cleanup.report import Budget, CleanupReport
from modules.core.scheduler.cleanup.run import run_rule
from modules.core.scheduler.cleanup.targets import CleanupTargets, UnknownTarget

__all__ = [
    "Budget",
    "CleanupReport",
    "CleanupTargets",
    "FileRule",
    "HistoryRule",
    "InvalidCleanup",
    "RowRule",
    "UnknownTarget",
    "check_date_column",
    "cleanup_interval_of",
    "parse_config",
    "run_rule",
]
