"""What can go wrong at the scheduler's doors. Codes are stable: clients may rely on them."""

from __future__ import annotations

from modules.core.errors import Conflict, Invalid, NotFound, Unavailable


class InvalidTask(Invalid):
    """The task as described cannot be scheduled."""

    code = "INVALID_TASK"


class UnknownFunction(Invalid):
    """No module has registered that function."""

    code = "UNKNOWN_FUNCTION"


class InvalidParameters(Invalid):
    """The parameters do not fit the function."""

    code = "INVALID_PARAMETERS"


class ScheduleInPast(Invalid):
    """A one-time task for a moment that has passed."""

    code = "SCHEDULE_IN_PAST"


class TaskNotFound(NotFound):
    code = "TASK_NOT_FOUND"


class ExecutionNotFound(NotFound):
    code = "EXECUTION_NOT_FOUND"


class NodeNotFound(NotFound):
    code = "NODE_NOT_FOUND"


class CleanupNotFound(NotFound):
    code = "CLEANUP_NOT_FOUND"


class InvalidState(Conflict):
    """The task is not in a state that allows this."""

    code = "INVALID_STATE"


class AlreadyRunning(Conflict):
    """An execution of the task is under way, and its overlap policy is skip."""

    code = "ALREADY_RUNNING"


class VersionConflict(Conflict):
    """The task was changed since it was read."""

    code = "VERSION_CONFLICT"


class DuplicateTask(Conflict):
    """A task with this unique key exists."""

    code = "DUPLICATE_TASK"


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached, is busy beyond patience, full, or read-only."""

    code = "DATABASE_UNAVAILABLE"
