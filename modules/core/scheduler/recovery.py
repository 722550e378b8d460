"""Executions whose process died are closed as abandoned, and their next attempts made. Only leases decide."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from modules.core.scheduler.runtime import Runtime
from modules.core.scheduler.settlement import Settler

logger = logging.getLogger(__name__)


class Recovery:
    """`tick()` recovers what lost its lease and says when to look again; `recovered` counts."""

    def __init__(
        self, runtime: Runtime, settler: Settler, alive: Callable[[], Collection[str]], wake: Callable[[], None]
    ) -> None:
        self._runtime = runtime
        self._settler = settler
        self._alive = alive
        self._wake = wake
        self.recovered = 0

    async def tick(self) -> float:
        """One look; returns the seconds to the next, none while there may be more to recover."""
        runtime = self._runtime
        ids = await runtime.db_ops.recover(runtime.node_id, self._alive(), self._settler, runtime.clock.now())
        if not ids:
            return runtime.settings.recovery_seconds
        self.recovered += len(ids)
        logger.warning("recovered %d executions whose process ended without a word: %s", len(ids), ", ".join(ids[:10]))
        self._wake()
        return 0.0
