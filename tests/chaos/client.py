"""Somebody who uses the scheduler and writes down what was asked and what was answered."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from typing import Any

from modules.core.result import Result
from modules.core.scheduler import SchedulerService
from tests.chaos.log import CallLog
from tests.chaos.work import MODULE

# After these nothing has changed. After any other failure nobody knows: the answer of a commit may have been lost.
REFUSALS = {
    "ALREADY_RUNNING",
    "INVALID_STATE",
    "INVALID_TASK",
    "SCHEDULE_IN_PAST",
    "TASK_NOT_FOUND",
    "VERSION_CONFLICT",
}


class Client:
    """Calls the service; each method says whether the call was carried out, None where that is not known."""

    def __init__(
        self,
        service: SchedulerService,
        log: CallLog,
        now: Callable[[], datetime],
        edits: Iterator[int] | None = None,
    ) -> None:
        self._service = service
        self._log = log
        self._now = now
        self._edits = edits or itertools.count(1)

    async def schedule(self, **fields: Any) -> str | None:
        """A task of the chaos module; returns its id if it was answered as scheduled."""
        config = {"name": "work", "module_id": MODULE, "function_name": "work", **fields}
        call = self._log.asked("schedule", None, self._now())
        result = await self._service.schedule_task(config)
        task_id: str | None = result.unwrap()["task_id"] if result.success else None
        self._log.answered(call, self._now(), answer_of(result), task_id)
        return task_id

    async def pause(self, task_id: str) -> bool | None:
        return await self._call("pause", task_id, lambda: self._service.pause_task(task_id))

    async def resume(self, task_id: str) -> bool | None:
        return await self._call("resume", task_id, lambda: self._service.resume_task(task_id))

    async def cancel(self, task_id: str) -> bool | None:
        return await self._call("cancel", task_id, lambda: self._service.cancel_task(task_id))

    async def execute(self, task_id: str) -> bool | None:
        return await self._call("execute", task_id, lambda: self._service.execute_task(task_id))

    async def edit(self, task_id: str, parameters: dict[str, Any], **changes: Any) -> bool | None:
        """Change parameters, and other fields with them; the parameters are given the number of this edit."""
        number = next(self._edits)
        fields = {"parameters": {**parameters, "edit": number}, **changes}
        return await self._call("edit", task_id, lambda: self._service.update_task(task_id, fields), number)

    async def recurring(self) -> list[str]:
        """The ids of all recurring tasks that may still fire, whoever made them."""
        found = []
        for status in ("pending", "paused", "running"):
            page = (await self._service.list_tasks(status=status, module_id=MODULE, recurring=True, limit=200)).unwrap()
            found += [task["id"] for task in page["tasks"]]
        return found

    async def _call(
        self, what: str, task_id: str, ask: Callable[[], Awaitable[Result]], number: int | None = None
    ) -> bool | None:
        call = self._log.asked(what, task_id, self._now(), number)
        result = await ask()
        answer = answer_of(result)
        execution_id = result.unwrap()["execution_id"] if what == "execute" and result.success else None
        self._log.answered(call, self._now(), answer, task_id, execution_id)
        return answer


def answer_of(result: Result) -> bool | None:
    """True: done. False: refused, nothing was changed. None: nobody knows."""
    if result.success:
        return True
    return False if (result.error or {}).get("code") in REFUSALS else None
