"""What a dead process left behind is found by its lease and run again; a late answer changes nothing."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import ANY

import pytest

from modules.core.scheduler import ExecutionContext
from modules.core.scheduler.db_ops import Finished
from modules.core.scheduler.outcomes import Outcome
from tests.integration.scheduler.conftest import work
from tests.support.app import MODULE, App, manual_clock, running_app

LEASE = 30


async def _claim_and_die(app: App) -> list[Any]:
    """Fire what is due as a node that then never says another word."""
    started: list[Any] = []
    app.service.dispatcher._accept = started.extend  # type: ignore[method-assign]
    app.service.wake()
    await app.service.dispatcher.tick()
    del app.service.dispatcher._accept
    return started


def finished(claim: Any, now: datetime, *, result: Any = None, fence: int | None = None) -> Finished:
    """A success of that claim, as its worker reports it."""
    outcome = Outcome("succeeded", result=result)
    event_id, fence = claim.event.id, claim.fence if fence is None else fence
    return Finished(claim.execution_id, event_id, fence, outcome, claim.due, now, duration_ms=1, cpu_ms=1)


async def test_an_execution_of_a_dead_process_is_abandoned_and_tried_again(app: App) -> None:
    task_id = await app.schedule()
    [claim] = await _claim_and_die(app)
    app.clock.advance(LEASE - 1)
    await app.service.recovery.tick()
    assert await app.run_due() == [], "a lease that holds was broken"
    app.clock.advance(2)
    await app.service.recovery.tick()
    [second] = await app.run_due()
    first, again = await app.history(task_id)
    assert (first["id"], first["state"], first["success"]) == (claim.execution_id, "abandoned", False)
    assert (again["id"], again["attempt"], again["success"]) == (second["id"], 2, True)
    assert again["scheduled_for"] == first["scheduled_for"]
    assert (await app.task(task_id))["status"] == "completed"


async def test_three_deaths_end_an_occurrence_as_failed(app: App) -> None:
    task_id = await app.schedule()
    fences = []
    for _ in range(3):
        [claim] = await _claim_and_die(app)
        fences.append((claim.attempt, claim.fence))
        app.clock.advance(LEASE + 1)
        await app.service.recovery.tick()
    assert fences == [(1, 1), (2, 2), (3, 3)], "each attempt has a higher fence, which storage can tell apart"
    assert await app.run_due() == []
    assert [row["state"] for row in await app.history(task_id)] == ["abandoned"] * 3
    assert (await app.task(task_id))["status"] == "failed"


async def test_at_most_once_never_runs_again(app: App) -> None:
    task_id = await app.schedule(delivery="at_most_once")
    await _claim_and_die(app)
    app.clock.advance(LEASE + 1)
    await app.service.recovery.tick()
    assert await app.run_due() == []
    assert [row["state"] for row in await app.history(task_id)] == ["abandoned"]


async def test_a_recurring_task_goes_on_after_a_death(app: App) -> None:
    task_id = await app.schedule(interval="1 hour", delivery="at_most_once")
    app.clock.advance(hours=1)
    await _claim_and_die(app)
    app.clock.advance(LEASE + 1)
    await app.service.recovery.tick()
    assert (await app.task(task_id))["status"] == "pending"
    app.clock.advance(hours=1)
    assert len(await app.run_due()) == 1


async def test_an_outcome_that_comes_after_the_lease_was_lost_is_not_recorded(app: App) -> None:
    task_id = await app.schedule()
    [claim] = await _claim_and_die(app)
    app.clock.advance(LEASE + 1)
    await app.service.recovery.tick()
    late = finished(claim, app.clock.now(), result="late")
    settler = app.service.job_manager.settler
    assert (await app.runtime.db_ops.complete_executions([late], settler, app.clock.now())).ids == set()
    assert (await app.history(task_id))[0]["state"] == "abandoned"
    await app.run_due()
    assert [row["state"] for row in await app.history(task_id)] == ["abandoned", "succeeded"]


async def test_an_outcome_is_recorded_once(app: App) -> None:
    task_id = await app.schedule()
    [claim] = await _claim_and_die(app)
    outcome = finished(claim, app.clock.now())
    settler = app.service.job_manager.settler
    recorded = await app.runtime.db_ops.complete_executions([outcome], settler, app.clock.now())
    assert recorded.ids == {claim.execution_id}
    assert (await app.runtime.db_ops.complete_executions([outcome], settler, app.clock.now())).ids == set()
    assert (await app.task(task_id))["execution_count"] == 1


async def test_an_execution_that_this_process_still_runs_is_not_recovered(database_url: str) -> None:
    release = asyncio.Event()

    async def slow(parameters: dict[str, Any]) -> None:
        await release.wait()

    async with running_app(database_url, slow, clock=manual_clock()) as app:
        task_id = await app.schedule("slow")
        running = asyncio.create_task(app.run_due())
        while not app.service.job_manager.running:
            await asyncio.sleep(0)
        app.clock.advance(LEASE * 10)
        await app.service.recovery.tick()
        release.set()
        await running
        assert [row["state"] for row in await app.history(task_id)] == ["succeeded"]


async def test_heartbeats_keep_a_lease_alive(app: App) -> None:
    task_id = await app.schedule()
    [claim] = await _claim_and_die(app)
    db_ops, settler = app.runtime.db_ops, app.service.job_manager.settler
    for _ in range(3):
        now = app.clock.now()
        lease = timedelta(seconds=LEASE)
        held = await db_ops.extend_leases(app.runtime.node_id, {claim.execution_id}, now, lease)
        assert held == {claim.execution_id}
        for _ in range(2):  # between two beats, and at the very end of the lease
            app.clock.advance(LEASE / 2)
            assert await db_ops.recover("another node", (), settler, app.clock.now(), app.clock.now()) == ([], ANY)
    assert [row["state"] for row in await app.history(task_id)] == ["running"]
    app.clock.advance(1)
    assert await db_ops.recover("another node", (), settler, app.clock.now(), app.clock.now()) == (
        [claim.execution_id],
        ANY,
    )


async def test_an_execution_that_cannot_be_read_keeps_no_other_from_being_recovered(sqlite_url: str) -> None:
    async with running_app(sqlite_url, work, clock=manual_clock()) as app:
        broken, good = [await app.schedule() for _ in range(2)]
        await _claim_and_die(app)
        await app.sql("UPDATE scheduler_events SET retry = '{broken' WHERE id = :id", id=broken)
        app.clock.advance(LEASE + 1)
        await app.service.recovery.tick()
        assert [row["state"] for row in await app.history(broken)] == ["abandoned"]
        assert [row["state"] for row in await app.history(good)] == ["abandoned", "ready"]
        assert (await app.task(broken))["status"] == "failed", "a one-time task that is over is not pending"


async def test_an_attempt_that_is_on_record_already_keeps_no_other_from_being_recovered(app: App) -> None:
    odd, good = [await app.schedule() for _ in range(2)]
    await _claim_and_die(app)
    columns = "event_id, scheduled_for, kind, failures, abandonments, run_at, priority, fence, cancel_requested"
    await app.sql(
        f"INSERT INTO scheduler_executions (id, start_time, end_time, success, state, attempt, {columns}) "
        f"SELECT 'by hand', start_time, start_time, :no, 'failed', 2, {columns} "
        "FROM scheduler_executions WHERE event_id = :id",
        id=odd,
        no=False,
    )
    app.clock.advance(LEASE + 1)
    await app.service.recovery.tick()
    assert sorted(row["state"] for row in await app.history(odd)) == ["abandoned", "failed"]
    assert [row["state"] for row in await app.history(good)] == ["abandoned", "ready"]


async def test_what_was_claimed_too_long_ago_starts_only_while_it_is_still_held(app: App) -> None:
    """The process stood still between the claim and the start: another node may have recovered the execution."""
    fire_and_claim = app.runtime.db_ops.fire_and_claim

    async def slowly(request: Any) -> Any:
        result = await fire_and_claim(request)
        app.clock.advance(LEASE + 1)
        if lost:
            await app.runtime.db_ops.recover(
                "another node", (), app.service.job_manager.settler, app.clock.now(), app.clock.now()
            )
        return result

    ran: list[str] = []

    async def note(parameters: dict[str, Any], context: ExecutionContext) -> None:
        ran.append(context.task_id)

    app.runtime.db_ops.fire_and_claim = slowly  # type: ignore[method-assign]
    app.runtime.registry.register(MODULE, note)
    lost = False
    kept = await app.schedule("note")
    await app.service.run_due()
    assert [row["state"] for row in await app.history(kept)] == ["succeeded"]
    lost = True
    taken = await app.schedule("note", delivery="at_most_once")
    await app.service.run_due()
    assert [row["state"] for row in await app.history(taken)] == ["abandoned"]
    assert ran == [kept], "what another node has recovered was started here too"


@pytest.mark.parametrize(
    ("claiming", "renewals"),
    [(LEASE * 0.8, []), (LEASE * 0.8 + 0.1, [0]), (LEASE * 2, [LEASE * 0.8 + 0.1, LEASE * 0.9, LEASE * 0.8])],
)
async def test_a_lease_is_renewed_before_the_start_until_it_can_be_trusted(
    app: App, claiming: float, renewals: list[float]
) -> None:
    """For four fifths of its length, counted from before the question: claiming and renewing may take long as well."""
    fire_and_claim, extend_leases = app.runtime.db_ops.fire_and_claim, app.runtime.db_ops.extend_leases
    still_to_come = list(renewals)

    async def claim_slowly(request: Any) -> Any:
        result = await fire_and_claim(request)
        if result.claims:
            app.clock.advance(claiming)
        return result

    async def renew_slowly(node: str, ids: Any, now: Any, lease: Any) -> Any:
        assert lease == timedelta(seconds=LEASE)
        assert now == app.clock.now()
        held = await extend_leases(node, ids, now, lease)
        app.clock.advance(still_to_come.pop(0))
        return held

    app.runtime.db_ops.fire_and_claim = claim_slowly  # type: ignore[method-assign]
    app.runtime.db_ops.extend_leases = renew_slowly  # type: ignore[method-assign]
    await app.schedule()
    assert [row["success"] for row in await app.run_due()] == [True]
    assert still_to_come == []


async def test_claims_are_held_before_they_run(app: App) -> None:
    """A task that blocks the loop must not cost those their leases that were claimed with it."""
    held: list[int] = []

    async def record(parameters: dict[str, Any]) -> None:
        held.append(len(app.service.job_manager.running))

    app.runtime.registry.register(MODULE, record)
    for _ in range(3):
        await app.schedule("record")
    recorder = app.service.job_manager.recorder
    recorder.start()
    await app.service.dispatcher.tick()
    assert len(app.service.job_manager.running) == 3, "the loop may stand still before the first of them begins"
    assert held == []
    await app.service.dispatcher.settled(10)
    await recorder.stop(10)
    assert held[0] == 3
    assert app.service.job_manager.running == set()
