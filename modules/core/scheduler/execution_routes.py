"""The REST door's routes about single executions."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute

from modules.core.scheduler import schemas
from modules.core.scheduler.routes import Id
from modules.core.scheduler.service import SchedulerService


def operating(service: SchedulerService, route_class: type[APIRoute]) -> APIRouter:
    """What the scope operate allows."""
    router = APIRouter(route_class=route_class)

    @router.post(
        "/executions/{execution_id}/cancel",
        response_model=schemas.ExecutionCancelled,
        status_code=202,
        operation_id="cancel_execution",
        tags=["executions"],
    )
    async def cancel_execution(execution_id: Id, body: schemas.NoFields | None = None) -> Any:  # noqa: ARG001  # others are refused
        """End one run, on whichever node it is; its task goes on, and the run is not tried again."""
        return (await service.cancel_execution(execution_id)).unwrap()

    return router
