"""Days in seconds: the real engine on a virtual clock, and what its ledger says of each fire time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from modules.core.scheduler.errors import InvalidTask
from modules.core.scheduler.simulation import Action, ClockStep, Downtime, Suspend, Work, simulate

START = datetime(2026, 3, 1, tzinfo=UTC)
HOURLY = {"name": "hourly", "cron_expression": "0 * * * *"}


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def short(entries: list[dict[str, Any]]) -> list[tuple[str, datetime, int, str | None]]:
    return [(entry["verdict"], entry["from_time"], entry["count"], entry["reason"]) for entry in entries]


def states(entry: dict[str, Any]) -> list[str]:
    return [attempt["state"] for attempt in entry["attempts"]]


def test_a_crash_is_recovered_and_its_fire_times_are_missed() -> None:
    down = Downtime(at(2) + timedelta(seconds=10), at(5.5))
    simulated = simulate(HOURLY, START, at(7), runtimes={"hourly": 60}, downtimes=[down])
    ledger = simulated.ledger("hourly")
    assert short(ledger) == [
        ("executed", at(1), 1, None),
        ("executed", at(2), 1, None),
        ("missed", at(3), 2, "coalesced"),
        ("executed", at(5), 1, None),
        ("executed", at(6), 1, None),
        ("running", at(7), 1, None),
    ]
    assert states(ledger[1]) == ["abandoned", "succeeded"]
    assert ledger[0]["attempts"][0]["end_time"] == at(1) + timedelta(seconds=60)


def test_a_stop_in_order_lets_short_work_end_and_interrupts_the_rest() -> None:
    for seconds, expected in ((20, ["succeeded"]), (200, ["interrupted", "succeeded"])):
        down = Downtime(at(2) + timedelta(seconds=10), at(2.5), crash=False)
        simulated = simulate(HOURLY, START, at(3.5), runtimes={"hourly": seconds}, downtimes=[down])
        assert states(simulated.ledger("hourly")[1]) == expected


def test_slow_work_overlaps_and_time_runs_out_virtually() -> None:
    tasks = [HOURLY | {"timeout_seconds": 9000}, {"name": "stuck", "cron_expression": "0 1 * * *"}]
    runtimes = {"hourly": Work([0, 8000, 0]), "stuck": 86_400.0}
    simulated = simulate(tasks, START, at(5), runtimes=runtimes)
    assert short(simulated.ledger("hourly")) == [
        ("executed", at(1), 1, None),
        ("executed", at(2), 1, None),
        ("missed", at(3), 2, "overlap"),
        ("executed", at(5), 1, None),
    ]
    [stuck] = simulated.ledger("stuck")
    assert (states(stuck), stuck["attempts"][0]["end_time"]) == (["timed_out"], at(1) + timedelta(seconds=300))


def test_failures_are_tried_again() -> None:
    retry = {"max_attempts": 2, "backoff": "fixed", "delay_seconds": 60, "jitter": False}
    work = Work(fails_at=[at(2)])
    ledger = simulate(HOURLY | {"retry": retry}, START, at(3.5), runtimes={"hourly": work}).ledger("hourly")
    assert [states(entry) for entry in ledger] == [["succeeded"], ["failed", "failed"], ["succeeded"]]


@pytest.mark.parametrize("change", [ClockStep(at(1.5), 3 * 3600), Suspend(at(1.5), 3 * 3600)])
def test_time_that_was_skipped_is_on_record(change: Any) -> None:
    steps = {"clock_steps": [change]} if isinstance(change, ClockStep) else {"suspends": [change]}
    assert short(simulate(HOURLY, START, at(5.5), **steps).ledger("hourly")) == [
        ("executed", at(1), 1, None),
        ("missed", at(2), 2, "coalesced"),
        ("executed", at(4), 1, None),
        ("executed", at(5), 1, None),
    ]


def test_a_clock_that_is_put_back_fires_nothing_twice() -> None:
    ledger = simulate(HOURLY, START, at(4.5), clock_steps=[ClockStep(at(2.5), -3600)]).ledger("hourly")
    assert short(ledger) == [("executed", at(hour), 1, None) for hour in (1, 2, 3, 4)]


def test_daylight_saving() -> None:
    """The gap of 2026-03-29 in Berlin: half past two fires at three, once."""
    task = {"name": "night", "cron_expression": "30 2 * * *", "timezone": "Europe/Berlin"}
    start = datetime(2026, 3, 28, tzinfo=UTC)
    fired = [entry["from_time"] for entry in simulate(task, start, start + timedelta(days=3)).ledger("night")]
    assert [f"{moment:%d %H:%M}" for moment in fired] == ["28 01:30", "29 01:00", "30 00:30"]


def test_somebody_may_act_meanwhile() -> None:
    actions = [
        Action(at(1.5), lambda service, tasks: service.pause_task(tasks["hourly"])),
        Action(at(3.5), lambda service, tasks: service.resume_task(tasks["hourly"])),
    ]
    assert short(simulate(HOURLY, START, at(4.5), actions=actions, expand=True).ledger("hourly")) == [
        ("executed", at(1), 1, None),
        ("missed", at(2), 1, "paused"),
        ("missed", at(3), 1, "paused"),
        ("executed", at(4), 1, None),
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"tasks": []}, "nothing to simulate"),
        ({"tasks": [HOURLY, HOURLY]}, "Two tasks are called 'hourly'"),
        ({"until": START}, "until must lie after from"),
        ({"from_": datetime(2026, 3, 1)}, "aware times"),
        ({"runtimes": {"daily": 1}}, "no task 'daily'"),
        ({"downtimes": [Downtime(at(2), at(1))]}, "must end after it began"),
        ({"clock_steps": [ClockStep(at(99), 1)]}, "must lie between"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidTask, match=says):
        simulate(**{"tasks": HOURLY, "from_": START, "until": at(5), **arguments})


async def test_in_async_code_it_runs_in_a_thread() -> None:
    with pytest.raises(InvalidTask, match="to_thread"):
        simulate(HOURLY, START, at(2))
    simulated = await asyncio.to_thread(simulate, HOURLY, START, at(2))
    assert len(simulated.ledger("hourly")) == 2
