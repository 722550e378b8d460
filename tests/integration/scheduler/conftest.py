"""A scheduler with a manual clock and a few task functions, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from modules.core.result import Result
from tests.support.app import App, manual_clock, running_app


async def work(parameters: dict[str, Any]) -> Result:
    return Result.success(data=parameters)


async def fail(parameters: dict[str, Any]) -> None:
    raise ValueError(parameters.get("message", "it broke"))


@pytest.fixture
async def app(database_url: str) -> AsyncIterator[App]:
    async with running_app(database_url, work, fail, clock=manual_clock()) as app:
        yield app
