"""Allows and registers the clean-up of old uploads, and leaves a temporary file now and then."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from modules.core.scheduler import ExecutionContext, SchedulerService
from modules.core.settings import ModuleSettings

if TYPE_CHECKING:
    from modules.core.app_context import AppContext


class FileUploadSettings(ModuleSettings):
    """Settings of the example; environment prefix STANDARD_FILE_UPLOAD_."""

    model_config = SettingsConfigDict(env_prefix="STANDARD_FILE_UPLOAD_")

    directory: Path = Field(Path("/tmp/uploads"), description="Where uploads wait")  # noqa: S108  # the specification's


class FileUploadModule:
    """Cleanup `temp_files`; task function `receive_example_upload`, which gives it something to clean."""

    MODULE_ID = "standard.file_upload"
    DEPENDS_ON = ("core.scheduler",)

    def register(self, context: AppContext) -> None:
        """Phase 1: what may be deleted is said in code, and only there."""
        self._folder = context.module_settings(self.MODULE_ID, FileUploadSettings).directory.absolute()
        context.get_service("core.scheduler.cleanup").allow_directory(self._folder, ["*.tmp", "*.upload"])
        context.get_service("core.scheduler.tasks").register(self.MODULE_ID, self.receive_example_upload)

    async def start(self, context: AppContext) -> None:
        """Phase 2."""
        await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
        scheduler: SchedulerService = context.get_service("core.scheduler.service")
        registered = await scheduler.register_cleanup_task(
            module_id=self.MODULE_ID,
            cleanup_type="temp_files",
            config={"directory": str(self._folder), "max_age_hours": 24, "cleanup_interval": "6 hours"},
        )
        registered.unwrap()
        result = await scheduler.schedule_task(
            {
                "name": "Receive Example Upload",
                "module_id": self.MODULE_ID,
                "function_name": "receive_example_upload",
                "cron_expression": "*/5 * * * *",
                "unique_key": "example:upload",
            }
        )
        if not result.success and (result.error or {}).get("code") != "DUPLICATE_TASK":
            result.unwrap()

    def receive_example_upload(self, _parameters: dict[str, Any], context: ExecutionContext) -> dict[str, Any]:
        """Write a temporary file; a plain function, so it runs in a thread."""
        path = self._folder / f"{context.execution_id}.upload"
        path.write_text(f"received for {context.scheduled_for.isoformat()}\n", encoding="utf-8")
        return {"file_path": str(path), "bytes": path.stat().st_size}
