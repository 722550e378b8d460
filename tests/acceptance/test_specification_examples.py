"""The specification's usage examples, run as they are written there (imports aside)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from modules.core.app_context import AppContext
from modules.core.result import Result
from modules.core.settings import AppSettings

logger = logging.getLogger(__name__)

# ruff: noqa: DTZ005  # the specification's own lines


@pytest.fixture
async def app_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AppContext]:
    monkeypatch.setenv("STANDARD_FILE_UPLOAD_DIRECTORY", "/tmp/uploads")
    modules = ("modules.standard.data_export", "modules.standard.user_auth", "modules.standard.file_upload")
    async with AppContext(AppSettings.load(data_dir=tmp_path / "data", modules=modules)) as context:
        yield context


async def test_scheduling_a_one_time_task(app_context: AppContext, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def schedule_data_export() -> str:
        scheduler = app_context.get_service("core.scheduler.service")

        # Schedule task to run in 1 hour
        result = await scheduler.schedule_task(
            {
                "name": "Export User Data",
                "description": "Export all user data to CSV",
                "module_id": "standard.data_export",
                "function_name": "export_users_to_csv",
                "parameters": {"format": "csv", "include_deleted": False},
                "schedule_time": datetime.now() + timedelta(hours=1),
                "recurring": False,
            }
        )

        if result.success:
            task_id: str = result.data["task_id"]
            logger.info(f"Data export scheduled: {task_id}")
        else:
            logger.error(f"Failed to schedule export: {result.error}")
        return task_id

    asked = datetime.now().astimezone()
    task_id = await schedule_data_export()
    task = (await app_context.get_service("core.scheduler.service").get_task(task_id)).unwrap()
    assert timedelta(minutes=59) < task["next_execution"] - asked < timedelta(minutes=61)
    assert f"Data export scheduled: {task_id}" in caplog.text


async def test_scheduling_a_recurring_task(app_context: AppContext) -> None:
    scheduler = app_context.get_service("core.scheduler.service")
    today_at_two = datetime.now().replace(hour=2, minute=0, second=0, microsecond=0).astimezone()

    result = await scheduler.schedule_task(
        {
            "name": "Daily Log Cleanup",
            "description": "Clean up old log files",
            "module_id": "core.scheduler",
            "function_name": "cleanup_old_logs",
            "parameters": {"days_to_keep": 30, "log_types": ["error", "debug", "info"]},
            "recurring": True,
            "interval_type": "days",
            "interval_value": 1,
            "schedule_time": datetime.now().replace(hour=2, minute=0, second=0),
        }
    )

    assert result.success, result.error
    task = (await scheduler.get_task(result.data["task_id"])).unwrap()
    # Today's, or tomorrow's where that has passed. The example leaves the microseconds as they were.
    days, rest = divmod(task["next_execution"] - today_at_two, timedelta(days=1))
    assert days in (0, 1)
    assert rest < timedelta(seconds=1)


async def test_a_module_task_implementation(app_context: AppContext) -> None:
    async def get_users(include_deleted: bool) -> list[str]:
        if include_deleted:
            raise RuntimeError("the archive is away")
        return ["ada", "grace"]

    async def export_to_csv(users: list[str], format_type: str) -> str:
        return f"/exports/{len(users)}.{format_type}"

    async def export_all_users_to_csv(parameters: dict[str, Any]) -> Result:
        """Export users to CSV - can be called by scheduler."""
        try:
            format_type = parameters.get("format", "csv")
            include_deleted = parameters.get("include_deleted", False)

            # Perform export
            users = await get_users(include_deleted=include_deleted)
            file_path = await export_to_csv(users, format_type)

            return Result.success(
                data={
                    "file_path": file_path,
                    "record_count": len(users),
                    "export_time": datetime.now().isoformat(),
                }
            )
        except Exception as e:
            return Result.error(
                code="EXPORT_FAILED", message=f"Failed to export users: {e!s}", details={"error": str(e)}
            )

    app_context.get_service("core.scheduler.tasks").register("example", export_all_users_to_csv)
    scheduler = app_context.get_service("core.scheduler.service")
    ended = {}
    for include_deleted in (False, True):
        result = await scheduler.schedule_task(
            {
                "name": "Export",
                "module_id": "example",
                "function_name": "export_all_users_to_csv",
                "parameters": {"include_deleted": include_deleted},
                "schedule_time": datetime.now(),
            }
        )
        task_id = result.data["task_id"]
        while (await scheduler.get_task(task_id)).data["status"] not in ("completed", "failed"):
            await asyncio.sleep(0.01)
        ended[include_deleted] = (await scheduler.list_executions(task_id)).data["executions"][0]
    assert ended[False]["success"] is True
    assert ended[False]["result"]["file_path"] == "/exports/2.csv"
    assert ended[True]["success"] is False
    assert (ended[True]["error_type"], ended[True]["error"]) == (
        "EXPORT_FAILED",
        "Failed to export users: the archive is away",
    )


async def test_cleanup_task_registration(app_context: AppContext) -> None:
    scheduler = app_context.get_service("core.scheduler.service")

    # Register cleanup for old user sessions
    sessions = await scheduler.register_cleanup_task(
        module_id="standard.user_auth",
        cleanup_type="expired_sessions",
        config={
            "table_name": "user_sessions",
            "date_column": "expires_at",
            "cleanup_interval": "1 hour",
            "batch_size": 100,
        },
    )

    # Register cleanup for temporary files
    files = await scheduler.register_cleanup_task(
        module_id="standard.file_upload",
        cleanup_type="temp_files",
        config={"directory": "/tmp/uploads", "max_age_hours": 24, "cleanup_interval": "6 hours"},
    )

    assert sessions.success, sessions.error
    assert files.success, files.error
    reports = (await scheduler.run_cleanup(dry_run=True)).unwrap()["reports"]
    assert {report["cleanup_type"]: report["errors"] for report in reports} == {
        "execution_history": [],
        "expired_sessions": [],
        "old_exports": [],
        "temp_files": [],
    }


async def test_the_components_have_their_names_and_signatures(app_context: AppContext) -> None:
    from modules.core.scheduler import SchedulerService
    from modules.core.scheduler.housekeeper import Housekeeper
    from modules.core.scheduler.job_manager import JobManager
    from modules.core.scheduler.module_settings import SCHEDULER_SETTINGS
    from modules.core.scheduler.trigger_manager import TriggerManager

    service = SchedulerService(app_context)
    assert isinstance(service.job_manager, JobManager)
    assert isinstance(service.trigger_manager, TriggerManager)
    assert isinstance(service.housekeeper, Housekeeper)

    job = await service.job_manager.create_job(
        "Export", "export_users", {"format": "csv"}, {"interval_type": "hours", "interval_value": 1}
    )
    job_id = job.unwrap()["job_id"]
    assert (await service.job_manager.execute_job(job_id)).unwrap()["status"] == "running"
    assert (await service.job_manager.update_job_status(job_id, "paused")).success
    assert (await service.get_task(job_id)).data["status"] == "paused"
    assert (await service.job_manager.update_job_status(job_id, "odd")).error is not None
    assert (await service.job_manager.update_job_status(job_id, "completed", result={"n": 1})).success
    assert (await service.get_task(job_id)).data["status"] == "completed"

    triggers = service.trigger_manager
    last = datetime.now().astimezone()
    assert triggers.calculate_next_execution("hours", 2, last) == last + timedelta(hours=2)
    assert triggers.is_execution_due(datetime.now() - timedelta(seconds=1)) is True
    assert triggers.is_execution_due(datetime.now() + timedelta(hours=1)) is False
    assert triggers.create_recurring_schedule("days", 1) == {
        "recurring": True,
        "interval_type": "days",
        "interval_value": 1,
    }
    assert {name: SCHEDULER_SETTINGS[name] for name in ("max_concurrent_tasks", "cleanup_interval")} == {
        "max_concurrent_tasks": {
            "type": "int",
            "default": 10,
            "description": "Maximum number of concurrent tasks",
        },
        "cleanup_interval": {"type": "int", "default": 3600, "description": "Cleanup interval in seconds"},
    }
    assert SCHEDULER_SETTINGS["execution_timeout"]["default"] == 300
    assert SCHEDULER_SETTINGS["keep_execution_history"]["default"] == 30


def test_the_environment_variables_of_the_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    from modules.core.scheduler.module_settings import SchedulerSettings

    monkeypatch.setenv("CORE_SCHEDULER_MAX_CONCURRENT_TASKS", "20")
    monkeypatch.setenv("CORE_SCHEDULER_CLEANUP_INTERVAL", "1800")
    monkeypatch.setenv("CORE_SCHEDULER_EXECUTION_TIMEOUT", "600")
    monkeypatch.setenv("CORE_SCHEDULER_KEEP_EXECUTION_HISTORY", "60")
    settings = SchedulerSettings.load()
    assert settings.max_concurrent_tasks == 20
    assert settings.cleanup_interval == 1800
    assert settings.execution_timeout == 600
    assert settings.keep_execution_history == 60
