"""The composition root: settings in, FastAPI application out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from modules.core.app_context import AppContext
from modules.core.error_handler import problem
from modules.core.errors import ConfigurationError, ModuleError
from modules.core.scheduler.api import api_router
from modules.core.scheduler.cross_site import is_this_machine
from modules.core.scheduler.embedding import scheduler_router
from modules.core.scheduler.node_service import package_version
from modules.core.scheduler.routes import PROBLEM, problem_response
from modules.core.scheduler.runtime import Runtime
from modules.core.settings import AppSettings

__all__ = ["create_app", "scheduler_router"]


def create_app(settings: AppSettings | None = None) -> FastAPI:
    """The application with every module in `settings.modules`; `app.state.context` is its AppContext.

    Without settings, they come from the environment (APP_...) and .env. Raises ConfigurationError when something is
    set up wrongly, and when the API would be open to other machines without keys.
    """
    context = AppContext(settings)
    context.register_modules()
    _refuse_open_doors(context)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with context:
            yield

    app = FastAPI(
        title="core.scheduler",
        version=package_version(),
        summary="Durable tasks and housekeeping",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        redirect_slashes=False,
    )
    app.state.context = context
    service, keys = (context.get_service(f"core.scheduler.{name}") for name in ("service", "keys"))
    app.include_router(api_router(service, keys, auth_required=Runtime.of(context).settings.auth_required))
    for router in context.routers:
        app.include_router(router)
    _answer_errors_as_problems(app)
    return app


def _refuse_open_doors(context: AppContext) -> None:
    if not Runtime.of(context).settings.auth_required and not is_this_machine(context.settings.host):
        raise ConfigurationError(
            f"Without API keys the server may only listen on this machine, not on {context.settings.host!r}: "
            "set APP_HOST=127.0.0.1, or CORE_SCHEDULER_AUTH_REQUIRED=true."
        )


def _answer_errors_as_problems(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def _http(_request: Request, error: HTTPException) -> Response:
        code = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(error.status_code, "HTTP_ERROR")
        message = {
            404: "There is nothing at this address: see /api/v1/openapi.json for those that exist.",
            405: "This address does not take that method: see /api/v1/openapi.json.",
        }.get(error.status_code, str(error.detail))
        headers = dict(error.headers) if error.headers else None
        return JSONResponse(problem(error.status_code, code, message), error.status_code, headers, PROBLEM)

    @app.exception_handler(ModuleError)
    async def _module(_request: Request, error: ModuleError) -> Response:
        return problem_response(error)

    @app.exception_handler(RequestValidationError)
    async def _validation(_request: Request, error: RequestValidationError) -> Response:
        return JSONResponse(problem(422, "INVALID_REQUEST", str(error.errors()[0]["msg"])), 422, None, PROBLEM)
