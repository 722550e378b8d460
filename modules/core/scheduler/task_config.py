"""A task as callers describe it, checked, and as the columns of an event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, datetime
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from modules.core.errors import did_you_mean
from modules.core.scheduler.errors import InvalidTask
from modules.core.scheduler.input_rules import checked_parameters, one_line, several_lines, to_moment
from modules.core.scheduler.lifecycle import RetryPolicy
from modules.core.scheduler.triggers import parse_interval, zone
from modules.core.scheduler.triggers.exclude_spec import MOST_EXCLUSIONS
from modules.core.scheduler.triggers.spec import COUNTING_FIELDS, RULE_FIELDS
from modules.core.scheduler.triggers.union import MOST_TRIGGERS

LARGEST_COUNT = 2**31 - 1

Line50 = Annotated[StrictStr, Field(min_length=1, max_length=50), AfterValidator(one_line)]
Line100 = Annotated[StrictStr, Field(min_length=1, max_length=100), AfterValidator(one_line)]
Description = Annotated[StrictStr, Field(max_length=2000), AfterValidator(several_lines)]
Parameters = Annotated[dict[str, Any], AfterValidator(checked_parameters)]
Timeout = Annotated[float, Field(ge=0.001, le=31_536_000, strict=True, allow_inf_nan=False)]
Cron = Annotated[StrictStr, Field(min_length=1, max_length=200), AfterValidator(one_line)]
RRuleText = Annotated[StrictStr, Field(min_length=1, max_length=500), AfterValidator(one_line)]
Exclude = Annotated[list[dict[str, Any]], Field(max_length=MOST_EXCLUSIONS)]
MaxLateness = Annotated[float, Field(ge=60, le=315_360_000, strict=True, allow_inf_nan=False)]
Jitter = Annotated[float, Field(ge=0, le=86_400, strict=True, allow_inf_nan=False)]
Tags = Annotated[list[Line50], Field(max_length=20)]
Priority = Annotated[
    StrictInt, Field(ge=-100, le=100, description="The higher goes first; each level is a head start of a minute")
]
Overlap = Annotated[
    Literal["skip", "queue_one", "queue_all", "cancel_running", "allow"],
    Field(description="What happens when a run is wanted while another one of the task is open"),
]
Moment = Annotated[Annotated[datetime, Strict()] | StrictStr, WithJsonSchema({"type": "string", "format": "date-time"})]


class RetryConfig(BaseModel):
    """How a failing occurrence is tried again. `max_attempts` counts the first attempt."""

    model_config = ConfigDict(extra="forbid")

    max_attempts: StrictInt = Field(ge=1, le=100)
    backoff: Literal["fixed", "linear", "exponential"] = "exponential"
    delay_seconds: float = Field(10.0, ge=0, le=86_400, strict=True, allow_inf_nan=False)
    max_delay_seconds: float = Field(3600.0, ge=0, le=604_800, strict=True, allow_inf_nan=False)
    jitter: StrictBool = True


class OnTask(BaseModel):
    """Another task, and the outcome of its runs that starts this one."""

    model_config = ConfigDict(extra="forbid")

    task_id: Annotated[StrictStr, Field(min_length=1, max_length=36), AfterValidator(one_line)]
    outcome: Literal["success", "failure", "any"] = "success"


class TriggerPart(BaseModel):
    """One rule among several, or one moment. What it leaves out is as in the task: timezone, and what intervals count
    from."""

    model_config = ConfigDict(extra="forbid")

    schedule_time: Moment | None = Field(None, description="The one time, or the anchor of an interval or rrule")
    interval_type: StrictStr | None = Field(None, max_length=20)
    interval_value: StrictInt | None = Field(None, ge=1, le=LARGEST_COUNT)
    interval: StrictStr | None = Field(None, max_length=100)
    cron_expression: Cron | None = None
    rrule: RRuleText | None = None
    timezone: StrictStr | None = Field(None, max_length=64)
    start_time: Moment | None = None
    end_time: Moment | None = None


class ScheduleConfig(BaseModel):
    """When a task runs: once at `schedule_time`, again and again by a rule, or when something happens."""

    model_config = ConfigDict(extra="forbid")

    schedule_time: Moment | None = Field(None, description="First (or only) time; the anchor of intervals")
    recurring: StrictBool | None = Field(None, description="Defaults to true when a rule is given")
    interval_type: StrictStr | None = Field(
        None, max_length=20, description="seconds, minutes, hours, days, weeks, months, years"
    )
    interval_value: StrictInt | None = Field(None, ge=1, le=LARGEST_COUNT)
    interval: StrictStr | None = Field(None, max_length=100, description='"6 hours", "1h30m", "PT1H"')
    mode: Literal["fixed_rate", "fixed_delay"] | None = Field(
        None, description="fixed_delay counts an interval from the end of the last attempt"
    )
    cron_expression: Cron | None = None
    rrule: RRuleText | None = Field(None, description='RFC 5545, HOURLY or slower: "FREQ=MONTHLY;BYDAY=-1FR"')
    triggers: Annotated[list[TriggerPart], Field(min_length=1, max_length=MOST_TRIGGERS)] | None = Field(
        None, description="Several rules: the task runs when any of them fires, once where several do"
    )
    exclude: Exclude | None = Field(
        None, description='When nothing fires: {"date"}, {"from", "until"}, {"weekdays", "from", "until"}, {"holidays"}'
    )
    timezone: StrictStr | None = Field(None, max_length=64, description="IANA name; wall-clock times are read in it")
    start_time: Moment | None = Field(None, description="Nothing fires before")
    end_time: Moment | None = Field(None, description="Nothing fires after")
    jitter_seconds: Jitter | None = Field(None, description="Starts are moved by up to this, the same way each time")
    on_event: Line100 | None = Field(None, description="Runs whenever an event of this name is published")
    on_task: OnTask | None = Field(None, description="Runs after runs of another task")
    max_executions: StrictInt | None = Field(None, ge=1, le=LARGEST_COUNT)

    @model_validator(mode="after")
    def _aware(self) -> Self:
        for named in (self.timezone, *(part.timezone for part in self.triggers or ())):
            if named is not None:
                zone(named)
        for part in (self, *(self.triggers or ())):
            for name in ("schedule_time", "start_time", "end_time"):
                value = getattr(part, name)
                if value is not None:
                    setattr(part, name, to_moment(value, zone=part.timezone or self.timezone))
        return self

    @property
    def is_recurring(self) -> bool:
        repeats = any(getattr(self, name) for name in RULE_FIELDS)
        return bool(self.recurring) if self.recurring is not None else repeats

    @property
    def asked_for(self) -> datetime | None:
        """The first time that was asked for."""
        return self.schedule_time if isinstance(self.schedule_time, datetime) else None

    @property
    def waits_for_event(self) -> bool:
        """Whether something that happens starts it, and no clock."""
        return self.on_event is not None or self.on_task is not None

    def trigger_fields(self, default_timezone: str) -> dict[str, Any]:
        """The fields that make the trigger, as `trigger_from_spec` takes them."""
        fields = self.model_dump(
            exclude={"max_executions"}, include=set(ScheduleConfig.model_fields), exclude_none=True
        )
        fields.setdefault("timezone", default_timezone)
        if self.interval is not None and self.interval_type is None and self.interval_value is None:
            value, unit = parse_interval(self.interval)
            fields |= {"interval_type": unit, "interval_value": value}
            del fields["interval"]
        return fields

    def anchored_fields(self, default_timezone: str, now: datetime) -> dict[str, Any]:
        """As trigger_fields; a rule that counts from its first time and has none counts from its start_time, or else
        from `now`."""
        fields = self.trigger_fields(default_timezone)
        rules = (fields, *fields.get("triggers", ()))
        if self.is_recurring and any(rule.keys() & COUNTING_FIELDS for rule in rules):
            fields.setdefault("schedule_time", fields.get("start_time") or now)
        return fields


class LateConfig(BaseModel):
    """What is done about fire times that cannot start on time, which is up to a minute late."""

    model_config = ConfigDict(extra="forbid")

    catch_up: Literal["none", "latest", "all"] | None = Field(
        None, description="Which of the fire times that are late run; default latest. For recurring tasks"
    )
    catch_up_limit: StrictInt | None = Field(
        None, ge=1, le=1000, description="With catch_up all: the newest so many run, default 100"
    )
    max_lateness_seconds: MaxLateness | None = Field(
        None, description="What is later does not run; default no bound, which for catch_up latest is one period"
    )
    expires_at: Moment | None = Field(None, description="A one-time task that has not started by then does not run")

    @model_validator(mode="after")
    def _expires_aware(self) -> Self:
        if self.expires_at is not None:
            self.expires_at = to_moment(self.expires_at, zone=getattr(self, "timezone", None))
        return self


class TaskConfig(LateConfig, ScheduleConfig):
    """Everything that `schedule_task` takes. Unknown fields are refused."""

    name: Line100
    description: Description | None = None
    module_id: Line100
    function_name: Line100
    parameters: Parameters = Field(default_factory=dict)
    timeout_seconds: Timeout | None = None
    retry: RetryConfig | None = None
    delivery: Literal["at_least_once", "at_most_once"] = "at_least_once"
    overlap: Overlap = "skip"
    priority: Priority = 0
    unique_key: Annotated[StrictStr, Field(min_length=1, max_length=200), AfterValidator(one_line)] | None = None
    tags: Tags = Field(default_factory=list)
    allow_past: StrictBool = False


class TaskPatch(LateConfig, ScheduleConfig):
    """The fields of a task that may be changed; those left out stay as they are, null clears where that makes sense."""

    name: Line100 = ""
    description: Description | None = None
    parameters: Parameters = Field(default_factory=dict)
    timeout_seconds: Timeout | None = None
    retry: RetryConfig | None = None
    delivery: Literal["at_least_once", "at_most_once"] = "at_least_once"
    overlap: Overlap = "skip"
    priority: Priority = 0
    tags: Tags = Field(default_factory=list)
    version: StrictInt | None = Field(None, description="Refuse the change unless the task is at this version")

    def changes(self) -> dict[str, Any]:
        """What the caller gave, by field."""
        given = self.model_dump(exclude={"version"}, exclude_unset=True)
        return {name: (value or None) if name == "tags" else value for name, value in given.items()}


M = TypeVar("M", bound=BaseModel)


def parse_task_config(config: Mapping[str, Any] | TaskConfig) -> TaskConfig:
    """A TaskConfig, or InvalidTask, whose message names the first problem and whose details list all."""
    return _parse(TaskConfig, config, "{'name': ..., 'module_id': ..., 'function_name': ...}")


def parse_task_patch(changes: Mapping[str, Any] | TaskPatch) -> TaskPatch:
    """A TaskPatch, or InvalidTask."""
    return _parse(TaskPatch, changes, "{'cron_expression': '0 6 * * *'}")


def parse_schedule(schedule: Mapping[str, Any] | ScheduleConfig) -> ScheduleConfig:
    """A ScheduleConfig, or InvalidTask."""
    return _parse(ScheduleConfig, schedule, "{'interval': '6 hours'}")


def _parse(model: type[M], given: Mapping[str, Any] | M, example: str) -> M:
    if isinstance(given, model):
        return given
    if not isinstance(given, Mapping):
        raise InvalidTask(f"This must be a dict, such as {example}.")
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        raise invalid_task(error, model) from error


def invalid_task(error: ValidationError, model: type[BaseModel]) -> InvalidTask:
    """What is wrong with a task's fields, without repeating what was sent."""
    problems = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        field = ".".join(str(part) for part in item["loc"][:3])[:100]
        problem = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            problem = f"there is no such field.{did_you_mean(field, model.model_fields)}"
        problems.append({"field": field, "problem": problem})
    first = problems[0]
    return InvalidTask(
        f"{first['field'] or 'task'}: {first['problem']}".rstrip(".") + ".", details={"problems": problems[:20]}
    )


def schedule_columns(fields: Mapping[str, Any], *, recurring: bool, anchor: datetime | None) -> dict[str, Any]:
    """The columns of an event that hold its schedule; what has no column of its own goes into `trigger`."""
    rest: dict[str, Any] = {}
    if fields.get("start_time") is not None:
        rest["start_time"] = fields["start_time"].isoformat()
    if fields.get("mode") == "fixed_delay":
        rest["mode"] = "fixed_delay"
    on_task = fields.get("on_task")
    for name in ("rrule", "triggers", "exclude", "on_task"):
        if fields.get(name) is not None:
            rest[name] = _as_json(fields[name])
    return {
        "recurring": recurring,
        "interval_type": fields.get("interval_type"),
        "interval_value": fields.get("interval_value"),
        "cron_expression": fields.get("cron_expression"),
        "timezone": fields["timezone"],
        "anchor_time": anchor,
        "end_time": fields.get("end_time"),
        "jitter_s": fields.get("jitter_seconds") or None,
        "on_event": fields.get("on_event"),
        "on_task_id": on_task["task_id"] if on_task is not None else None,
        "trigger": rest or None,
    }


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _as_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    return value.isoformat() if isinstance(value, date) else value


def retry_policy(stored: Mapping[str, Any] | None, default: RetryPolicy) -> RetryPolicy:
    """A stored policy, over the default one for what it leaves out."""
    if not stored:
        return default
    known = asdict(default)
    return RetryPolicy(**(known | {name: value for name, value in stored.items() if name in known}))
