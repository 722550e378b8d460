"""How a downtime is told."""

from __future__ import annotations

from datetime import timedelta

import pytest

from modules.core.scheduler.downtime import Overdue, duration, in_words


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(hours=2, minutes=14, seconds=29), "2 h 14 min"),
        (timedelta(hours=2), "2 h"),
        (timedelta(seconds=65), "1 min 5 s"),
        (timedelta(seconds=59.6), "1 min"),
        (timedelta(seconds=0.2), "0 s"),
        (timedelta(days=400, minutes=3), "400 d"),
        (timedelta(days=1, hours=3), "1 d 3 h"),
        (timedelta(seconds=-5), "0 s"),
    ],
)
def test_a_duration_has_two_units(length: timedelta, words: str) -> None:
    assert duration(length) == words


@pytest.mark.parametrize(
    ("overdue", "words"),
    [
        (
            Overdue(3, 37, 3),
            "down 2 h 14 min: 37 fire times of 3 tasks; 3 will run, 34 recorded as missed",
        ),
        (Overdue(1, 1, 1), "down 2 h 14 min: 1 fire time of 1 task; 1 will run, 0 recorded as missed"),
        (
            Overdue(1000, 5000, 1000, complete=False),
            "down 2 h 14 min: at least 5000 fire times of at least 1000 tasks; 1000 will run, 4000 recorded as missed",
        ),
        (Overdue(), "down 2 h 14 min: no fire time fell into it"),
        (None, "down 2 h 14 min"),
    ],
)
def test_a_downtime_is_one_sentence(overdue: Overdue | None, words: str) -> None:
    assert in_words(timedelta(hours=2, minutes=14), overdue) == words


def test_a_task_without_fire_times_does_not_count() -> None:
    assert Overdue().with_task(3, 1).with_task(0, 0).with_task(2, 2) == Overdue(2, 5, 3)
