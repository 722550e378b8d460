"""Routes that answer what became of a task's fire times."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from fastapi.routing import APIRoute
from pydantic import Field

from modules.core.scheduler.schemas import Answer, OffsetTime
from modules.core.scheduler.service import SchedulerService


class AttemptAnswer(Answer):
    id: str
    attempt: int
    state: Literal["ready", "running", "succeeded", "failed", "timed_out", "cancelled", "interrupted", "abandoned"]
    run_at: datetime
    start_time: datetime | None
    end_time: datetime | None
    node_id: str | None
    error_type: str | None


class Occurrence(Answer):
    """A fire time, or a span of fire times that share a verdict."""

    verdict: Literal["executed", "running", "waiting", "cancelled", "missed", "undecided", "upcoming"]
    kind: Literal["schedule", "manual", "event", "backfill"]
    from_time: datetime
    until_time: datetime
    count: int = Field(description="How many fire times the span has, its ends included")
    reason: str | None = Field(description="Why it was missed, or will be")
    detail: str | None = Field(description="The setting that decided")
    recorded_at: datetime | None
    attempts: list[AttemptAnswer]


class OccurrencePage(Answer):
    task_id: str
    occurrences: list[Occurrence]
    next_cursor: str | None


def ledger_routes(service: SchedulerService, route_class: type[APIRoute]) -> APIRouter:
    router = APIRouter(route_class=route_class, tags=["tasks"])

    @router.get("/tasks/{task_id}/occurrences", response_model=OccurrencePage, operation_id="list_occurrences")
    async def list_occurrences(
        task_id: Annotated[str, Path(max_length=100)],
        from_: Annotated[OffsetTime | None, Query(alias="from", description="First fire time, with an offset")] = None,
        until: Annotated[OffsetTime | None, Query(description="Last fire time, with an offset")] = None,
        order: Annotated[Literal["newest", "oldest"], Query(description="Which comes first")] = "newest",
        expand: Annotated[bool, Query(description="Spans as single fire times")] = False,
        limit: Annotated[int, Query(ge=1, le=200, description="How many to show at most")] = 50,
        cursor: Annotated[str | None, Query(max_length=200, description="next_cursor of the answer before")] = None,
    ) -> Any:
        """Each nominal fire time of a task with its one verdict; without `until`, the past and the next fire time."""
        result = await service.occurrences(
            task_id, from_, until, limit=limit, cursor=cursor, newest_first=order == "newest", expand=expand
        )
        return result.unwrap()

    return router
