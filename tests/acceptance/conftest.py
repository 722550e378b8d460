"""An application with the specification's own functions, reached over REST."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from modules.core.result import Result
from modules.core.scheduler.task_registry import TaskRegistry
from tests.support.http import app_for, served


async def export_users(parameters: dict[str, Any]) -> Result:
    return Result.success(data={"processed": 100, "errors": 0})


async def cleanup_daily(parameters: dict[str, Any]) -> Result:
    return Result.success(data={"processed": 100})


@pytest.fixture
def api_app(sqlite_url: str) -> FastAPI:
    app = app_for(sqlite_url)
    tasks: TaskRegistry = app.state.context.get_service("core.scheduler.tasks")
    tasks.register("standard.data_export", export_users)
    tasks.register("standard.maintenance", cleanup_daily)
    return app


@pytest.fixture
async def api(api_app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with served(api_app) as client:
        yield client
