"""The part of the service that ends single executions."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from modules.core.result import returns_result
from modules.core.scheduler.cluster import Cluster
from modules.core.scheduler.cursors import is_id
from modules.core.scheduler.dispatcher import Dispatcher
from modules.core.scheduler.errors import ExecutionNotFound
from modules.core.scheduler.job_manager import JobManager
from modules.core.scheduler.runtime import Runtime


class ExecutionService:
    """Cancelling of one run; the service builds what this asks."""

    _runtime: Runtime
    cluster: Cluster
    dispatcher: Dispatcher
    job_manager: JobManager

    @returns_result
    async def cancel_execution(self, execution_id: str) -> dict[str, Any]:
        """End one run, wherever it runs; its task goes on. Data `{"execution_id", "status"}`.

        The status is "cancelled" for one that had not started, and "cancelling" for one that runs: its function is
        asked to end, and the execution ends as cancelled as soon as it has. It is not tried again. Raises
        ExecutionNotFound, and InvalidState for one that has ended already.
        """
        if not is_id(execution_id):
            raise ExecutionNotFound("There is no such execution: ids look like 0199c0de-0000-7000-8000-000000000000.")
        runtime = self._runtime
        now = runtime.clock.now()
        cancelled = await runtime.db_ops.cancel_execution(execution_id, self.job_manager.settler, now)
        if not cancelled.ended:
            self.tell_asked([execution_id])
            return {"execution_id": execution_id, "status": "cancelling"}
        self.job_manager.jobs.note_change(cancelled.event_id)
        self.dispatcher.wake(cancelled.next_due)
        self.cluster.tell_due(cancelled.next_due)
        return {"execution_id": execution_id, "status": "cancelled"}

    def tell_asked(self, execution_ids: Collection[str]) -> None:
        """These running executions were asked to end: whoever runs them has to know."""
        if execution_ids:
            self.dispatcher.cancel(execution_ids)
            self.cluster.tell_cancelled()
