"""What the parts of one scheduler share. Built once in phase 1 and handed out as a service."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from modules.core.clock import Clock
from modules.core.database import Database
from modules.core.ids import new_id
from modules.core.scheduler.cluster_clock import ClusterClock
from modules.core.scheduler.cpu_meter import Stepping
from modules.core.scheduler.db_ops import DbOps
from modules.core.scheduler.module_settings import SchedulerSettings
from modules.core.scheduler.task_registry import TaskRegistry

if TYPE_CHECKING:
    from modules.core.app_context import AppContext

DEAF_CEILING_SECONDS = 5.0
RUNTIME_SERVICE = "core.scheduler.runtime"


@dataclass(slots=True)
class Runtime:
    """Settings, clock, statements and registry; `node_id` is new at each start of the background processing.

    While `draining` is set, this process takes on nothing more; `stepping` is whose coroutine runs at this moment.
    `back_since` is when the scheduler came back from the downtime that this process found at its start.
    """

    settings: SchedulerSettings
    clock: Clock
    database: Database
    db_ops: DbOps
    registry: TaskRegistry
    session_id: str
    node_id: str = field(default_factory=new_id)
    draining: bool = False
    back_since: datetime | None = None
    stepping: Stepping = field(default_factory=Stepping)
    rng: random.Random = field(default_factory=random.Random)

    def lease_now(self) -> datetime | None:
        """The moment by which leases are set and judged; None means the database's own clock, at the statement."""
        return None if isinstance(self.clock, ClusterClock) else self.clock.now()

    @property
    def poll_ceiling_seconds(self) -> float:
        """The longest time between two looks; a short one where other nodes cannot be heard."""
        ceiling, database = self.settings.poll_ceiling_seconds, self.database
        deaf = database.dialect_name == "postgresql" and not database.can_listen
        return min(ceiling, DEAF_CEILING_SECONDS) if deaf else ceiling

    @classmethod
    def of(cls, app_context: AppContext) -> Runtime:
        """The runtime that the scheduler's module registered."""
        runtime: Runtime = app_context.get_service(RUNTIME_SERVICE)
        return runtime
