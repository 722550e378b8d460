"""The routes about tasks that code states at its start."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute

from modules.core.scheduler import control_schemas
from modules.core.scheduler.service import SchedulerService


def declared_reading(service: SchedulerService, route_class: type[APIRoute]) -> APIRouter:
    """What was stated. To be included before the route of a task by its id."""
    router = APIRouter(route_class=route_class)

    @router.get(
        "/tasks/declared", response_model=control_schemas.DeclaredTasks, operation_id="declared_tasks", tags=["tasks"]
    )
    async def declared_tasks() -> Any:
        """The tasks that code states at its start, and those among them that it states no more."""
        return (await service.declared_tasks()).unwrap()

    return router


def declared_operating(service: SchedulerService, route_class: type[APIRoute]) -> APIRouter:
    """What ends those that are stated no more."""
    router = APIRouter(route_class=route_class)

    @router.post(
        "/tasks/declared/prune",
        response_model=control_schemas.Pruned,
        operation_id="prune_declared",
        tags=["tasks"],
    )
    async def prune_declared(body: control_schemas.PruneRequest | None = None) -> Any:
        """Cancel the orphaned ones; with dry_run only say which."""
        asked = body or control_schemas.PruneRequest()
        return (await service.prune_declared(asked.module_id, dry_run=asked.dry_run)).unwrap()

    return router
