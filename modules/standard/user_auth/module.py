"""Allows and registers the clean-up of expired sessions, and signs example users in."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import insert

from modules.core.ids import new_id
from modules.core.scheduler import SchedulerService
from modules.standard.user_auth.models import ExampleBase, UserSession

if TYPE_CHECKING:
    from modules.core.app_context import AppContext


class UserAuthModule:
    """Cleanup `expired_sessions`; task function `sign_in_example_users`, which gives it something to clean."""

    MODULE_ID = "standard.user_auth"
    DEPENDS_ON = ("core.scheduler",)

    def register(self, context: AppContext) -> None:
        """Phase 1: what may be deleted is said in code, and only there."""
        self._context = context
        context.get_service("core.scheduler.cleanup").allow_table(UserSession.expires_at)
        context.get_service("core.scheduler.tasks").register(self.MODULE_ID, self.sign_in_example_users)

    async def start(self, context: AppContext) -> None:
        """Phase 2."""
        async with context.database.alone() as connection:
            await connection.run_sync(ExampleBase.metadata.create_all)
        scheduler: SchedulerService = context.get_service("core.scheduler.service")
        registered = await scheduler.register_cleanup_task(
            module_id=self.MODULE_ID,
            cleanup_type="expired_sessions",
            config={
                "table_name": "user_sessions",
                "date_column": "expires_at",
                "cleanup_interval": "1 hour",
                "batch_size": 100,
            },
        )
        registered.unwrap()
        result = await scheduler.schedule_task(
            {
                "name": "Sign In Example Users",
                "module_id": self.MODULE_ID,
                "function_name": "sign_in_example_users",
                "parameters": {"count": 3},
                "interval": "10 minutes",
                "schedule_time": context.clock.now(),
                "unique_key": "example:sign-in",
            }
        )
        if not result.success and (result.error or {}).get("code") != "DUPLICATE_TASK":
            result.unwrap()

    async def sign_in_example_users(self, parameters: dict[str, int]) -> dict[str, int]:
        """Add `count` sessions that expire within the hour."""
        now = self._context.clock.now()
        rows = [
            {
                "id": new_id(),
                "user_name": f"user{number}",
                "created_at": now,
                "expires_at": now + timedelta(minutes=15 * (number + 1)),
            }
            for number in range(parameters.get("count", 1))
        ]
        async with self._context.database.transaction() as connection:
            await connection.execute(insert(UserSession), rows)
        return {"signed_in": len(rows)}
