"""Old files under allowed folders. Blocking: call it in a thread."""

from __future__ import annotations

import errno
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import PurePath
from typing import Final

from modules.core.scheduler.cleanup.config import FileRule, InvalidCleanup
from modules.core.scheduler.cleanup.report import Budget, CleanupReport, shown
from modules.core.scheduler.cleanup.targets import DirectoryTarget
from modules.core.scheduler.cleanup.walk import (
    FoundFile,
    MountReader,
    Walk,
    mount_of,
    opened_folder,
    regular_files,
)

ENTRIES_A_BATCH: Final = 500

_LINKED: Final = "a part of its path is a symbolic link or no folder; name the real folder"
_ADVICE: Final = {
    errno.ELOOP: _LINKED,
    errno.ENOTDIR: _LINKED,
    errno.EXDEV: "another file system is mounted between the allowed folder and it; allow the mounted folder in code",
    errno.EACCES: "let the user of this process search its path and list it",
}


def clean_files(
    target: DirectoryTarget,
    way: PurePath,
    rule: FileRule,
    now: datetime,
    budget: Budget,
    *,
    dry_run: bool,
    mount_of: MountReader = mount_of,
) -> CleanupReport:
    """Delete files last changed strictly before the cutoff; each is looked at again right before it goes.

    Raises InvalidCleanup when the folder cannot be opened; one that does not exist yet is only noted.
    """
    cutoff = now - timedelta(hours=rule.max_age_hours)
    report = CleanupReport(shown(str(target.root / way)), "files", dry_run, cutoff)
    cutoff_ns = int(cutoff.timestamp()) * 1_000_000_000
    walk = Walk(report.fail, _Pace(budget, report).is_over, rule.recursive, mount_of)
    try:
        with opened_folder(target.root, way, walk) as folder:
            for file in regular_files(folder, walk):
                if _is_old(file, target, rule, cutoff_ns):
                    _take(file, report, dry_run=dry_run)
    except FileNotFoundError:
        report.fail("the folder does not exist yet")
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "see to it that the user of this process can list it")
        raise InvalidCleanup(f"The folder {report.target} cannot be cleaned up: {error.strerror}; {advice}.") from error
    return report


class _Pace:
    """Counts entries, whatever they are: a tree of empty folders takes time too."""

    def __init__(self, budget: Budget, report: CleanupReport) -> None:
        self._budget = budget
        self._report = report
        self._seen = 0

    def is_over(self) -> bool:
        """Whether the time is used up; never within the first batch."""
        if not self._report.complete:
            return True
        if self._seen >= ENTRIES_A_BATCH and self._budget.used_up:
            self._report.complete = False
            return True
        self._report.batches += self._seen % ENTRIES_A_BATCH == 0
        self._seen += 1
        return False


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
