"""What a running task function is told about its execution, and what it may say back."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from modules.core.scheduler.outcomes import clean_text


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come; `total` is None where nobody knows."""

    done: float | None
    total: float | None
    message: str | None


def _finite(number: object) -> float | None:
    """JSON has no NaN and no infinity; what a task says of itself must not make it unreadable."""
    return number if isinstance(number, int | float) and math.isfinite(number) else None


@dataclass(slots=True)
class ExecutionContext:
    """The second argument of a task function that asks for one: `async def f(parameters, context)`.

    `scheduled_for` is the nominal time of this occurrence, whenever it really started. `attempt` counts from 1.
    `fence` grows with every execution of the task: hand it to storage that can refuse writes of an older holder.
    `event` is what started a task that waits for something: `{"name", "payload"}` of a published event,
    `{"task_id", "execution_id", "outcome"}` of another task's run; None for all other runs.
    """

    task_id: str
    execution_id: str
    scheduled_for: datetime
    attempt: int
    fence: int
    trace_session_id: str
    event: dict[str, Any] | None = None
    _cancelled: bool = field(default=False, repr=False)
    _noticed: bool = field(default=False, repr=False)
    _progress: Progress | None = field(default=None, repr=False)

    @property
    def idempotency_key(self) -> str:
        """The same for all attempts at one occurrence: give it to services that deduplicate requests."""
        return f"{self.task_id}:{self.scheduled_for.isoformat()}"

    @property
    def cancelled(self) -> bool:
        """Whether this run should end: timed out, cancelled, or the process is stopping. For functions in threads,
        which nobody can stop from outside."""
        self._noticed = self._noticed or self._cancelled
        return self._noticed

    @property
    def noticed_cancel(self) -> bool:
        """Whether the function has read `cancelled` as true: it may have ended early."""
        return self._noticed

    def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Say how far the run has come. Shown by GET /executions/{id} while it runs in this process; not stored."""
        self._progress = Progress(
            _finite(done), _finite(total), None if message is None else clean_text(str(message))[:500]
        )

    def request_cancel(self) -> None:
        """Called by the scheduler."""
        self._cancelled = True

    def progress_json(self) -> dict[str, Any] | None:
        latest = self._progress
        return None if latest is None else {"done": latest.done, "total": latest.total, "message": latest.message}
