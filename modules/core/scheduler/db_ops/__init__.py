"""Every statement of the scheduler outside cleanup/. One method is one transaction; rows come back typed."""

from __future__ import annotations

from modules.core.scheduler.db_ops.api_keys import ApiKeyStatements
from modules.core.scheduler.db_ops.cancelling import CancelStatements
from modules.core.scheduler.db_ops.changes import (
    Claim,
    ClaimRequest,
    ClaimResult,
    EventChange,
    Finished,
    Look,
    NewExecution,
    Recorded,
    Settle,
)
from modules.core.scheduler.db_ops.cleanup_configs import CLEANUP_KEYS, CleanupConfigStatements, cleanup_key
from modules.core.scheduler.db_ops.completion import CompletionStatements
from modules.core.scheduler.db_ops.declared import DeclaredStatements
from modules.core.scheduler.db_ops.dispatch import DispatchStatements
from modules.core.scheduler.db_ops.downtimes import DowntimeStatements
from modules.core.scheduler.db_ops.events import EventStatements, TaskFilter
from modules.core.scheduler.db_ops.extra_runs import place_of
from modules.core.scheduler.db_ops.happenings import HappeningStatements, Started
from modules.core.scheduler.db_ops.history import HistoryStatements
from modules.core.scheduler.db_ops.ledger import LedgerRows, LedgerStatements, LedgerWindow
from modules.core.scheduler.db_ops.nodes import Heard, NodeReport, Nodes, NodeStatements
from modules.core.scheduler.db_ops.notifications import NotificationStatements
from modules.core.scheduler.db_ops.recovery import RecoveryStatements
from modules.core.scheduler.db_ops.salvage import Salvaged, damaged_columns


class DbOps(
    EventStatements,
    DeclaredStatements,
    DispatchStatements,
    CompletionStatements,
    RecoveryStatements,
    HappeningStatements,
    HistoryStatements,
    CancelStatements,
    LedgerStatements,
    NodeStatements,
    DowntimeStatements,
    NotificationStatements,
    CleanupConfigStatements,
    ApiKeyStatements,
):
    """The statements of the scheduler on one database."""


__all__ = [
    "CLEANUP_KEYS",
    "Claim",
    "ClaimRequest",
    "ClaimResult",
    "DbOps",
    "EventChange",
    "Finished",
    "Heard",
    "LedgerRows",
    "LedgerWindow",
    "Look",
    "NewExecution",
    "NodeReport",
    "Nodes",
    "Recorded",
    "Salvaged",
    "Settle",
    "Started",
    "TaskFilter",
    "cleanup_key",
    "damaged_columns",
    "place_of",
]
