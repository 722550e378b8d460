"""A process that schedules tasks on a file that others use too, and runs those of all, which count in it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import text

from modules.core.app_context import AppContext
from modules.core.settings import AppSettings

MODULE = "test.counting"
LIFETIME = 90


async def serve(number: int, folder: Path, tasks: int, total: int) -> list[str]:
    """Schedule `tasks`, and work until `total` executions of all processes have ended; returns what went wrong."""
    settings = AppSettings.load(
        database_url=f"sqlite+aiosqlite:///{(folder / 'shared.sqlite3').as_posix()}",
        data_dir=folder,
        module_settings={"core.scheduler": {"poll_ceiling_seconds": 0.2, "housekeeping": False}},
    )
    context = AppContext(settings)
    context.register_modules()

    async def count(parameters: dict[str, Any]) -> int:
        async with context.database.transaction() as connection:
            [found] = (await connection.execute(text("SELECT value FROM counter"))).scalars()
            await connection.execute(text("UPDATE counter SET value = :value"), {"value": found + 1})
            return int(found) + 1

    context.get_service("core.scheduler.tasks").register(MODULE, count)
    async with context:
        service = context.get_service("core.scheduler.service")
        wrong = []
        for one in range(tasks):
            task = {"name": f"{number}.{one}", "module_id": MODULE, "function_name": "count", "allow_past": True}
            result = await service.schedule_task({**task, "schedule_time": context.clock.now()})
            if not result.success:
                wrong.append(str(result.error))
        while await _ended(context) < total:
            await asyncio.sleep(0.1)
    return wrong


async def _ended(context: AppContext) -> int:
    query = text("SELECT count(*) FROM scheduler_executions WHERE success IS NOT NULL")
    async with context.database.read() as connection:
        return int((await connection.execute(query)).scalar_one())


def main() -> None:
    signal.alarm(LIFETIME)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    number, folder, tasks, total = sys.argv[1:]
    wrong = asyncio.run(serve(int(number), Path(folder), int(tasks), int(total)))
    sys.stdout.write(json.dumps({"process": os.getpid(), "wrong": wrong}))


if __name__ == "__main__":
    main()
