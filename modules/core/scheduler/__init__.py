"""core.scheduler: durable tasks and housekeeping inside an async Python application."""

from modules.core.scheduler.embedding import scheduler_router
from modules.core.scheduler.execution import ExecutionContext
from modules.core.scheduler.service import SchedulerService

__all__ = ["ExecutionContext", "SchedulerService", "scheduler_router"]
