"""The part of the service that answers for condition: of this process, and of the nodes around it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from modules.core.background import BackgroundLoop
from modules.core.errors import ModuleError
from modules.core.result import returns_result
from modules.core.scheduler.cluster import Cluster
from modules.core.scheduler.cluster_clock import ClusterClock
from modules.core.scheduler.coming_back import downtime_view
from modules.core.scheduler.cursors import is_id
from modules.core.scheduler.db_models import SchedulerNode
from modules.core.scheduler.dispatcher import Dispatcher
from modules.core.scheduler.errors import NodeNotFound
from modules.core.scheduler.job_manager import JobManager
from modules.core.scheduler.nodes import other_leases
from modules.core.scheduler.recovery import Recovery
from modules.core.scheduler.runtime import Runtime
from modules.core.scheduler.status import Vitals


class NodeService:
    """Health, status and nodes; the service builds what this asks."""

    _runtime: Runtime
    _is_running: bool
    _recovery_loop: BackgroundLoop
    cluster: Cluster
    dispatcher: Dispatcher
    job_manager: JobManager
    recovery: Recovery

    async def vitals(self) -> Vitals:
        """What health is judged by, now."""
        return (await self._look())[0]

    async def _look(self) -> tuple[Vitals, list[SchedulerNode]]:
        """The same, with the nodes that are alive."""
        nodes: list[SchedulerNode] = []
        try:
            nodes = await self.cluster.live_nodes()
            answers = True
        except (SQLAlchemyError, ModuleError):
            answers = False
        clock, settings, wakeups = self._runtime.clock, self._runtime.settings, self.cluster.wakeups
        blocked = self.cluster.watch.complaint
        vitals = Vitals(
            enabled=settings.enabled,
            processing=self._is_running and self.dispatcher.loop.running,
            database_answers=answers,
            dispatcher_failures=self.dispatcher.loop.failures,
            recorder_failures=self.job_manager.recorder.failures,
            heartbeat_failures=self.cluster.heartbeat.failures,
            recovery_failures=self._recovery_loop.failures,
            stuck=len(self.job_manager.stuck),
            trouble=self._runtime.database.trouble,
            clock_offset=clock.offset if isinstance(clock, ClusterClock) and clock.off else None,
            lease=settings.lease_seconds,
            other_leases=tuple(other_leases(nodes, settings.lease_seconds)) if self._is_running else (),
            loop_block=f"{blocked.seconds:.1f} s by {blocked.culprit()}" if blocked else None,
            unheard=wakeups.failures if wakeups.expected else 0,
        )
        return vitals, nodes

    @returns_result
    async def status(self) -> dict[str, Any]:
        """Conditions of this process, and counts of the whole table where the database answers, as a dict."""
        runtime = self._runtime
        vitals, nodes = await self._look()
        conditions = {
            "status": vitals.health(),
            "reasons": vitals.reasons(),
            "version": package_version(),
            "session_id": runtime.session_id,
            "node_id": runtime.node_id if self._is_running else None,
            "enabled": vitals.enabled,
            "processing": vitals.processing,
            "draining": runtime.draining,
            "listening": self.cluster.wakeups.listening,
            "clock_offset_ms": self.cluster.clock_offset_ms,
            "loop_block": block.to_json() if (block := self.cluster.watch.block) else None,
            "database": runtime.database.dialect_name,
            "database_retries": runtime.database.retries,
            "slots": {"used": self.dispatcher.running, "of": runtime.settings.max_concurrent_tasks},
            "stuck": [
                {"task_id": claim.event.id, "execution_id": claim.execution_id} for claim in self.job_manager.stuck
            ],
            "outcomes_waiting": self.job_manager.recorder.waiting,
            "recovered": self.recovery.recovered,
            "stale_outcomes": self.job_manager.recorder.stale,
            "timezone": runtime.settings.timezone,
            "now": runtime.clock.now(),
        }
        if not vitals.database_answers:
            return conditions
        in_use = await runtime.db_ops.functions_in_use()
        return conditions | {
            "nodes": len(nodes),
            "tasks": await runtime.db_ops.count_by_status(),
            "executions": await runtime.db_ops.count_open(),
            "downtime": downtime_view(await runtime.db_ops.last_downtime()),
            "unresolved": [
                {"module_id": module_id, "function_name": function_name, "tasks": count}
                for (module_id, function_name), count in sorted(in_use.items())
                if (module_id, function_name) not in runtime.registry
            ],
        }

    @returns_result
    async def list_nodes(self) -> dict[str, Any]:
        """The processes that dispatch, oldest first; data `{"nodes": [...]}`, each running, draining or silent."""
        return {"nodes": await self.cluster.nodes()}

    @returns_result
    async def drain_node(self, node_id: str) -> dict[str, Any]:
        """Let a node take on nothing more; what it runs goes on. Data `{"node_id", "status": "draining"}`.

        It lasts until `resume_node`, or until that process ends: one that is started anew is another node.
        """
        await self.cluster.ask_to_drain(_node_id(node_id), True)
        return {"node_id": node_id, "status": "draining"}

    @returns_result
    async def resume_node(self, node_id: str) -> dict[str, Any]:
        """Let a drained node take on work again; data `{"node_id", "status": "running"}`."""
        await self.cluster.ask_to_drain(_node_id(node_id), False)
        return {"node_id": node_id, "status": "running"}


def package_version() -> str:
    """The installed version, or "0" in a checkout that is not installed."""
    try:
        return version("core-scheduler")
    except PackageNotFoundError:
        return "0"


def _node_id(node_id: str) -> str:
    if not is_id(node_id):
        raise NodeNotFound("There is no such node: ids look like 0199c0de-0000-7000-8000-000000000000.")
    return node_id
