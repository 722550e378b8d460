"""The task functions that the scheduler itself offers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

from modules.core.errors import ConfigurationError
from modules.core.result import Result
from modules.core.scheduler.cleanup import Budget, CleanupTargets, FileRule, InvalidCleanup, run_rule
from modules.core.scheduler.housekeeper import MODULE_ID, RUN_FUNCTION, Housekeeper
from modules.core.scheduler.runtime import Runtime

if TYPE_CHECKING:
    from modules.core.app_context import AppContext

logger = logging.getLogger(__name__)

LogType = Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")]


class LogCleanupParameters(BaseModel):
    """Which log files are old: `<data_dir>/logs`, names that contain one of `log_types`."""

    model_config = ConfigDict(extra="forbid")

    days_to_keep: StrictInt = Field(30, ge=1, le=36_500)
    log_types: list[LogType] = Field(default_factory=lambda: ["error", "debug", "info"], min_length=1, max_length=20)


class CleanupParameters(BaseModel):
    """Which registered cleanup to run."""

    model_config = ConfigDict(extra="forbid")

    config_id: StrictStr


def allow_log_folder(targets: CleanupTargets, folder: Path) -> str | None:
    """Allow log files in the folder to be deleted, or return what to do so that they can be.

    No reason to refuse the start: an application that never cleans its logs up may keep its data anywhere.
    """
    try:
        targets.allow_directory(folder, ["*.log", "*.log.*"])
    except ConfigurationError as error:
        advice = f"{error.message} Set APP_DATA_DIR to a folder of this application's own."
        logger.warning("cleanup_old_logs will not work: %s", advice)
        return advice
    return None


def register_builtin_tasks(app_context: AppContext, housekeeper: Housekeeper, targets: CleanupTargets) -> None:
    """Register `core.scheduler.run_cleanup` and `core.scheduler.cleanup_old_logs`."""
    runtime = Runtime.of(app_context)
    folder = app_context.settings.data_dir / "logs"
    advice = allow_log_folder(targets, folder)

    async def run_cleanup(parameters: CleanupParameters) -> dict[str, Any]:
        """Run a registered cleanup; its own recurring task calls this."""
        return await housekeeper.scheduled_run(parameters.config_id)

    async def cleanup_old_logs(parameters: LogCleanupParameters) -> Result:
        """Delete log files older than `days_to_keep` from the logs folder of the data directory."""
        if advice is not None:
            raise InvalidCleanup(f"Old logs cannot be cleaned up: {advice}")
        deleted = 0
        errors: list[str] = []
        now = runtime.clock.now()
        budget = Budget(runtime.settings.cleanup_time_budget_seconds, runtime.clock.monotonic)
        for log_type in dict.fromkeys(parameters.log_types):
            report = await run_rule(
                FileRule(directory=str(folder), max_age_hours=parameters.days_to_keep * 24, pattern=f"*{log_type}*"),
                database=runtime.database,
                targets=targets,
                now=now,
                clock=runtime.clock,
                budget=budget,
                keep_history_days=runtime.settings.keep_execution_history,
                dry_run=False,
            )
            deleted += report.deleted
            errors += report.errors
        return Result.success(data={"deleted_count": deleted, "folder": str(folder), "errors": errors[:20]})

    runtime.registry.register(MODULE_ID, run_cleanup, name=RUN_FUNCTION)
    runtime.registry.register(MODULE_ID, cleanup_old_logs)
