"""The REST door under /api/v1/scheduler: parse, one call of the service, unwrap. Events are called tasks here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from inspect import isawaitable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.params import Depends
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import AfterValidator
from starlette.responses import JSONResponse

from modules.core.scheduler import schemas
from modules.core.scheduler.auth import ApiKeys, Principal, Scope
from modules.core.scheduler.control_routes import control_routes
from modules.core.scheduler.cross_site import refuse_other_sites
from modules.core.scheduler.input_rules import one_line
from modules.core.scheduler.ledger_routes import ledger_routes
from modules.core.scheduler.routes import PREFIX, PROBLEM, Guard, Id, address_of, guarded, note_caller
from modules.core.scheduler.service import SchedulerService

Line = Annotated[str, Query(min_length=1, max_length=100), AfterValidator(one_line)]
Limit = Annotated[int, Query(ge=1, le=200, description="How many to show at most")]
Cursor = Annotated[str | None, Query(max_length=200, description="next_cursor of the answer before")]
Status = Literal["pending", "running", "paused", "completed", "failed", "cancelled"]

ScopeHook = Callable[[Request], Scope | Principal | Awaitable[Scope | Principal]]
Responses = dict[int | str, dict[str, Any]]

_PROBLEM = {"content": {PROBLEM: {"schema": schemas.Problem.model_json_schema()}}}
_READING: Responses = {
    401: {"description": "No key, or one that is not accepted", **_PROBLEM},
    403: {"description": "The key's scope does not include this", **_PROBLEM},
    404: {"description": "There is no such thing", **_PROBLEM},
    422: {"description": "The request cannot be accepted as it is; `message` says what to change", **_PROBLEM},
    503: {"description": "The database does not answer; nothing was changed", **_PROBLEM},
}
_WRITING: Responses = {
    **_READING,
    409: {"description": "Not possible in the state it is in", **_PROBLEM},
    413: {"description": "The body is too large", **_PROBLEM},
    415: {"description": "The body is not JSON", **_PROBLEM},
}


def api_router(
    service: SchedulerService,
    keys: ApiKeys,
    *,
    auth_required: bool = True,
    dependencies: Sequence[Depends] | None = None,
    scope_of: ScopeHook | None = None,
) -> APIRouter:
    """The routes, with their own prefix. With `dependencies` the host decides who may call, and `scope_of` what they
    may do: read, operate (the default) or admin, or a Principal, which has a name too; keys play no part."""

    def guard_for(scope: Scope) -> Guard:
        async def guard(request: Request) -> None:
            refuse_other_sites(request, open_door=not auth_required and dependencies is None)
            if auth_required and dependencies is None:
                principal = await keys.authenticate(_secret_of(request))
                principal.require(scope)
                note_caller(request, principal.name)

        return guard

    def host_guard_for(scope: Scope) -> Depends:
        async def guard(request: Request) -> None:
            answer: Any = scope_of(request) if scope_of else "operate"
            given = await answer if isawaitable(answer) else answer
            principal = given if isinstance(given, Principal) else Principal("the host's user", given)
            principal.require(scope)
            note_caller(request, principal.name)

        return Depends(guard)

    async def no_guard(_request: Request) -> None:
        return None

    router = APIRouter(prefix=PREFIX)
    router.include_router(_public(service, no_guard))
    schemes = [Depends(HTTPBearer(auto_error=False)), Depends(APIKeyHeader(name="X-API-Key", auto_error=False))]
    parts: list[tuple[Scope, Callable[[type[APIRoute]], APIRouter], Responses]] = [
        ("read", partial(_reading, service), _READING),
        ("read", partial(ledger_routes, service), _READING),
        ("operate", partial(_operating, service), _WRITING),
        ("operate", partial(control_routes, service), _WRITING),
        ("admin", partial(_administering, service, keys), _WRITING),
    ]
    for scope, routes, responses in parts:
        part = routes(guarded(guard_for(scope), scope, host_rules=dependencies is not None))
        hosts = [*dependencies, host_guard_for(scope)] if dependencies is not None else None
        router.include_router(part, dependencies=hosts or (schemes if auth_required else []), responses=responses)
    return router


def _secret_of(request: Request) -> str | None:
    """The key that a request shows. The headers are read here and not by a dependency, so that it comes first."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return secret.strip()
    return request.headers.get("x-api-key")


def _public(service: SchedulerService, guard: Guard) -> APIRouter:
    router = APIRouter(route_class=guarded(guard), tags=["status"])

    not_well = {"model": schemas.HealthAnswer, "description": "No work is accepted or done here"}

    @router.get("/health", response_model=schemas.HealthAnswer, responses={503: not_well}, operation_id="health")
    async def health() -> Response:
        """Whether work is accepted and done here; needs no key. 503 when not."""
        state = (await service.vitals()).health()
        return JSONResponse({"status": state}, 503 if state == "down" else 200, {"Cache-Control": "no-store"})

    return router


def _reading(service: SchedulerService, route_class: type[APIRoute]) -> APIRouter:
    router = APIRouter(route_class=route_class)

    @router.get("/tasks", response_model=schemas.TaskPage, operation_id="list_tasks", tags=["tasks"])
    async def list_tasks(
        status: Status | None = None,
        module_id: Line | None = None,
        recurring: bool | None = None,
        name: Line | None = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Any:
        """Tasks in the order of their making; `name` matches any part of the name."""
        result = await service.list_tasks(
            status=status, module_id=module_id, recurring=recurring, name=name, limit=limit, cursor=cursor
        )
        return result.unwrap()

    @router.get("/tasks/{task_id}", response_model=schemas.Task, operation_id="get_task", tags=["tasks"])
    async def get_task(task_id: Id) -> Any:
        """One task."""
        return (await service.get_task(task_id)).unwrap()

    @router.get(
        "/tasks/{task_id}/executions",
        response_model=schemas.ExecutionPage,
        operation_id="list_task_executions",
        tags=["executions"],
    )
    async def list_task_executions(task_id: Id, limit: Limit = 50, cursor: Cursor = None) -> Any:
        """The history of one task, newest first."""
        return (await service.list_executions(task_id, limit=limit, cursor=cursor)).unwrap()

    @router.get(
        "/executions", response_model=schemas.ExecutionPage, operation_id="list_executions", tags=["executions"]
    )
    async def list_executions(limit: Limit = 50, cursor: Cursor = None) -> Any:
        """The history of all tasks, newest first."""
        return (await service.list_executions(limit=limit, cursor=cursor)).unwrap()

    @router.get(
        "/executions/{execution_id}",
        response_model=schemas.ExecutionDetail,
        operation_id="get_execution",
        tags=["executions"],
    )
    async def get_execution(execution_id: Id) -> Any:
        """One execution, with its progress while it runs in the answering process."""
        return (await service.get_execution(execution_id)).unwrap()

    @router.post("/preview", response_model=schemas.PreviewAnswer, operation_id="preview", tags=["tasks"])
    async def preview(body: schemas.PreviewRequest) -> Any:
        """When a schedule would fire; nothing is stored."""
        schedule = body.model_dump(exclude={"count"}, exclude_unset=True)
        return (await service.preview(schedule, body.count)).unwrap()

    @router.get("/task-types", response_model=schemas.TaskTypes, operation_id="list_task_types", tags=["tasks"])
    async def list_task_types() -> Any:
        """The functions that may be scheduled, with the JSON Schema of their parameters where they have one."""
        return {"task_types": service.task_types()}

    @router.get("/cleanup", response_model=schemas.Cleanups, operation_id="list_cleanups", tags=["cleanup"])
    async def list_cleanups() -> Any:
        """Registered cleanups with the reports of their last runs."""
        return {"cleanups": await service.housekeeper.cleanups()}

    @router.get("/cleanup/{cleanup_id}", response_model=schemas.Cleanup, operation_id="get_cleanup", tags=["cleanup"])
    async def get_cleanup(cleanup_id: Id) -> Any:
        """One registered cleanup."""
        return await service.housekeeper.cleanup(cleanup_id)

    @router.get("/nodes", response_model=schemas.Nodes, operation_id="list_nodes", tags=["nodes"])
    async def list_nodes() -> Any:
        """The processes that dispatch, oldest first."""
        return (await service.list_nodes()).unwrap()

    @router.get("/status", response_model=schemas.StatusAnswer, operation_id="status", tags=["status"])
    async def status() -> Any:
        """Counts and conditions, with reasons where something is not as it should be."""
        return (await service.status()).unwrap()

    return router


def _operating(service: SchedulerService, route_class: type[APIRoute]) -> APIRouter:
    router = APIRouter(route_class=route_class)

    @router.post(
        "/tasks", response_model=schemas.Scheduled, status_code=201, operation_id="schedule_task", tags=["tasks"]
    )
    async def schedule_task(body: schemas.TaskCreate, request: Request, response: Response) -> Any:
        """Schedule a task. It is durable when this answers."""
        scheduled = (await service.schedule_task(body)).unwrap()
        response.headers["Location"] = address_of(request, "tasks", scheduled["task_id"])
        return scheduled

    @router.post("/cleanup/run", response_model=schemas.CleanupReports, operation_id="run_cleanup", tags=["cleanup"])
    async def run_cleanup(body: schemas.CleanupRun | None = None) -> Any:
        """Run cleanups now, or with dry_run only say what they would delete."""
        wanted = body or schemas.CleanupRun()
        return (await service.run_cleanup(wanted.cleanup_type, dry_run=wanted.dry_run)).unwrap()

    return router


def _administering(service: SchedulerService, keys: ApiKeys, route_class: type[APIRoute]) -> APIRouter:
    router = APIRouter(route_class=route_class)

    @router.post(
        "/cleanup",
        response_model=schemas.CleanupRegistered,
        status_code=201,
        operation_id="register_cleanup",
        tags=["cleanup"],
    )
    async def register_cleanup(body: schemas.CleanupCreate, request: Request, response: Response) -> Any:
        """Register a cleanup of a target that the application's code allows."""
        done = (await service.register_cleanup_task(body.module_id, body.cleanup_type, body.config)).unwrap()
        response.headers["Location"] = address_of(request, "cleanup", done["cleanup_id"])
        return done

    @router.patch(
        "/cleanup/{cleanup_id}", response_model=schemas.Cleanup, operation_id="update_cleanup", tags=["cleanup"]
    )
    async def update_cleanup(cleanup_id: Id, body: schemas.CleanupUpdate) -> Any:
        """Switch a cleanup on or off."""
        return await service.housekeeper.set_enabled(cleanup_id, body.enabled)

    @router.delete("/cleanup/{cleanup_id}", status_code=204, operation_id="delete_cleanup", tags=["cleanup"])
    async def delete_cleanup(cleanup_id: Id) -> None:
        """Forget a cleanup; the history of its runs stays."""
        await service.housekeeper.remove(cleanup_id)

    @router.post("/nodes/{node_id}/drain", response_model=schemas.NodeAsked, operation_id="drain_node", tags=["nodes"])
    async def drain_node(node_id: Id, body: schemas.NoFields | None = None) -> Any:  # noqa: ARG001  # others are refused
        """Let a node take on nothing more; what it runs goes on."""
        return (await service.drain_node(node_id)).unwrap()

    @router.post(
        "/nodes/{node_id}/resume", response_model=schemas.NodeAsked, operation_id="resume_node", tags=["nodes"]
    )
    async def resume_node(node_id: Id, body: schemas.NoFields | None = None) -> Any:  # noqa: ARG001  # others are refused
        """Let a drained node take on work again."""
        return (await service.resume_node(node_id)).unwrap()

    @router.get("/keys", response_model=schemas.ApiKeyList, operation_id="list_keys", tags=["keys"])
    async def list_keys() -> Any:
        """All keys ever made, without their secrets."""
        return {"keys": await keys.all()}

    @router.post("/keys", response_model=schemas.NewApiKey, status_code=201, operation_id="create_key", tags=["keys"])
    async def create_key(body: schemas.KeyCreate, response: Response) -> Any:
        """Make a key; it is shown this once."""
        response.headers["Cache-Control"] = "no-store"
        return await keys.create(body.name, body.scope, body.expires_at)

    @router.delete("/keys/{key_id}", status_code=204, operation_id="revoke_key", tags=["keys"])
    async def revoke_key(key_id: Id) -> None:
        """Refuse a key from now on."""
        await keys.revoke(key_id)

    return router
