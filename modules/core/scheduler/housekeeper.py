"""Housekeeping: cleanups that modules registered, each run by an ordinary recurring task with a history of its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from modules.core.errors import ModuleError
from modules.core.ids import new_id
from modules.core.result import returns_result
from modules.core.scheduler.cleanup import (
    Budget,
    CleanupReport,
    CleanupTargets,
    FileRule,
    HistoryRule,
    RowRule,
    check_date_column,
    cleanup_interval_of,
    parse_config,
    run_rule,
)
from modules.core.scheduler.cursors import is_id
from modules.core.scheduler.db_models import CleanupConfig
from modules.core.scheduler.db_ops import cleanup_key
from modules.core.scheduler.errors import CleanupNotFound
from modules.core.scheduler.input_rules import checked_line
from modules.core.scheduler.new_event import event_values
from modules.core.scheduler.runtime import Runtime
from modules.core.scheduler.task_config import parse_task_config
from modules.core.scheduler.views import cleanup_view

if TYPE_CHECKING:
    from modules.core.app_context import AppContext

logger = logging.getLogger(__name__)

MODULE_ID = "core.scheduler"
TARGETS_SERVICE = "core.scheduler.cleanup"
RUN_FUNCTION = "run_cleanup"
FINISHED_AT_ONCE = 500


class Housekeeper:
    """Registers, runs and reports cleanups. What may be deleted is allowed in code, through the CleanupTargets."""

    def __init__(self, app_context: AppContext) -> None:
        self._runtime = Runtime.of(app_context)
        self._targets: CleanupTargets = app_context.get_service(TARGETS_SERVICE)

    @returns_result
    async def register_cleanup_task(
        self, module_id: str, cleanup_type: str, config: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Store a cleanup and the recurring task that runs it; the same module and type again changes it.

        Result data: `{"cleanup_id", "status": "registered"}`. It first runs one `cleanup_interval` from now.
        """
        return await self.register(module_id, cleanup_type, config)

    async def register(
        self, module_id: str, cleanup_type: str, config: Mapping[str, Any], *, name: str | None = None
    ) -> dict[str, Any]:
        """As register_cleanup_task, raising instead of returning a failure."""
        self.check_config(config)
        event = self._event(module_id, cleanup_type, config, name)
        values = {"id": new_id(), "module_id": module_id, "cleanup_type": cleanup_type, "config": dict(config)}
        return {
            "cleanup_id": await self._runtime.db_ops.save_cleanup({**values, "name": name}, event),
            "status": "registered",
        }

    def _event(self, module_id: str, cleanup_type: str, config: Mapping[str, Any], name: str | None) -> dict[str, Any]:
        """The row of the recurring task that runs this cleanup; which one it is comes with its id."""
        runtime = self._runtime
        value, unit = cleanup_interval_of(config, runtime.settings.cleanup_interval)
        task = parse_task_config(
            {
                "name": (name or f"Cleanup {module_id} {cleanup_type}")[:100],
                "description": f"Runs the cleanup {cleanup_type!r} of {module_id}.",
                "module_id": MODULE_ID,
                "function_name": RUN_FUNCTION,
                "parameters": {"config_id": ""},
                "interval_type": unit,
                "interval_value": value,
                # What an interrupted run left over is found by the next one.
                "delivery": "at_most_once",
                "timeout_seconds": runtime.settings.cleanup_time_budget_seconds * 2 + 60,
                "unique_key": cleanup_key(
                    checked_line(module_id, "module_id"), checked_line(cleanup_type, "cleanup_type", 50)
                ),
                "tags": ["cleanup"],
            }
        )
        return event_values(
            task,
            runtime.registry,
            runtime.clock.now(),
            default_timezone=runtime.settings.timezone,
            session_id=runtime.session_id,
        )

    def check_config(self, config: Mapping[str, Any]) -> None:
        """Raises InvalidCleanup or UnknownTarget for a config that could not run."""
        rule = parse_config(config)
        if isinstance(rule, RowRule):
            target = self._targets.table(rule.table_name, rule.date_column)
            check_date_column(target, self._runtime.database.dialect_name)
        elif isinstance(rule, FileRule):
            self._targets.directory(rule.directory)

    @returns_result
    async def run_cleanup(self, cleanup_type: str | None = None, *, dry_run: bool = False) -> dict[str, Any]:
        """Run the enabled cleanups of that type, or all of them, one after the other.

        Result data: `{"dry_run", "deleted", "failed", "reports": [...]}`; a cleanup that fails stops no other and
        has an "error" in its report. With `dry_run` nothing is deleted and "matched" says what would go.
        """
        if cleanup_type is not None:
            checked_line(cleanup_type, "cleanup_type", 50)
        configs = await self._runtime.db_ops.list_cleanup_configs(cleanup_type)
        if cleanup_type is not None and not configs:
            raise CleanupNotFound(f"No cleanup of type {cleanup_type!r} is registered: list the cleanups.")
        reports = []
        for config in configs:
            if config.enabled:
                reports.append(await self._run_and_report(config, dry_run))
        return {
            "dry_run": dry_run,
            "deleted": sum(report.get("deleted", 0) for report in reports),
            "failed": sum("error" in report for report in reports),
            "reports": reports,
        }

    @returns_result
    async def schedule_maintenance(self) -> dict[str, Any]:
        """Set up the default cleanups: the history of executions, every `cleanup_interval` seconds."""
        registered = await self.register(
            MODULE_ID, "execution_history", {"history": "executions"}, name="Clean up execution history"
        )
        return {"cleanups": [registered["cleanup_id"]]}

    async def cleanups(self) -> list[dict[str, Any]]:
        """All registered cleanups with the reports of their last runs."""
        runs = await self._runtime.db_ops.next_cleanup_runs()
        configs = await self._runtime.db_ops.list_cleanup_configs()
        return [
            cleanup_view(config, runs.get(cleanup_key(config.module_id, config.cleanup_type))) for config in configs
        ]

    async def cleanup(self, config_id: str) -> dict[str, Any]:
        """One registered cleanup. Raises CleanupNotFound."""
        config = await self._runtime.db_ops.get_cleanup_config(_cleanup_id(config_id))
        runs = await self._runtime.db_ops.next_cleanup_runs()
        return cleanup_view(config, runs.get(cleanup_key(config.module_id, config.cleanup_type)))

    async def set_enabled(self, config_id: str, enabled: bool) -> dict[str, Any]:
        """Switch a cleanup on or off; its task goes on and does nothing while it is off.

        Switching on gives it a new task where its own was cancelled. Raises CleanupNotFound, DuplicateTask.
        """
        db_ops = self._runtime.db_ops
        if enabled:
            config = await db_ops.get_cleanup_config(_cleanup_id(config_id))
            event = self._event(config.module_id, config.cleanup_type, config.config, config.name)
            await db_ops.enable_cleanup(config_id, event)
        else:
            await db_ops.update_cleanup_config(_cleanup_id(config_id), {"enabled": False})
        return await self.cleanup(config_id)

    async def remove(self, config_id: str) -> None:
        """Forget a cleanup and cancel its task. Raises CleanupNotFound."""
        await self._runtime.db_ops.delete_cleanup(_cleanup_id(config_id), self._runtime.clock.now())

    async def delete_finished_tasks(self, days: int) -> int:
        """Delete tasks that ended for good more than `days` ago, with their history; returns how many."""
        before = self._runtime.clock.now() - timedelta(days=days)
        return (await self._delete_finished(before, self._budget()))[0]

    async def _delete_finished(self, before: datetime, budget: Budget) -> tuple[int, bool]:
        """How many tasks were deleted, and whether that was all: after the first batch the budget is asked."""
        total, more = 0, True
        while more:
            deleted, more = await self._runtime.db_ops.delete_finished_tasks(before, FINISHED_AT_ONCE)
            total += deleted
            if more and budget.used_up:
                return total, False
        return total, True

    def _budget(self) -> Budget:
        return Budget(self._runtime.settings.cleanup_time_budget_seconds, self._runtime.clock.monotonic)

    async def scheduled_run(self, config_id: str) -> dict[str, Any]:
        """What the recurring task of a cleanup does."""
        config = await self._runtime.db_ops.get_cleanup_config(config_id)
        if not config.enabled:
            return {"skipped": "this cleanup is switched off"}
        return await self._run(config, dry_run=False)

    async def _run_and_report(self, config: CleanupConfig, dry_run: bool) -> dict[str, Any]:
        who = {"module_id": config.module_id, "cleanup_type": config.cleanup_type}
        try:
            return who | await self._run(config, dry_run)
        except ModuleError as error:
            return who | {"error": {"code": error.error_code, "message": error.message}}
        except Exception:
            logger.exception("cleanup %s of %s failed", config.cleanup_type, config.module_id)
            return who | {
                "error": {"code": "CLEANUP_FAILED", "message": "It failed; the log of this process says why."}
            }

    async def _run(self, config: CleanupConfig, dry_run: bool) -> dict[str, Any]:
        runtime = self._runtime
        now = runtime.clock.now()
        rule = parse_config(config.config)
        budget = self._budget()
        report = await run_rule(
            rule,
            database=runtime.database,
            targets=self._targets,
            now=now,
            clock=runtime.clock,
            budget=budget,
            keep_history_days=runtime.settings.keep_execution_history,
            dry_run=dry_run,
        )
        shown = report.as_json()
        if isinstance(rule, HistoryRule) and runtime.settings.keep_finished_tasks:
            before = now - timedelta(days=runtime.settings.keep_finished_tasks)
            shown |= await self._finished_tasks(before, budget, report, dry_run=dry_run)
        if not dry_run:
            key = cleanup_key(config.module_id, config.cleanup_type)
            await runtime.db_ops.record_cleanup_run(config.id, key, now, shown)
        return shown

    async def _finished_tasks(
        self, before: datetime, budget: Budget, report: CleanupReport, *, dry_run: bool
    ) -> dict[str, Any]:
        """What a report says of tasks that ended for good before that moment."""
        if dry_run:
            return {"matched_tasks": await self._runtime.db_ops.count_finished_tasks(before)}
        deleted, all_of_them = await self._delete_finished(before, budget)
        return {"deleted_tasks": deleted, "complete": report.complete and all_of_them}


def _cleanup_id(config_id: str) -> str:
    if not is_id(config_id):
        raise CleanupNotFound("There is no such cleanup: list the cleanups to find its id.")
    return config_id
