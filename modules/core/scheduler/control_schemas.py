"""Bodies of the routes that change a task and make it run."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from modules.core.scheduler.schemas import Answer, OffsetTime
from modules.core.scheduler.task_config import Line100, Parameters


class PauseRequest(BaseModel):
    """Why a task is paused, and until when."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[Line100 | None, Field(description="Shown with the task")] = None
    until: Annotated[OffsetTime | None, Field(description="When it resumes by itself; a time in the future")] = None


class ResumeRequest(BaseModel):
    """What becomes of the fire times that passed during the pause."""

    model_config = ConfigDict(extra="forbid")

    catch_up: Literal["none", "latest"] = Field("none", description="Run none of them, or the newest")


class ExecuteRequest(BaseModel):
    """Parameters of this one run."""

    model_config = ConfigDict(extra="forbid")

    parameters: Annotated[
        Parameters | None, Field(description="Each top-level key replaces the task's own, for this run only")
    ] = None


class FieldChange(Answer):
    field: str
    old: Any
    new: Any


class FireTimes(Answer):
    old: list[datetime]
    new: list[datetime]


class MissedSpan(Answer):
    from_time: datetime
    until_time: datetime
    count: int
    reason: str
    detail: str | None


class EditPreview(Answer):
    """What an edit would do; nothing was stored."""

    task_id: str
    dry_run: Literal[True]
    version: int = Field(description="Send it with the edit: it is refused when the task was changed meanwhile")
    changes: list[FieldChange]
    fire_times: FireTimes = Field(description="The next five before and after")
    missed: list[MissedSpan] = Field(description="Fire times that have passed and that the edit leaves so")
