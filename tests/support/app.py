"""A scheduler to test with: its functions registered, its clock in the test's hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import text

from modules.core.app_context import AppContext
from modules.core.clock import Clock
from modules.core.scheduler import SchedulerService
from modules.core.scheduler.runtime import Runtime
from modules.core.scheduler.testing import ManualClock, run_due
from modules.core.scheduler.triggers.spec import RULE_FIELDS
from modules.core.settings import AppSettings

MODULE = "test.module"
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@dataclass
class App:
    """A started application and the handles that tests use most."""

    context: AppContext
    service: SchedulerService
    clock: Any

    @property
    def runtime(self) -> Runtime:
        return Runtime.of(self.context)

    async def schedule(self, function_name: str = "work", **fields: Any) -> str:
        """A task of the test's module, due now unless the fields say otherwise; returns its id."""
        config = {"name": function_name, "module_id": MODULE, "function_name": function_name}
        if not fields.keys() & {"schedule_time", *RULE_FIELDS}:
            config["schedule_time"] = self.clock.now()
        task_id: str = (await self.service.schedule_task({**config, **fields})).unwrap()["task_id"]
        return task_id

    async def task(self, task_id: str) -> dict[str, Any]:
        task: dict[str, Any] = (await self.service.get_task(task_id)).unwrap()
        return task

    async def history(self, task_id: str) -> list[dict[str, Any]]:
        """The executions of a task, oldest first."""
        page = (await self.service.list_executions(task_id, limit=200)).unwrap()
        return list(reversed(page["executions"]))

    async def run_due(self) -> list[dict[str, Any]]:
        return await run_due(self.context)

    async def missed(self, task_id: str) -> list[tuple[datetime, datetime, int, str]]:
        """The spans of fire times that did not run: from, until, count, reason."""
        from modules.core.scheduler.db_ops.base import MISSED_RUNS

        query = MISSED_RUNS.select().where(MISSED_RUNS.c.event_id == task_id).order_by(MISSED_RUNS.c.from_time)
        async with self.context.database.read() as connection:
            rows = await connection.execute(query)
            return [(row.from_time, row.until_time, row.count, row.reason) for row in rows]

    async def sql(self, statement: str, **parameters: Any) -> None:
        """A statement of the test's own, committed."""
        async with self.context.database.transaction() as connection:
            await connection.execute(text(statement), parameters)


@asynccontextmanager
async def running_app(
    database_url: str,
    *functions: Callable[..., Any],
    clock: Clock | None = None,
    data_dir: Path | None = None,
    modules: tuple[str, ...] = (),
    pooler: str = "none",
    **settings: Any,
) -> AsyncIterator[App]:
    """An application on that database. Background processing and default cleanups are off unless `settings` say so."""
    own = {"enabled": False, "housekeeping": False, **settings}
    app_settings = AppSettings.load(
        database_url=database_url,
        data_dir=data_dir or Path("data"),
        modules=modules,
        database_pooler=pooler,
        module_settings={"core.scheduler": own},
    )
    context = AppContext(app_settings, clock=clock)
    context.register_modules()
    for function in functions:
        context.get_service("core.scheduler.tasks").register(MODULE, function)
    async with context:
        yield App(context, context.get_service("core.scheduler.service"), context.clock)


def manual_clock() -> ManualClock:
    """A clock that stands at noon of a Monday."""
    return ManualClock(NOON)
