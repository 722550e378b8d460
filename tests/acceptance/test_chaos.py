"""Processes on one database that are killed with -9, suspended and stopped, and a database that crashes: every
invariant holds afterwards. `make chaos` is the long form."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.checker import violations
from tests.chaos.run import Plan, place_for, quiet_logs, run, summary

KILLS = 5
PACE = 1.0
LONGEST = 20.0  # seconds of trouble at most, on however slow a machine


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_no_invariant_is_broken(database: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Four processes; PostgreSQL is a server of its own and is ended at once, half-way, and started again."""
    if database == "postgresql":
        request.getfixturevalue("postgres_server")  # which says what to do where there is none
    plan = Plan(database, kills=KILLS, seed=20260302, pace=PACE, longest=LONGEST)
    with quiet_logs(), place_for(database, tmp_path) as place:
        evidence = asyncio.run(run(plan, place))
    assert violations(evidence) == [], summary(evidence)
    troubles = Counter(trouble.what for trouble in evidence.troubles)
    assert troubles["killed"] >= 2, summary(evidence)
    assert (troubles["outage"] > 0) == (database == "postgresql"), summary(evidence)
    states = Counter(execution.state for execution in evidence.executions)
    assert states["succeeded"] > 10, summary(evidence)
