"""This process as one of many: its row, what it hears of the others, and what an operator asks of it."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any

from modules.core.scheduler.cluster_clock import ClusterClock
from modules.core.scheduler.db_models import SchedulerDowntime, SchedulerNode
from modules.core.scheduler.db_ops import Heard, NodeReport
from modules.core.scheduler.heartbeat import Heartbeat
from modules.core.scheduler.loop_watch import LoopWatch
from modules.core.scheduler.nodes import live, node_view, other_leases
from modules.core.scheduler.runtime import Runtime
from modules.core.scheduler.wakeups import Wakeups

logger = logging.getLogger(__name__)


class Cluster:
    """Joins, beats, and drains when asked.

    `wake()` is called when there may be something to do: draining is over, or other nodes were not heard for a while.
    `on_due(at)` and `on_change(event_id)` hand on what they announce.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        executions: Callable[[], Collection[str]],
        lost: Callable[[Collection[str]], None],
        wake: Callable[[], None],
        on_due: Callable[[datetime], None] | None = None,
        on_change: Callable[[str], None] | None = None,
    ) -> None:
        self._runtime = runtime
        self._wake = wake
        self._leaving = False
        self.watch = LoopWatch(runtime.stepping, busy=lambda: bool(executions()))
        self.heartbeat = Heartbeat(runtime, self.watch, executions, lost, self._told)
        self.wakeups = Wakeups(
            runtime,
            on_due=on_due or (lambda _at: wake()),
            on_change=on_change or (lambda _event_id: None),
            on_nodes=self.heartbeat.beat_now,
            on_reconnect=wake,
        )

    async def measure_clock(self) -> None:
        """Compare this machine's clock with the database's, so that the first decisions go by the right time."""
        clock = self._runtime.clock
        if isinstance(clock, ClusterClock):
            offset = await self._runtime.db_ops.clock_offset(clock.machine)
            if offset is not None:
                clock.measured(offset)

    async def join(self, version: str) -> SchedulerDowntime | None:
        """Put this process on the list, and let its heart beat. Returns the downtime that ends with it, if there was
        one, or that ended a moment ago with another node."""
        runtime = self._runtime
        await self.measure_clock()
        await self.wakeups.start()
        runtime.draining = self._leaving = False
        report = NodeReport(
            id=runtime.node_id,
            version=version,
            host=socket.gethostname()[:255],
            pid=os.getpid(),
            slots=runtime.settings.max_concurrent_tasks,
            lease_seconds=runtime.settings.lease_seconds,
            doorbell_port=self.wakeups.doorbell_port,
            clock_offset_ms=self.clock_offset_ms,
        )
        downtime = await runtime.db_ops.join_node(report, runtime.lease_now())
        self._compare_leases(await self.live_nodes())
        self.heartbeat.start(report)
        return downtime

    def tell_due(self, at: datetime | None) -> None:
        """Other nodes have something to do at that moment; what lies further off they find by themselves in time."""
        runtime = self._runtime
        horizon = runtime.clock.now() + timedelta(seconds=runtime.settings.poll_ceiling_seconds)
        if at is not None and at <= horizon:
            self.wakeups.announce_due(at)

    async def prepare_to_leave(self) -> None:
        """From now on nothing is taken on, whatever an operator says, and the others see it."""
        self._leaving = self._runtime.draining = True
        await self._runtime.db_ops.drain_node(self._runtime.node_id)

    async def leave(self) -> None:
        """Take this process off the list."""
        await self._runtime.db_ops.leave_node(self._runtime.node_id, self._runtime.lease_now())

    async def nodes(self) -> list[dict[str, Any]]:
        """Every node on the list, oldest first, as the door shows them."""
        found = await self._runtime.db_ops.list_nodes(self._runtime.lease_now())
        return [node_view(row, found.now, self._runtime.node_id) for row in found.rows]

    async def ask_to_drain(self, node_id: str, requested: bool) -> None:
        """Ask a node to take on nothing more, or to go on. Raises NodeNotFound."""
        await self._runtime.db_ops.request_drain(node_id, requested)
        if node_id == self._runtime.node_id:
            self.heartbeat.beat_now()
        else:
            self.wakeups.announce_nodes()

    async def live_nodes(self) -> list[SchedulerNode]:
        """The rows of those that are not silent."""
        found = await self._runtime.db_ops.list_nodes(self._runtime.lease_now())
        return live(found.rows, found.now)

    @property
    def clock_offset_ms(self) -> float | None:
        """The database's clock minus this machine's; None where it does not matter, or is not known yet."""
        clock = self._runtime.clock
        return clock.offset_ms if isinstance(clock, ClusterClock) else None

    def _compare_leases(self, nodes: list[SchedulerNode]) -> None:
        own = self._runtime.settings.lease_seconds
        if others := other_leases(nodes, own):
            logger.warning(
                "other nodes have leases of %s s, this one of %g s: give all nodes the same "
                "CORE_SCHEDULER_LEASE_SECONDS; until then each execution goes by the lease that it was given",
                ", ".join(f"{seconds:g}" for seconds in others),
                own,
            )

    def _told(self, heard: Heard) -> None:
        runtime = self._runtime
        if self._leaving or heard.drain_requested == runtime.draining:
            return
        runtime.draining = heard.drain_requested
        if runtime.draining:
            logger.warning("an operator drains this node: what runs goes on, nothing new is taken on")
        else:
            logger.warning("an operator lets this node go on")
            self._wake()
        # Only now is it true that this node drains, or does not: the others may see it.
        self.heartbeat.beat_now()
