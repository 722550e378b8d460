"""The routes that change a task and make it run."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from modules.core.scheduler import control_schemas, schemas
from modules.core.scheduler.routes import Id, address_of, caller_of
from modules.core.scheduler.service import SchedulerService


def control_routes(service: SchedulerService, route_class: type[APIRoute]) -> APIRouter:
    """Edit, cancel, pause, resume and run now."""
    router = APIRouter(route_class=route_class)

    @router.patch(
        "/tasks/{task_id}",
        response_model=schemas.Task | control_schemas.EditPreview,
        operation_id="update_task",
        tags=["tasks"],
    )
    async def update_task(task_id: Id, body: schemas.TaskUpdate, dry_run: bool = False) -> Any:
        """Change some fields; a new schedule fires at future times only. With dry_run only say what would change."""
        return (await service.update_task(task_id, body, dry_run=dry_run)).unwrap()

    @router.delete("/tasks/{task_id}", response_model=schemas.Cancelled, operation_id="cancel_task", tags=["tasks"])
    async def cancel_task(task_id: Id) -> Any:
        """Cancel a task: it never starts again; row and history stay."""
        return (await service.cancel_task(task_id)).unwrap()

    @router.post("/tasks/{task_id}/pause", response_model=schemas.Paused, operation_id="pause_task", tags=["tasks"])
    async def pause_task(task_id: Id, request: Request, body: control_schemas.PauseRequest | None = None) -> Any:
        """Hold a task until it is resumed, or until that time. The name of the key is kept with it."""
        asked = body or control_schemas.PauseRequest()
        paused = await service.pause_task(task_id, asked.reason, until=asked.until, actor=caller_of(request))
        return paused.unwrap()

    @router.post("/tasks/{task_id}/resume", response_model=schemas.Resumed, operation_id="resume_task", tags=["tasks"])
    async def resume_task(task_id: Id, body: control_schemas.ResumeRequest | None = None) -> Any:
        """Let a paused task go on, with or without what it missed meanwhile."""
        return (await service.resume_task(task_id, catch_up=body.catch_up if body else "none")).unwrap()

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
        body: control_schemas.ExecuteRequest | None = None,
    ) -> Any:
        """Run a task now, once, with parameters of its own if they are given; its schedule is left alone."""
        given = body.parameters if body else None
        started = (await service.execute_task(task_id, given, actor=caller_of(request))).unwrap()
        response.headers["Location"] = address_of(request, "executions", started["execution_id"])
        return started

    return router
