"""The routes that change a task and make it run."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from modules.core.scheduler import schemas
from modules.core.scheduler.routes import Id, address_of, caller_of
from modules.core.scheduler.service import SchedulerService


def control_routes(service: SchedulerService, route_class: type[APIRoute]) -> APIRouter:
    """Edit, cancel, pause, resume and run now."""
    router = APIRouter(route_class=route_class)

    @router.patch("/tasks/{task_id}", response_model=schemas.Task, operation_id="update_task", tags=["tasks"])
    async def update_task(task_id: Id, body: schemas.TaskUpdate) -> Any:
        """Change some fields; a new schedule fires at future times only."""
        return (await service.update_task(task_id, body)).unwrap()

    @router.delete("/tasks/{task_id}", response_model=schemas.Cancelled, operation_id="cancel_task", tags=["tasks"])
    async def cancel_task(task_id: Id) -> Any:
        """Cancel a task: it never starts again; row and history stay."""
        return (await service.cancel_task(task_id)).unwrap()

    @router.post("/tasks/{task_id}/pause", response_model=schemas.Paused, operation_id="pause_task", tags=["tasks"])
    async def pause_task(task_id: Id, request: Request, body: schemas.PauseRequest | None = None) -> Any:
        """Hold a task until it is resumed, or until that time. The name of the key is kept with it."""
        asked = body or schemas.PauseRequest()
        paused = await service.pause_task(task_id, asked.reason, until=asked.until, actor=caller_of(request))
        return paused.unwrap()

    @router.post("/tasks/{task_id}/resume", response_model=schemas.Resumed, operation_id="resume_task", tags=["tasks"])
    async def resume_task(task_id: Id, body: schemas.NoFields | None = None) -> Any:  # noqa: ARG001  # others are refused
        """Let a paused task go on."""
        return (await service.resume_task(task_id)).unwrap()

    @router.post(
        "/tasks/{task_id}/execute",
        response_model=schemas.Started,
        status_code=202,
        operation_id="execute_task",
        tags=["tasks"],
    )
    async def execute_task(
        task_id: Id,
        request: Request,
        response: Response,
        body: schemas.NoFields | None = None,  # noqa: ARG001  # others are refused
    ) -> Any:
        """Run a task now, once; its schedule is left alone."""
        started = (await service.execute_task(task_id)).unwrap()
        response.headers["Location"] = address_of(request, "executions", started["execution_id"])
        return started

    return router
