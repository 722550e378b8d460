"""Executions whose process died are closed as abandoned, and their next attempts made. Only leases decide."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from modules.core.scheduler.db_ops import Look
from modules.core.scheduler.runtime import Runtime
from modules.core.scheduler.settlement import Settler

logger = logging.getLogger(__name__)

SOON = timedelta(milliseconds=10)
LET_GO_FIRST = 0.02


class Recovery:
    """`tick()` recovers what lost its lease and says when to look again; `recovered` counts.

    A lease that is given after a look cannot run out before the next one, if looks are no further apart than a lease is
    long. So the first lease to run out is always known, but for a fiftieth of a lease, and nothing is asked before
    that moment.
    """

    def __init__(
        self, runtime: Runtime, settler: Settler, alive: Callable[[], Collection[str]], wake: Callable[[], None]
    ) -> None:
        self._runtime = runtime
        self._settler = settler
        self._alive = alive
        self._wake = wake
        self._next_lease: datetime | None = None
        self._looked_at: float | None = None
        self.recovered = 0

    def note(self, look: Look) -> None:
        """The dispatcher has looked, and saw when the next lease runs out. By this process's clock: what lies between
        the clocks is taken off."""
        lease = look.next_lease
        self._next_lease = None if lease is None else lease - (look.database_now - self._runtime.clock.now())
        self._looked_at = self._runtime.clock.monotonic()

    async def tick(self) -> float:
        """One look; returns the seconds to the next, none while there may be more to recover."""
        runtime = self._runtime
        if (delay := self._seconds_to_go()) > 0:
            return delay
        ids, look = await runtime.db_ops.recover(
            runtime.node_id, self._alive(), self._settler, runtime.clock.now(), runtime.lease_now()
        )
        self.note(look)
        if not ids:
            return max(self._seconds_to_go(), SOON.total_seconds())
        self.recovered += len(ids)
        logger.warning("recovered %d executions whose process ended without a word: %s", len(ids), ", ".join(ids[:10]))
        self._wake()
        return 0.0

    def _seconds_to_go(self) -> float:
        """Until the next lease runs out, or until nobody knows any more when one does."""
        if self._looked_at is None:
            return 0.0
        lease = self._runtime.settings.lease_seconds
        # The dispatcher looks as often: it is let go first, and an idle node then asks once where it would ask twice.
        known_for = lease * (1 + LET_GO_FIRST) - (self._runtime.clock.monotonic() - self._looked_at)
        if self._next_lease is None:
            return known_for
        return min(known_for, (self._next_lease + SOON - self._runtime.clock.now()).total_seconds())
