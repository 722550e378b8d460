"""Bodies of the REST API: what it takes and what it answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr, field_validator

from modules.core.scheduler.input_rules import to_moment
from modules.core.scheduler.task_config import Line50, Line100, ScheduleConfig, TaskConfig, TaskPatch


def _moment_with_offset(value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError("write the time as text, such as 2026-07-17T10:00:00Z")
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError as error:
        raise ValueError("this is not an ISO 8601 time such as 2026-07-17T10:00:00Z") from error
    if len(value) < 16 or parsed.tzinfo is None:
        raise ValueError("the offset is missing: write 2026-07-17T10:00:00Z or 2026-07-17T12:00:00+02:00")
    return to_moment(parsed, zone=None)


OffsetTime = Annotated[datetime, BeforeValidator(_moment_with_offset)]


_TIMES = ("schedule_time", "start_time", "end_time")


class _RestTimes(BaseModel):
    """Times in bodies need an offset: a server cannot know where its caller is."""

    @field_validator(*_TIMES, "expires_at", mode="before", check_fields=False)
    @classmethod
    def _with_offset(cls, value: Any) -> Any:
        return _moment_with_offset(value)

    @field_validator("triggers", mode="before", check_fields=False)
    @classmethod
    def _parts_with_offset(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [
            {name: _moment_with_offset(item) if name in _TIMES else item for name, item in part.items()}
            if isinstance(part, dict)
            else part
            for part in value
        ]


class TaskCreate(_RestTimes, TaskConfig):
    """A task to be scheduled."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "Data Export",
                    "module_id": "standard.data_export",
                    "function_name": "export_users",
                    "parameters": {"format": "csv"},
                    "schedule_time": "2030-07-17T10:00:00Z",
                    "recurring": False,
                }
            ]
        },
    )


def _without_defaults(schema: dict[str, Any]) -> None:
    # What is left out of a change stays as it is: no client may fill it in.
    for field in schema["properties"].values():
        field.pop("default", None)


class TaskUpdate(_RestTimes, TaskPatch):
    """Fields of a task to be changed; those left out stay."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_without_defaults)


class PreviewRequest(_RestTimes, ScheduleConfig):
    """A schedule, and how many of its fire times to show."""

    count: StrictInt = Field(5, ge=1, le=100)


class NoFields(BaseModel):
    """An empty object: this takes no fields yet."""

    model_config = ConfigDict(extra="forbid")


class CleanupCreate(BaseModel):
    """A cleanup of a target that the application's code allows."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "module_id": "standard.user_auth",
                    "cleanup_type": "expired_sessions",
                    "config": {
                        "table_name": "user_sessions",
                        "date_column": "expires_at",
                        "cleanup_interval": "1 hour",
                        "batch_size": 100,
                    },
                }
            ]
        },
    )

    module_id: Line100
    cleanup_type: Line50
    config: dict[StrictStr, Any]


class CleanupUpdate(BaseModel):
    """Switch a cleanup on or off."""

    model_config = ConfigDict(extra="forbid")

    enabled: StrictBool


class CleanupRun(BaseModel):
    """Which cleanups to run now; `dry_run` only says what would go."""

    model_config = ConfigDict(extra="forbid")

    cleanup_type: Line50 | None = None
    dry_run: StrictBool = False


class KeyCreate(BaseModel):
    """A new API key."""

    model_config = ConfigDict(extra="forbid")

    name: Line100
    scope: Literal["read", "operate", "admin"]
    expires_at: OffsetTime | None = None


class Answer(BaseModel):
    """Base of answers; they may grow fields."""


class Task(Answer):
    id: str
    name: str
    description: str | None
    module_id: str
    function_name: str
    parameters: dict[str, Any]
    status: Literal["pending", "running", "paused", "completed", "failed", "cancelled"]
    recurring: bool
    interval_type: str | None
    interval_value: int | None
    cron_expression: str | None
    timezone: str
    schedule_time: datetime | None
    start_time: str | None
    end_time: datetime | None
    mode: str | None
    rrule: str | None
    triggers: list[Any] | None
    exclude: list[Any] | None
    jitter_seconds: float | None
    on_event: str | None
    on_task: dict[str, Any] | None
    next_execution: datetime | None
    last_execution: datetime | None
    execution_count: int
    max_executions: int | None
    catch_up: str
    catch_up_limit: int | None
    max_lateness_seconds: float | None
    expires_at: datetime | None
    last_error: str | None
    active_execution_id: str | None
    pause_reason: str | None
    pause_actor: str | None = Field(description="Who paused it: the name of the API key, say")
    paused_at: datetime | None
    paused_until: datetime | None = Field(description="When it resumes by itself")
    timeout_seconds: float | None
    retry: dict[str, Any] | None
    delivery: str
    overlap: str
    priority: int
    unique_key: str | None
    tags: list[str]
    version: int
    created_at: datetime
    updated_at: datetime
    damaged: list[str] = Field(description="Columns of the row that cannot be read; PATCH can replace most of them")


class TaskPage(Answer):
    tasks: list[Task]
    next_cursor: str | None


class Scheduled(Answer):
    task_id: str
    status: Literal["scheduled"]


class Cancelled(Answer):
    status: Literal["cancelled"]


class Paused(Answer):
    status: Literal["paused"]


class Resumed(Answer):
    status: Literal["resumed"]


class Started(Answer):
    execution_id: str
    status: Literal["running", "waiting"] = Field(description="waiting: behind a run that is under way")


class ExecutionCancelled(Answer):
    execution_id: str
    status: Literal["cancelled", "cancelling"] = Field(description="cancelling: its function was asked to end")


class Execution(Answer):
    id: str
    task_id: str
    start_time: datetime
    end_time: datetime | None
    success: bool | None
    result: Any
    error: str | None
    error_type: str | None
    trace_session_id: str | None
    state: Literal["ready", "running", "succeeded", "failed", "timed_out", "cancelled", "interrupted", "abandoned"]
    scheduled_for: datetime
    kind: str
    attempt: int
    duration_ms: float | None
    cpu_ms: float | None
    lateness_ms: float | None
    node_id: str | None
    parameters: dict[str, Any] | None = Field(description="Of this run; null means those of the task")
    cause: dict[str, Any] | None = Field(description="What made it run, where that was not the schedule")
    actor: str | None = Field(description="Who asked for it")


class ExecutionDetail(Execution):
    progress: dict[str, Any] | None


class ExecutionPage(Answer):
    executions: list[Execution]
    next_cursor: str | None


class FireTimeAnswer(Answer):
    time: datetime
    local_time: str


class PreviewAnswer(Answer):
    description: str
    timezone: str
    fire_times: list[FireTimeAnswer]


class TaskType(Answer):
    module_id: str
    function_name: str
    description: str | None
    parameters_schema: dict[str, Any] | None


class TaskTypes(Answer):
    task_types: list[TaskType]


class Cleanup(Answer):
    id: str
    module_id: str
    cleanup_type: str
    name: str | None
    config: dict[str, Any]
    enabled: bool
    last_run: datetime | None
    next_run: datetime | None
    last_report: dict[str, Any] | None


class Cleanups(Answer):
    cleanups: list[Cleanup]


class CleanupRegistered(Answer):
    cleanup_id: str
    status: Literal["registered"]


class CleanupReports(Answer):
    dry_run: bool
    deleted: int
    failed: int
    reports: list[dict[str, Any]]


class ApiKeyAnswer(Answer):
    id: str
    name: str
    prefix: str
    scope: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class NewApiKey(ApiKeyAnswer):
    key: str = Field(description="The key itself; it is shown this once")


class ApiKeyList(Answer):
    keys: list[ApiKeyAnswer]


class HealthAnswer(Answer):
    status: Literal["ok", "degraded", "down"]


class StatusAnswer(Answer):
    model_config = ConfigDict(extra="allow")

    status: Literal["ok", "degraded", "down"]
    reasons: list[str]
    now: datetime


class Node(Answer):
    """A process that dispatches."""

    id: str
    is_self: bool = Field(description="Whether it is the process that answers")
    state: Literal["running", "draining", "silent"] = Field(description="silent: three heartbeats did not come")
    drain_requested: bool = Field(description="Asked of it by an operator; `state` follows when it has noticed")
    host: str | None
    pid: int | None
    version: str
    running: int = Field(description="Executions that it holds, as of its last heartbeat")
    slots: int | None
    lease_seconds: float | None
    started_at: datetime
    heartbeat_at: datetime
    clock_offset_ms: float | None = Field(description="The database's clock minus the machine's, on PostgreSQL")
    loop_block: dict[str, Any] | None = Field(description="What blocked its event loop longest of late, and how long")


class Nodes(Answer):
    nodes: list[Node]


class NodeAsked(Answer):
    node_id: str
    status: Literal["draining", "running"]


class Problem(Answer):
    """Every error answer (RFC 9457, application/problem+json)."""

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable; programs may rely on it")
    message: str = Field(description="What to do, for people")
    details: dict[str, Any] | None = None
