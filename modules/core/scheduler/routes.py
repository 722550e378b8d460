"""How every route of the API treats a request: who asks, what they sent, and how an error is answered."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Annotated, Any, get_args, get_type_hints

from fastapi import Path
from fastapi.exceptions import HTTPException, RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from modules.core.error_handler import problem, problem_of
from modules.core.errors import Invalid, ModuleError, Unavailable, did_you_mean
from modules.core.scheduler.json_gate import check_body

PREFIX = "/api/v1/scheduler"
PROBLEM = "application/problem+json"
logger = logging.getLogger(__name__)

Guard = Callable[[Request], Awaitable[None]]
Id = Annotated[str, Path(max_length=100)]


def guarded(guard: Guard, scope: str | None = None, *, host_rules: bool = False) -> type[APIRoute]:
    """A route class: `guard` first, then the body's gate, then the endpoint; every error becomes a problem document.

    The guard comes before the body is looked at, so that strangers learn nothing about what would be accepted.
    `scope` is what the guard asks for, shown in the OpenAPI document. With `host_rules` the host's own dependencies
    are asked too: query parameters may be theirs, and an exception that nobody here knows is left to its handlers.
    """

    class GuardedRoute(APIRoute):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs["openapi_extra"] = {"x-scope": scope, **(kwargs.get("openapi_extra") or {})}
            super().__init__(*args, **kwargs)

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()
            known_fields = _body_fields(self.endpoint)
            known_query = None if host_rules else {field.alias for field in self.dependant.query_params}

            async def guarded_handle(request: Request) -> Response:
                try:
                    await guard(request)
                    if known_query is not None:
                        _refuse_unknown_query(request, known_query)
                    await check_body(request)
                    return await handle(request)
                except ModuleError as error:
                    return problem_response(error)
                except RequestValidationError as error:
                    return _validation_problem(error, known_fields)
                except ClientDisconnect:
                    return Response(status_code=400)
                except HTTPException:
                    raise  # a host's own dependency says no in its own way
                except Exception as error:
                    if host_rules:
                        raise
                    return problem_response(_unexpected(error))

            return guarded_handle

    return GuardedRoute


def address_of(request: Request, kind: str, thing_id: str) -> str:
    """Where a new thing is found, wherever this API is mounted."""
    return f"{request.url.path.partition(PREFIX)[0]}{PREFIX}/{kind}/{thing_id}"


def note_caller(request: Request, name: str) -> None:
    """Remember who asks, for those who want to put it on record."""
    request.state.scheduler_caller = name[:100]


def caller_of(request: Request) -> str | None:
    """The name of the key or of the host's user that asks; None where nobody is asked for a name."""
    name: str | None = getattr(request.state, "scheduler_caller", None)
    return name


class UnknownQueryParameter(Invalid):
    """A filter that does not exist would otherwise filter nothing, silently."""

    code = "INVALID_REQUEST"


def _refuse_unknown_query(request: Request, known: Collection[str]) -> None:
    for name in request.query_params:
        if name not in known:
            hint = did_you_mean(name[:50], known)
            raise UnknownQueryParameter(
                f"query: there is no such parameter.{hint} "
                + (f"Use {', '.join(sorted(known))}." if known else "This address takes none.")
            )


def _unexpected(error: Exception) -> ModuleError:
    failure = ModuleError("An endpoint failed for an unexpected reason.")
    failure.__cause__ = error
    return failure


def problem_response(error: ModuleError) -> Response:
    """The answer to a ModuleError; what is our own fault goes to the log with its traceback.

    An outage is in the log already, once.
    """
    if error.http_status >= 500 and not isinstance(error, Unavailable):
        logger.error("a request failed", exc_info=error)
    headers = {"WWW-Authenticate": "Bearer"} if error.http_status == 401 else None
    return JSONResponse(problem_of(error), error.http_status, headers, PROBLEM)


def _validation_problem(error: RequestValidationError, known_fields: list[str]) -> Response:
    problems = []
    for item in error.errors():
        where = [str(part) for part in item["loc"]]
        field = ".".join(where[1:4])[:100] or where[0]
        text = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            hint = did_you_mean(where[-1], known_fields)
            text = f"there is no such field{hint.replace(' Did', '; did').rstrip('?')}"
        elif item["type"] == "missing" and where == ["body"]:
            text = "a JSON body is needed"
        problems.append({"field": field, "problem": text.rstrip(".")})
    message = f"{problems[0]['field']}: {problems[0]['problem']}."
    return JSONResponse(problem(422, "INVALID_REQUEST", message, {"problems": problems[:20]}), 422, None, PROBLEM)


def _body_fields(endpoint: Callable[..., Any]) -> list[str]:
    """The names that a body of this endpoint may hold: what a misspelt one is compared with."""
    return [
        name
        for hint in get_type_hints(endpoint).values()
        for model in (hint, *get_args(hint))
        if isinstance(model, type) and issubclass(model, BaseModel)
        for name in model.model_fields
    ]
