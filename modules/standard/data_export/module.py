"""Registers the export functions, makes the example's users, and schedules one export now and one every day."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict
from sqlalchemy import func, insert, select

from modules.core.result import Result
from modules.core.scheduler import ExecutionContext, SchedulerService
from modules.standard.data_export.exporter import get_users, write_users
from modules.standard.data_export.models import ExampleBase, User

if TYPE_CHECKING:
    from modules.core.app_context import AppContext

EXAMPLE_USERS = ("Ada Lovelace", "Edsger Dijkstra", "Grace Hopper", "Barbara Liskov", "Leslie Lamport")


class ExportParameters(BaseModel):
    """What to export, and how."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["csv", "json"] = "csv"
    include_deleted: bool = False


class DataExportModule:
    """Task functions `export_users_to_csv` and `export_users`; files go to `<data_dir>/exports` and stay for a day."""

    MODULE_ID = "standard.data_export"
    DEPENDS_ON = ("core.scheduler",)

    def register(self, context: AppContext) -> None:
        """Phase 1."""
        self._context = context
        self._folder: Path = context.settings.data_dir / "exports"
        tasks = context.get_service("core.scheduler.tasks")
        tasks.register(self.MODULE_ID, self.export_users, name="export_users_to_csv")
        tasks.register(self.MODULE_ID, self.export_users)
        context.get_service("core.scheduler.cleanup").allow_directory(self._folder, ["users-*"])

    async def start(self, context: AppContext) -> None:
        """Phase 2: the table with its users, then the schedules, each made once however often this starts."""
        async with context.database.alone() as connection:
            await connection.run_sync(ExampleBase.metadata.create_all)
            if (await connection.execute(select(func.count()).select_from(User))).scalar_one() == 0:
                await connection.execute(insert(User), self._example_users())
        await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
        await self._schedule(context)

    async def export_users(self, parameters: ExportParameters, context: ExecutionContext) -> Result:
        """Export the users to a file; the result names it."""
        users = await get_users(self._context.database, include_deleted=parameters.include_deleted)
        # Named after the occurrence: a second attempt writes the same file again instead of another one.
        name = f"users-{context.scheduled_for:%Y%m%dT%H%M%SZ}-{context.task_id[-6:]}"
        path = await asyncio.to_thread(write_users, users, self._folder, name, parameters.format)
        return Result.success(
            data={
                "file_path": str(path),
                "record_count": len(users),
                "export_time": self._context.clock.now().isoformat(),
            }
        )

    async def _schedule(self, context: AppContext) -> None:
        scheduler: SchedulerService = context.get_service("core.scheduler.service")
        export: dict[str, Any] = {"module_id": self.MODULE_ID, "function_name": "export_users_to_csv"}
        soon = context.clock.now() + timedelta(seconds=2)
        once = {"name": "Export User Data", "unique_key": "example:export-once", "schedule_time": soon}
        result = await scheduler.schedule_task({**export, **once})
        if not result.success and (result.error or {}).get("code") != "DUPLICATE_TASK":
            result.unwrap()
        for schedule in (
            {"name": "Daily User Export", "unique_key": "example:export-daily", "cron_expression": "0 2 * * *"},
            {"name": "User Export Every Minute", "unique_key": "example:export-often", "interval": "1 minute"},
        ):
            (await scheduler.ensure_task({**export, **schedule})).unwrap()
        old_exports = {"directory": str(self._folder), "max_age_hours": 24, "cleanup_interval": "1 hour"}
        (await scheduler.register_cleanup_task(self.MODULE_ID, "old_exports", old_exports)).unwrap()

    def _example_users(self) -> list[dict[str, Any]]:
        now = self._context.clock.now()
        return [
            {
                "name": name,
                "email": f"{name.split()[0].lower()}@example.com",
                "created_at": now - timedelta(days=number),
                "deleted_at": now if number == len(EXAMPLE_USERS) - 1 else None,
            }
            for number, name in enumerate(EXAMPLE_USERS)
        ]
