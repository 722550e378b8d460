"""Lists in pages: everything once, in one order, whatever the rows are called."""

from __future__ import annotations

from typing import Any

import pytest

from modules.core.scheduler.cursors import to_cursor
from tests.integration.scheduler.test_control import code_of
from tests.support.app import App


async def _pages(listed: Any, what: str, **arguments: Any) -> list[list[str]]:
    """The ids of each page until there is no next one."""
    pages: list[list[str]] = []
    cursor: str | None = None
    while cursor is not None or not pages:
        page = (await listed(**arguments, cursor=cursor)).unwrap()
        pages.append([row["id"] for row in page[what]])
        cursor = page["next_cursor"]
    return pages


async def test_pages_of_tasks_go_by_their_making_and_not_by_their_names(app: App) -> None:
    made = [await app.schedule(name=f"task {number}", interval="1 hour") for number in (3, 5, 4, 2, 1)]
    assert await _pages(app.service.list_tasks, "tasks", limit=2) == [made[:2], made[2:4], made[4:]]
    assert await _pages(app.service.list_tasks, "tasks", limit=5) == [made]
    assert await _pages(app.service.list_tasks, "tasks", limit=2, status="pending") == [made[:2], made[2:4], made[4:]]


async def test_pages_of_one_tasks_executions_show_each_once_newest_first(app: App) -> None:
    task_id, other = await app.schedule(interval="1 hour"), await app.schedule(interval="1 hour")
    ran: dict[str, list[str]] = {task_id: [], other: []}
    for _ in range(5):
        app.clock.advance(hours=1)
        for row in await app.run_due():
            ran[row["task_id"]].insert(0, row["id"])
    mine = ran[task_id]
    assert await _pages(app.service.list_executions, "executions", task_id=task_id, limit=2) == [
        mine[:2],
        mine[2:4],
        mine[4:],
    ]
    everything = [execution_id for page in await _pages(app.service.list_executions, "executions", limit=3)
                  for execution_id in page]  # fmt: skip
    assert everything == sorted(mine + ran[other], reverse=True)


@pytest.mark.parametrize(
    "cursor",
    ["eA", "eA==", "", "zzzz", "\x00", "é", to_cursor(""), to_cursor("0199c0de"), to_cursor("' OR 1=1 --"),
     to_cursor("0199C0DE-0000-7000-8000-000000000000"), to_cursor("0199c0de-0000-7000-8000-000000000000\n"), 7],
)  # fmt: skip
async def test_a_cursor_that_holds_no_id_is_refused(app: App, cursor: Any) -> None:
    """`eA` is base64 of x."""
    await app.schedule()
    for listed in (app.service.list_tasks, app.service.list_executions):
        assert code_of(await listed(cursor=cursor)) == "INVALID_CURSOR"
