"""Whatever a task function does, it ends as one honest row, and harms no other task."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from modules.core.result import Result
from modules.core.scheduler import ExecutionContext
from modules.core.session import current_session_id
from tests.support.app import MODULE, NOON, manual_clock, running_app

CIRCLE: dict[str, Any] = {}
CIRCLE["self"] = CIRCLE


class Strange:
    def __repr__(self) -> str:
        raise RuntimeError("no repr either")


async def returns_text(parameters: dict[str, Any]) -> str:
    return "done"


async def returns_failure(parameters: dict[str, Any]) -> Result:
    return Result.error(code="EXPORT_FAILED", message="disk full", details={"free": 0})


async def raises(parameters: dict[str, Any]) -> None:
    raise KeyError("missing")


async def returns_junk(parameters: dict[str, Any]) -> Any:
    return {"circle": CIRCLE, "lock": threading.Lock()}


async def returns_strange(parameters: dict[str, Any]) -> Any:
    return Strange()


async def returns_nul(parameters: dict[str, Any]) -> Any:
    return {"text": "a\x00b\ud800", "nan": 1.5}


async def returns_much(parameters: dict[str, Any]) -> Any:
    return "x" * 100_000


class Treacherous(dict[str, Any]):
    def items(self) -> Any:
        raise LookupError("no items")


async def returns_treachery(parameters: dict[str, Any]) -> Any:
    return Treacherous(a=1)


async def returns_depths(parameters: dict[str, Any]) -> Any:
    value: Any = "\x00"
    for _ in range(600):
        value = [value]
    return value


async def returns_half_a_result(parameters: dict[str, Any]) -> Any:
    return Result(None, "oops")  # type: ignore[arg-type]


def never_awaits(parameters: dict[str, Any]) -> Any:
    return returns_text(parameters)


async def cancels_itself(parameters: dict[str, Any]) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def exits(parameters: dict[str, Any]) -> None:
    sys.exit(3)


async def hangs(parameters: dict[str, Any]) -> None:
    await asyncio.Event().wait()


def plain(parameters: dict[str, Any], context: ExecutionContext) -> dict[str, Any]:
    return {"thread": threading.current_thread() is not threading.main_thread(), "session": current_session_id()}


def plain_exits(parameters: dict[str, Any]) -> None:
    raise SystemExit(1)


FUNCTIONS = (
    returns_text,
    returns_failure,
    raises,
    returns_junk,
    returns_strange,
    returns_nul,
    returns_much,
    cancels_itself,
    exits,
    hangs,
    plain,
    plain_exits,
    returns_treachery,
    returns_depths,
    returns_half_a_result,
    never_awaits,
)


@pytest.mark.parametrize(
    ("name", "state", "error_type", "error"),
    [
        ("returns_text", "succeeded", None, None),
        ("returns_failure", "failed", "EXPORT_FAILED", "disk full"),
        ("raises", "failed", "KeyError", "'missing'"),
        ("cancels_itself", "failed", "CancelledError", "cancelled itself"),
        ("exits", "failed", "SystemExit", "3"),
        ("plain_exits", "failed", "SystemExit", "1"),
        ("hangs", "timed_out", "timed_out", "longer than 0.05 s"),
        ("returns_treachery", "succeeded", None, None),
        ("returns_depths", "succeeded", None, None),
        ("never_awaits", "failed", "NotAwaited", "async def"),
    ],
)
async def test_every_end_is_recorded(
    database_url: str, name: str, state: str, error_type: str | None, error: str | None
) -> None:
    async with running_app(database_url, *FUNCTIONS, clock=manual_clock(), max_concurrent_tasks=2) as app:
        task_id = await app.schedule(name, timeout_seconds=0.05 if name == "hangs" else None)
        other = await app.schedule("returns_text")
        executions = {row["task_id"]: row for row in await app.run_due()}
        row = executions[task_id]
        assert (row["state"], row["error_type"], row["success"]) == (state, error_type, state == "succeeded")
        assert (error is None and row["error"] is None) or error in row["error"]
        assert row["end_time"] is not None
        assert row["duration_ms"] >= 0
        assert executions[other]["success"] is True
        task = await app.task(task_id)
        assert task["status"] == ("completed" if state == "succeeded" else "failed")
        assert task["last_error"] == row["error"]


async def test_no_value_leaves_an_execution_open(database_url: str) -> None:
    async with running_app(database_url, *FUNCTIONS, clock=manual_clock()) as app:
        await app.schedule("returns_half_a_result")
        [row] = await app.run_due()
        assert row["end_time"] is not None
        assert app.service.job_manager.running == set()


async def test_results_of_any_kind_can_be_stored_and_read(database_url: str) -> None:
    async with running_app(database_url, *FUNCTIONS, clock=manual_clock()) as app:
        for name in ("returns_junk", "returns_strange", "returns_nul", "returns_much", "returns_failure"):
            await app.schedule(name)
        junk, strange, nul, much, failure = await app.run_due()
        assert junk["success"] is True
        assert "circle" in junk["result"]
        assert strange["result"] == "<Strange that has no repr>"
        assert nul["result"] == {"text": "a\ufffdb?", "nan": 1.5}
        assert much["result"]["truncated"] is True
        assert much["result"]["bytes"] == 100_002
        assert failure["result"] == {"free": 0}


async def test_plain_functions_run_in_a_thread_and_know_their_session(database_url: str) -> None:
    async with running_app(database_url, *FUNCTIONS, clock=manual_clock()) as app:
        await app.schedule("plain")
        [row] = await app.run_due()
        assert row["result"] == {"thread": True, "session": app.context.session_id}


async def test_the_context_tells_the_function_what_it_is(database_url: str) -> None:
    seen: list[ExecutionContext] = []

    async def look(parameters: dict[str, Any], context: ExecutionContext) -> None:
        context.progress(1, 2, "half")
        shown = (await app.service.get_execution(context.execution_id)).unwrap()
        assert shown["progress"] == {"done": 1, "total": 2, "message": "half"}
        assert shown["success"] is None
        assert shown["state"] == "running"
        assert (await app.task(context.task_id))["status"] == "running"
        seen.append(context)

    async with running_app(database_url, look, clock=manual_clock()) as app:
        task_id = await app.schedule("look")
        [row] = await app.run_due()
        assert row["error"] is None
        [context] = seen
        assert (context.task_id, context.execution_id) == (task_id, row["id"])
        assert (context.scheduled_for, context.attempt, context.fence) == (NOON, 1, 1)
        assert context.idempotency_key == f"{task_id}:{NOON.isoformat()}"
        assert context.cancelled is False


class Shape(BaseModel):
    count: int


async def shaped(parameters: Shape) -> int:
    return parameters.count * 2


async def test_parameters_are_checked_when_scheduled_and_again_when_run(database_url: str) -> None:
    async with running_app(database_url, shaped, clock=manual_clock()) as app:
        refused = await app.service.schedule_task(
            {
                "name": "n",
                "module_id": MODULE,
                "function_name": "shaped",
                "parameters": {"count": "x"},
                "schedule_time": NOON,
            }
        )
        assert refused.error is not None
        assert refused.error["code"] == "INVALID_PARAMETERS"
        assert "count" in refused.error["message"]
        good = await app.schedule("shaped", parameters={"count": 21})
        bad = await app.schedule("shaped", parameters={"count": 1})
        await app.sql('UPDATE scheduler_events SET parameters = \'{"count": "x"}\' WHERE id = :id', id=bad)
        rows = {row["task_id"]: row for row in await app.run_due()}
        assert rows[good]["result"] == 42
        assert rows[bad]["error_type"] == "INVALID_PARAMETERS"


class Fragile(BaseModel):
    count: int

    @field_validator("count")
    @classmethod
    def _breaks(cls, value: int) -> int:
        return {1: 1}[value]


async def fragile(parameters: Fragile) -> int:
    return parameters.count


async def test_a_validator_that_breaks_fails_its_execution_only(database_url: str) -> None:
    async with running_app(database_url, fragile, clock=manual_clock()) as app:
        task_id = await app.schedule("fragile", parameters={"count": 1})
        await app.sql("UPDATE scheduler_events SET parameters = '{\"count\": 2}' WHERE id = :id", id=task_id)
        [row] = await app.run_due()
        assert (row["state"], row["error_type"]) == ("failed", "KeyError")
        assert app.service.job_manager.running == set()


async def test_a_thread_that_ignores_its_timeout_keeps_its_slot_and_is_shown(database_url: str) -> None:
    release = threading.Event()

    def stubborn(parameters: dict[str, Any]) -> None:
        release.wait(20)

    async with running_app(database_url, stubborn, clock=manual_clock(), cancel_grace_seconds=0.01) as app:
        task_id = await app.schedule("stubborn", timeout_seconds=0.02, retry={"max_attempts": 3, "delay_seconds": 0})
        running = asyncio.create_task(app.run_due())
        try:
            while not app.service.job_manager.stuck:
                await asyncio.sleep(0.005)
            status = (await app.service.status()).unwrap()
            assert status["slots"]["used"] == 1
            assert [row["task_id"] for row in status["stuck"]] == [task_id]
            assert status["status"] == "degraded"
            while (row := (await app.history(task_id))[0])["end_time"] is None:
                await asyncio.sleep(0.005)
            assert row["state"] == "timed_out"
            app.clock.advance(60)
            await app.service.dispatcher.tick()
            assert [row["state"] for row in await app.history(task_id)] == ["timed_out", "ready"]
            refused = await app.service.execute_task(task_id)
            assert refused.error is not None
            assert refused.error["code"] == "ALREADY_RUNNING"
        finally:
            release.set()
        await running
        assert (await app.service.status()).unwrap()["slots"]["used"] == 0


async def test_what_ended_while_the_loop_stood_still_is_not_late(database_url: str) -> None:
    """Another task blocked the loop past the timeout; this one's work was done long before."""
    asleep = asyncio.Event()

    async def naps(parameters: dict[str, Any]) -> str:
        async def nap() -> str:
            asleep.set()
            await asyncio.sleep(0.001)
            return "rested"

        return await asyncio.create_task(nap())

    async def blocks(parameters: dict[str, Any]) -> None:
        await asleep.wait()
        time.sleep(1.2)

    async with running_app(database_url, naps, blocks, clock=manual_clock()) as app:
        await app.schedule("naps", timeout_seconds=1)
        await app.schedule("blocks")
        napped, blocked = await app.run_due()
        assert (napped["state"], napped["result"]) == ("succeeded", "rested")
        assert blocked["state"] == "succeeded"


async def test_cpu_time_is_that_of_the_function_alone(database_url: str) -> None:
    async def busy(parameters: dict[str, Any]) -> None:
        for _ in range(3):
            sum(range(300_000))
            await asyncio.sleep(0)

    async def idle(parameters: dict[str, Any]) -> None:
        await asyncio.sleep(0.02)

    async with running_app(database_url, busy, idle, clock=manual_clock()) as app:
        await app.schedule("busy")
        await app.schedule("idle")
        busy_row, idle_row = await app.run_due()
        assert busy_row["cpu_ms"] > 5 * idle_row["cpu_ms"]
