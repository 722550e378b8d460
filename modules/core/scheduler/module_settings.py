"""The scheduler's settings, each given as `CORE_SCHEDULER_<NAME>` or in code."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import available_timezones

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from modules.core.errors import did_you_mean
from modules.core.scheduler.lifecycle import Backoff, RetryPolicy
from modules.core.settings import ModuleSettings


class SchedulerSettings(ModuleSettings):
    """Typed settings of `core.scheduler`. Times are in seconds unless the name says otherwise."""

    model_config = SettingsConfigDict(env_prefix="CORE_SCHEDULER_")

    max_concurrent_tasks: int = Field(10, ge=1, le=10_000, description="Maximum number of concurrent tasks")
    cleanup_interval: int = Field(3600, ge=60, le=31_536_000, description="Cleanup interval in seconds")
    execution_timeout: int = Field(300, ge=1, le=31_536_000, description="Task execution timeout in seconds")
    keep_execution_history: int = Field(30, ge=1, le=36_500, description="Days to keep execution history")

    enabled: bool = Field(True, description="Whether this process runs tasks; the service and the API work either way")
    housekeeping: bool = Field(True, description="Whether the default cleanups are set up at start")
    timezone: str = Field("UTC", description="Timezone of tasks that name none")
    poll_ceiling_seconds: float = Field(
        30.0, ge=0.1, le=3600, description="Longest sleep before the database is asked again"
    )
    lease_seconds: float = Field(
        30.0,
        ge=1,
        le=3600,
        description="How long a silent process keeps its executions; heartbeats come four times as often",
    )
    look_ahead_seconds: float = Field(
        0.1, ge=0, le=1, description="How long before its time an execution is claimed; it never starts early"
    )
    priority_head_start_seconds: float = Field(
        60.0, ge=0, le=86_400, description="What one level of priority counts for against waiting"
    )
    drain_timeout_seconds: float = Field(25.0, ge=0, le=86_400, description="How long a stop waits for running tasks")
    cancel_grace_seconds: float = Field(
        3.0, ge=0, le=3600, description="How long a cancelled task may take to clean up after itself"
    )
    retry_max_attempts: int = Field(1, ge=1, le=100, description="Attempts of a task that fails and has no policy")
    retry_backoff: Backoff = Field("exponential", description="Growth of the wait: fixed, linear or exponential")
    retry_delay_seconds: float = Field(10.0, ge=0, le=86_400, description="Wait before the second attempt")
    retry_max_delay_seconds: float = Field(3600.0, ge=0, le=604_800, description="Longest wait between attempts")
    retry_jitter: bool = Field(True, description="Draw each wait evenly from zero to its value")
    result_max_bytes: int = Field(65_536, ge=256, le=16_777_216, description="Longest stored result, as JSON text")
    cleanup_time_budget_seconds: float = Field(
        60.0, ge=1, le=86_400, description="How long one cleanup may run before it leaves the rest to the next"
    )
    keep_finished_tasks: int = Field(
        0, ge=0, le=36_500, description="Days to keep finished tasks themselves; 0 keeps them for ever"
    )
    auth_required: bool = Field(True, description="Whether the REST API asks for a key")
    admin_key: SecretStr | None = Field(None, description="A key with admin scope, for containers and tests")
    admin_key_file: Path | None = Field(None, description="File that holds the admin key")

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"{value!r} is not an IANA timezone.{did_you_mean(value, available_timezones())}")
        return value

    @field_validator("admin_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 16:
            raise ValueError("an admin key needs at least 16 characters")
        return value

    @model_validator(mode="after")
    def _one_admin_key(self) -> SchedulerSettings:
        if self.admin_key is not None and self.admin_key_file is not None:
            raise ValueError("give admin_key or admin_key_file, not both")
        return self

    @property
    def heartbeat_seconds(self) -> float:
        return self.lease_seconds / 4

    @property
    def recovery_seconds(self) -> float:
        return self.lease_seconds / 2

    @property
    def default_retry(self) -> RetryPolicy:
        """The policy of tasks that have none of their own."""
        return RetryPolicy(
            max_attempts=self.retry_max_attempts,
            backoff=self.retry_backoff,
            delay_seconds=self.retry_delay_seconds,
            max_delay_seconds=self.retry_max_delay_seconds,
            jitter=self.retry_jitter,
        )


SCHEDULER_SETTINGS = SchedulerSettings.describe()
