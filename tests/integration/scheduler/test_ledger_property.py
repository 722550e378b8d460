"""Whatever happens to a task and its process: every nominal fire time has exactly one verdict."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from modules.core.scheduler.simulation import Action, Downtime, Work, simulate

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTES = 240
MOMENT = timedelta(seconds=7)  # nothing is done at a fire time itself


def at(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


@settings(max_examples=5, deadline=None)
@given(
    moments=st.lists(st.integers(1, MINUTES - 10), min_size=6, max_size=6, unique=True).map(sorted),
    crash=st.booleans(),
    seconds=st.lists(st.sampled_from((0, 5, 100, 290)), min_size=1, max_size=6),
    catch_up=st.sampled_from(("none", "latest", "all")),
    order=st.permutations(("down", "pause", "edit")),
)
def test_every_fire_time_has_exactly_one_verdict(
    moments: list[int], crash: bool, seconds: list[int], catch_up: str, order: list[str]
) -> None:
    spans = {what: (at(moments[2 * i]) + MOMENT, at(moments[2 * i + 1]) + MOMENT) for i, what in enumerate(order)}
    down, pause, (edited, _) = spans["down"], spans["pause"], spans["edit"]
    actions = [
        Action(pause[0], lambda service, tasks: service.pause_task(tasks["t"])),
        Action(pause[1], lambda service, tasks: service.resume_task(tasks["t"])),
        Action(edited, lambda service, tasks: service.update_task(tasks["t"], {"cron_expression": "*/3 * * * *"})),
    ]
    simulated = simulate(
        {"name": "t", "cron_expression": "* * * * *", "catch_up": catch_up},
        START,
        at(MINUTES),
        runtimes={"t": Work(seconds)},
        downtimes=[Downtime(*down, crash=crash)],
        actions=actions,
    )
    nominal = [at(minute) for minute in range(1, MINUTES + 1) if at(minute) < edited or minute % 3 == 0]
    entries = simulated.ledger("t")
    for moment in nominal:
        assert sum(entry["from_time"] <= moment <= entry["until_time"] for entry in entries) == 1, moment
    assert sum(entry["count"] for entry in entries) == len(nominal)
