"""The scheduler as a module: builds its parts, offers its services, starts and stops its loops."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from modules.core.scheduler.auth import ApiKeys
from modules.core.scheduler.builtin_tasks import register_builtin_tasks
from modules.core.scheduler.cleanup import CleanupTargets
from modules.core.scheduler.cluster_clock import cluster_clock
from modules.core.scheduler.db_ops import DbOps
from modules.core.scheduler.housekeeper import TARGETS_SERVICE
from modules.core.scheduler.module_settings import SchedulerSettings
from modules.core.scheduler.runtime import RUNTIME_SERVICE, Runtime
from modules.core.scheduler.service import SchedulerService
from modules.core.scheduler.task_registry import TaskRegistry

if TYPE_CHECKING:
    from modules.core.app_context import AppContext

logger = logging.getLogger(__name__)


class SchedulerModule:
    """Services: core.scheduler.service, .tasks (the registry), .cleanup (what may be deleted), .keys, .runtime."""

    MODULE_ID = "core.scheduler"
    DEPENDS_ON: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._service: SchedulerService | None = None

    def register(self, context: AppContext) -> None:
        """Phase 1: build, and offer."""
        registry, targets = TaskRegistry(), CleanupTargets()
        runtime = Runtime(
            settings=context.module_settings(self.MODULE_ID, SchedulerSettings),
            clock=cluster_clock(context.clock, context.database.dialect_name),
            database=context.database,
            db_ops=DbOps(context.database),
            registry=registry,
            session_id=context.session_id,
        )
        context.register_service(RUNTIME_SERVICE, runtime)
        context.register_service("core.scheduler.tasks", registry)
        context.register_service(TARGETS_SERVICE, targets)
        context.register_service("core.scheduler.keys", ApiKeys(runtime))
        self._service = service = SchedulerService(context)
        context.register_service("core.scheduler.service", service)
        register_builtin_tasks(context, service.housekeeper, targets)
        if runtime.settings.enabled:
            # Tasks belong to modules: none may start before its module has, or run on after it has stopped.
            context.add_background(service.start_background_processing, service.stop)

    async def start(self, context: AppContext) -> None:
        """Phase 2: the right time, and the default cleanups. The loops start when every module has."""
        if self._service is not None:
            await self._service.cluster.measure_clock()
        if self._service is not None and Runtime.of(context).settings.housekeeping:
            (await self._service.housekeeper.schedule_maintenance()).unwrap()

    async def stop(self, context: AppContext) -> None:
        """Also where an application started the processing by itself."""
        if self._service is not None:
            await self._service.stop()
