"""A client that speaks to the application without a socket, with its lifespan around it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI

from modules.app import create_app
from modules.core.settings import AppSettings
from tests.support.app import MODULE

ADMIN_KEY = "test-admin-key-0123456789"
BASE = "/api/v1/scheduler"


@asynccontextmanager
async def served(app: FastAPI, key: str | None = ADMIN_KEY) -> AsyncIterator[httpx.AsyncClient]:
    """A started application; paths are relative to /api/v1/scheduler."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url=f"http://test{BASE}", headers=headers, timeout=30) as client,
    ):
        yield client


def app_for(
    database_url: str, *functions: Callable[..., Any], modules: tuple[str, ...] = (), **scheduler: Any
) -> FastAPI:
    """An application on that database, whose admin key is ADMIN_KEY; background processing is on unless told."""
    own = {"admin_key": ADMIN_KEY, "housekeeping": False, **scheduler}
    app = create_app(
        AppSettings.load(database_url=database_url, modules=modules, module_settings={"core.scheduler": own})
    )
    tasks = app.state.context.get_service("core.scheduler.tasks")
    for function in functions:
        tasks.register(MODULE, function)
    return app
