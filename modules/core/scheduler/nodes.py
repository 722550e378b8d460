"""Nodes as they are seen: who is alive, who is silent, who is set up differently. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from modules.core.scheduler.db_models import SchedulerNode

# A node that holds nothing has no lease to lose: it only shows that it lives.
IDLE_HEARTBEAT_SECONDS: Final = 30.0
SILENT_AFTER_HEARTBEATS: Final = 3


def heartbeat_interval(lease_seconds: float, *, busy: bool) -> float:
    """The longest time between two heartbeats, in seconds."""
    return min(lease_seconds / 4, IDLE_HEARTBEAT_SECONDS) if busy else IDLE_HEARTBEAT_SECONDS


def is_silent(node: SchedulerNode, now: datetime) -> bool:
    """Whether three heartbeats in a row have not come; the process is dead, stopped hard, or cut off."""
    busy = node.running > 0 or node.state == "draining"
    interval = heartbeat_interval(node.lease_seconds or IDLE_HEARTBEAT_SECONDS * 4, busy=busy)
    return now - node.heartbeat_at > timedelta(seconds=SILENT_AFTER_HEARTBEATS * interval)


def live(nodes: Iterable[SchedulerNode], now: datetime) -> list[SchedulerNode]:
    """Those that are not silent."""
    return [node for node in nodes if not is_silent(node, now)]


def other_leases(nodes: Iterable[SchedulerNode], own_lease: float) -> list[float]:
    """The lease settings among these nodes that differ from ours, shortest first."""
    return sorted({node.lease_seconds for node in nodes if node.lease_seconds is not None} - {own_lease})


def node_view(node: SchedulerNode, now: datetime, own_id: str | None) -> dict[str, Any]:
    """A node as the door shows it; times are aware UTC. `is_self` marks the process that answers."""
    return {
        "id": node.id,
        "is_self": node.id == own_id,
        "state": "silent" if is_silent(node, now) else node.state,
        "drain_requested": node.drain_requested,
        "host": node.host,
        "pid": node.pid,
        "version": node.version,
        "running": node.running,
        "slots": node.slots,
        "lease_seconds": node.lease_seconds,
        "started_at": node.started_at,
        "heartbeat_at": node.heartbeat_at,
        "clock_offset_ms": node.clock_offset_ms,
        "loop_block": node.loop_block,
    }
