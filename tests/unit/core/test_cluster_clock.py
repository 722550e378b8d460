"""Whose time counts: the machine's as long as it is right, the database's when it is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from modules.core.clock import SystemClock
from modules.core.scheduler.cluster_clock import ClusterClock, cluster_clock
from modules.core.scheduler.testing import ManualClock

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def _clock() -> ClusterClock:
    return ClusterClock(ManualClock(NOON))


@pytest.mark.parametrize("seconds", [0, 0.9, -0.9, 1, -1])
def test_a_clock_that_is_nearly_right_is_left_alone(seconds: float) -> None:
    """The network says no more than that."""
    clock = _clock()
    clock.measured(seconds * SECOND)
    assert clock.now() == NOON
    assert not clock.off
    assert clock.offset_ms == seconds * 1000


@pytest.mark.parametrize("seconds", [1.1, -1.1, 600, -600])
def test_a_clock_that_is_wrong_is_put_right(seconds: float) -> None:
    clock = _clock()
    assert clock.now() == NOON, "nothing is known yet"
    clock.measured(seconds * SECOND)
    assert clock.now() == NOON + seconds * SECOND


def test_at_the_limit_it_does_not_go_to_and_fro() -> None:
    """Followed above a second, and left again below half of one."""
    clock = _clock()
    for seconds, correction in [(0.9, 0), (1.1, 1.1), (0.9, 0.9), (0.6, 0.6), (0.4, 0), (0.9, 0)]:
        clock.measured(seconds * SECOND)
        assert clock.now() == NOON + correction * SECOND


def test_five_seconds_are_a_case_for_somebody(caplog: pytest.LogCaptureFixture) -> None:
    """Said once, and again only when it was mended in between."""
    clock = _clock()
    for seconds, said in [(5, 0), (5.1, 1), (5.2, 1), (-7, 1), (0, 1), (-600, 2)]:
        clock.measured(seconds * SECOND)
        assert clock.off is (abs(seconds) > 5)
        assert len(caplog.records) == said
    assert "5.1 s behind the database's" in caplog.messages[0]
    assert "600.0 s ahead of the database's" in caplog.messages[1]
    assert "NTP" in caplog.messages[0]


async def test_waiting_is_the_machines_and_a_moment_the_databases() -> None:
    machine = ManualClock(NOON)
    clock = ClusterClock(machine)
    clock.measured(60 * SECOND)
    await clock.sleep_until(NOON + 60 * SECOND)  # that is now
    assert clock.monotonic() == machine.monotonic()


class Machine(SystemClock):
    """A machine's clock that a test looks over."""


def test_only_nodes_on_postgresql_with_clocks_of_their_own_need_it() -> None:
    """SQLite's nodes share a machine; a clock that somebody injected is meant as it is."""
    assert isinstance(cluster_clock(SystemClock(), "postgresql"), ClusterClock)
    assert isinstance(cluster_clock(Machine(), "postgresql"), ClusterClock)
    for clock, dialect in [(SystemClock(), "sqlite"), (ManualClock(NOON), "postgresql"), (ManualClock(NOON), "sqlite")]:
        assert cluster_clock(clock, dialect) is clock
