"""One way from a rule to its report, for every kind of target."""

from __future__ import annotations

import asyncio
from datetime import datetime

from modules.core.clock import Clock
from modules.core.database import Database
from modules.core.scheduler.cleanup.config import FileRule, HistoryRule, RowRule, Rule
from modules.core.scheduler.cleanup.files import clean_files
from modules.core.scheduler.cleanup.history import clean_history
from modules.core.scheduler.cleanup.report import Budget, CleanupReport
from modules.core.scheduler.cleanup.rows import clean_rows
from modules.core.scheduler.cleanup.targets import CleanupTargets


async def run_rule(
    rule: Rule,
    *,
    database: Database,
    targets: CleanupTargets,
    now: datetime,
    clock: Clock,
    budget: Budget,
    keep_history_days: int,
    dry_run: bool,
) -> CleanupReport:
    """Carry out a rule, or with `dry_run` only report what would go. Raises UnknownTarget, InvalidCleanup.

    The cutoff is counted from `now` and stays where it is; when the budget is used up the rest is left to the next run.
    """
    began = clock.monotonic()
    if isinstance(rule, RowRule):
        table = targets.table(rule.table_name, rule.date_column)
        report = await clean_rows(database, table, rule, now, budget, dry_run=dry_run)
    elif isinstance(rule, FileRule):
        directory, way = targets.directory(rule.directory)
        report = await asyncio.to_thread(clean_files, directory, way, rule, now, budget, dry_run=dry_run)
    else:
        assert isinstance(rule, HistoryRule)
        days = keep_history_days if rule.keep_days is None else rule.keep_days
        report = await clean_history(database, days, now, budget, batch_size=rule.batch_size, dry_run=dry_run)
    report.duration_ms = (clock.monotonic() - began) * 1000
    return report
