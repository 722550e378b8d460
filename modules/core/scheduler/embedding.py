"""The scheduler inside an application that exists already: one router to include, which carries its lifespan."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter
from fastapi.params import Depends

from modules.core.app_context import AppContext
from modules.core.errors import ConfigurationError
from modules.core.scheduler.api import ScopeHook, api_router
from modules.core.scheduler.runtime import Runtime
from modules.core.settings import AppSettings


class SchedulerRouter(APIRouter):
    """The scheduler's routes. `context` gives the services: `router.context.get_service("core.scheduler.service")`."""

    context: AppContext


def scheduler_router(
    settings: AppSettings | None = None,
    *,
    dependencies: Sequence[Depends] | None = None,
    scope_of: ScopeHook | None = None,
) -> SchedulerRouter:
    """Include this in a FastAPI application: it serves /api/v1/scheduler and starts and stops the scheduler with it.

    Who may call is decided by API keys, or by the host's own `dependencies` where they are given; what they may do
    then is "operate", or what `scope_of(request)` answers: "read", "operate" or "admin". Routers of other modules are
    included too. Raises ConfigurationError when keys are switched off (CORE_SCHEDULER_AUTH_REQUIRED=false) and no
    dependencies stand in.
    """
    if scope_of is not None and not dependencies:
        raise ConfigurationError("scope_of says what callers may do, so dependencies must say who may call: pass both.")
    context = AppContext(settings)
    context.register_modules()
    auth_required = Runtime.of(context).settings.auth_required
    if not auth_required and not dependencies:
        raise ConfigurationError(
            "This scheduler would be open to everybody: pass scheduler_router(..., dependencies=[Depends(check)]), "
            "or set CORE_SCHEDULER_AUTH_REQUIRED=true to ask for API keys."
        )

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        async with context:
            if not hasattr(app.state, "context"):
                app.state.context = context
            yield

    router = SchedulerRouter(lifespan=lifespan)
    router.context = context
    router.include_router(
        api_router(
            context.get_service("core.scheduler.service"),
            context.get_service("core.scheduler.keys"),
            auth_required=auth_required,
            dependencies=dependencies or None,
            scope_of=scope_of,
        )
    )
    for other in context.routers:
        router.include_router(other)
    return router
