"""Old files under allowed folders. Blocking: call it in a thread."""

from __future__ import annotations

from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import PurePath

from modules.core.scheduler.cleanup.config import FileRule
from modules.core.scheduler.cleanup.report import Budget, CleanupReport
from modules.core.scheduler.cleanup.targets import DirectoryTarget
from modules.core.scheduler.cleanup.walk import FoundFile, opened_folder, regular_files, shown

FILES_A_BATCH = 500


def clean_files(
    target: DirectoryTarget, way: PurePath, rule: FileRule, now: datetime, budget: Budget, *, dry_run: bool
) -> CleanupReport:
    """Delete files last changed strictly before the cutoff; each is looked at again right before it goes."""
    cutoff = now - timedelta(hours=rule.max_age_hours)
    report = CleanupReport(shown(str(target.root / way)), "files", dry_run, cutoff)
    cutoff_ns = int(cutoff.timestamp()) * 1_000_000_000
    try:
        with opened_folder(target.root, way) as folder:
            for number, file in enumerate(regular_files(folder, recursive=rule.recursive, problem=report.fail), 1):
                if _is_old(file, target, rule, cutoff_ns):
                    _take(file, report, dry_run=dry_run)
                if number % FILES_A_BATCH == 0:
                    report.batches += 1
                    if budget.used_up:
                        report.complete = False
                        break
    except FileNotFoundError:
        report.fail("the folder does not exist yet")
    except OSError as error:
        report.fail(f"the folder cannot be opened ({error.strerror}); no part of its path may be a symbolic link")
    return report


def _is_old(file: FoundFile, target: DirectoryTarget, rule: FileRule, cutoff_ns: int) -> bool:
    return (
        file.seen.st_mtime_ns < cutoff_ns
        and fnmatchcase(file.name, rule.pattern)
        and any(fnmatchcase(file.name, pattern) for pattern in target.patterns)
    )


def _take(file: FoundFile, report: CleanupReport, *, dry_run: bool) -> None:
    report.matched += 1
    report.show(file.shown_as)
    if dry_run:
        report.bytes += file.seen.st_size
        return
    try:
        if file.unlink_if_unchanged():
            report.deleted += 1
            report.bytes += file.seen.st_size
        else:
            report.skipped += 1
    except FileNotFoundError:
        report.skipped += 1
    except OSError as error:
        report.skipped += 1
        report.fail(f"{file.shown_as}: {error.strerror}")
