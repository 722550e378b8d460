"""Heartbeats of a simulated process: on its own event loop, whose time is virtual."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from modules.core.scheduler.cluster import Cluster
from modules.core.scheduler.db_ops import NodeReport
from modules.core.scheduler.heartbeat import Heartbeat
from modules.core.scheduler.runtime import Runtime


class VirtualHeartbeat(Heartbeat):
    """Extends the leases of what is held every lease/4. Nobody else looks for this node: an idle one says nothing."""

    def __init__(self, runtime: Runtime, cluster: Cluster) -> None:
        real = cluster.heartbeat
        super().__init__(runtime, cluster.watch, real._executions, real._lost, real._told)
        self._task: asyncio.Task[None] | None = None

    def start(self, report: NodeReport) -> None:
        self._task = asyncio.create_task(self._beat(report.id), name="core.scheduler heartbeat")

    def beat_now(self) -> None:
        """There is nobody to hear."""

    async def stop(self, patience: float) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,), timeout=patience)

    async def _beat(self, node_id: str) -> None:
        runtime = self._runtime
        lease = runtime.settings.lease_seconds
        while True:
            await asyncio.sleep(lease / 4)
            if held := set(self._executions()):
                kept = await runtime.db_ops.extend_leases(node_id, held, runtime.lease_now(), timedelta(seconds=lease))
                if lost := held - kept:
                    self._lost(lost & set(self._executions()))
