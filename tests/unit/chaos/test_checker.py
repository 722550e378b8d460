"""The checker finds nothing in good histories, and in a bad one what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.chaos.checker import INVARIANTS, broken, violations
from tests.chaos.evidence import Missed, Trouble
from tests.unit.chaos.story import Story, at

SECOND = timedelta(seconds=1)


def good() -> Story:
    """Four tasks: one recurs and loses a process, one is at most once, one is paused and edited, one fails and is
    tried again; and a process that stood still."""
    story = Story()
    _recurring_task_that_loses_a_process(story)
    _task_that_runs_at_most_once(story)
    _task_that_is_paused_and_edited(story)
    _task_that_fails_and_is_suspended(story)
    return story


def _recurring_task_that_loses_a_process(story: Story) -> None:
    story.call(0, "schedule", "r")
    story.event(0.05, "r", status="pending", next_execution=at(1), anchor_time=at(0), interval=SECOND, max_executions=9)
    story.claim(0.9, "r1", event_id="r", scheduled_for=at(1), fence=1)
    story.event(0.9, "r", fired_count=1, fence=1, active_execution_id="r1", next_execution=at(2))
    story.line(1, "r1")
    story.line(3.5, "r1", "done")
    story.close(3.6, "r1", "succeeded")
    story.missed.append(Missed("r", at(2), at(3), 2, "overlap"))
    story.event(3.6, "r", fence=2, active_execution_id=None, next_execution=at(4))
    story.claim(4, "r4", event_id="r", scheduled_for=at(4), fence=3, node_id="n2")
    story.event(4, "r", fired_count=2, fence=3, active_execution_id="r4", next_execution=at(5))
    story.line(4.01, "r4")
    story.troubles.append(Trouble("killed", at(4.5), at(4.5), 2))
    story.close(6.5, "r4", "abandoned")
    story.execution(
        6.5, "r4b", event_id="r", scheduled_for=at(4), state="ready", fence=4, attempt=2, abandonments=1, run_at=at(6.5)
    )
    story.event(6.5, "r", fence=4, active_execution_id="r4b")
    story.claim(6.6, "r4b")
    story.line(6.61, "r4b")
    story.line(6.7, "r4b", "done")
    story.close(6.7, "r4b", "succeeded")
    story.event(6.7, "r", fence=5, active_execution_id=None)
    story.call(6.8, "cancel", "r")
    story.missed.append(Missed("r", at(5), at(6), 2, "disabled"))
    story.event(6.85, "r", status="cancelled", next_execution=None, version=2)


def _task_that_runs_at_most_once(story: Story) -> None:
    story.event(0, "o", status="pending", next_execution=at(1), delivery="at_most_once")
    story.claim(1, "o1", event_id="o", scheduled_for=at(1), fence=1, node_id="n2")
    story.event(1, "o", fired_count=1, fence=1, active_execution_id="o1", next_execution=None)
    story.line(1.01, "o1", process=3)
    story.troubles.append(Trouble("killed", at(1.5), at(1.5), 3))
    story.close(3.5, "o1", "abandoned")
    story.event(3.5, "o", status="failed", fence=2, active_execution_id=None)


def _task_that_is_paused_and_edited(story: Story) -> None:
    story.event(0, "p", status="pending", next_execution=at(10), anchor_time=at(0), interval=10 * SECOND)
    story.claim(10, "p10", event_id="p", scheduled_for=at(10), fence=1)
    story.event(10, "p", fired_count=1, fence=1, active_execution_id="p10", next_execution=at(20))
    story.call(10.01, "pause", "p")
    story.event(10.05, "p", status="paused", version=2)
    story.line(10.15, "p10")  # claimed before the answer
    story.line(10.2, "p10", "done")
    story.close(10.2, "p10", "succeeded")
    story.event(10.2, "p", fence=2, active_execution_id=None)
    story.call(11, "execute", "p", detail="by hand")
    story.execution(
        11.05, "by hand", event_id="p", scheduled_for=at(11), kind="manual", state="ready", fence=3, run_at=at(11)
    )
    story.event(11.05, "p", fence=3, active_execution_id="by hand")
    story.claim(11.1, "by hand")
    story.line(11.2, "by hand")
    story.line(11.3, "by hand", "done")
    story.close(11.3, "by hand", "succeeded")
    story.event(11.3, "p", fence=4, active_execution_id=None)
    story.call(25, "edit", "p", detail=1)
    story.missed.append(Missed("p", at(20), at(20), 1, "paused"))
    story.event(25.05, "p", edit=1, version=3, interval=20 * SECOND, next_execution=at(40))
    story.call(26, "resume", "p")
    story.event(26.05, "p", status="pending", version=4)
    story.call(27, "edit", "p", detail=2, answered=None, answer=None)  # nobody knows; it was not made
    story.call(30, "cancel", "p")
    story.event(30.05, "p", status="cancelled", next_execution=None, version=5)


def _task_that_fails_and_is_suspended(story: Story) -> None:
    story.event(0, "f", status="pending", next_execution=at(1), max_attempts=2)
    story.claim(0.95, "f1", event_id="f", scheduled_for=at(1), fence=1)
    story.execution(0.96, "f1", state="ready", node_id=None, lease_expires_at=None)  # given back
    story.event(0.95, "f", fired_count=1, fence=1, active_execution_id="f1", next_execution=None)
    story.claim(1, "f1", node_id="n4")
    story.troubles.append(Trouble("suspended", at(1.1), at(9), 4))
    story.close(4, "f1", "abandoned")
    retry = {"event_id": "f", "scheduled_for": at(1), "state": "ready", "abandonments": 1}
    story.execution(4, "f2", fence=2, attempt=2, run_at=at(4), **retry)
    story.event(4, "f", fence=2, active_execution_id="f2")
    story.claim(4.1, "f2")
    story.line(4.2, "f2")
    story.line(9, "f1")  # it could not know
    story.line(9.1, "f1", "done")
    story.line(9.2, "f2", "failed")
    story.close(9.2, "f2", "failed")
    story.execution(9.2, "f3", fence=3, attempt=3, failures=1, run_at=at(9.2), **retry)
    story.event(9.2, "f", fence=3, active_execution_id="f3")
    story.claim(9.3, "f3")
    story.line(9.3, "f3")
    story.line(9.4, "f3", "failed")
    story.close(9.4, "f3", "failed")
    story.event(9.4, "f", status="failed", fence=4, active_execution_id=None)


def test_a_good_history_breaks_nothing() -> None:
    assert violations(good().evidence()) == []


def test_no_history_breaks_nothing() -> None:
    assert violations(Story().evidence()) == []


def _set(row_id: str, **fields: Any) -> Callable[[Story], None]:
    """The row has always been so."""
    return lambda story: story.change_rows(lambda row: replace(row, **fields) if row.id == row_id else row)


def _without(row_id: str) -> Callable[[Story], None]:
    """The row has never been there."""
    return lambda story: story.change_rows(lambda row: None if row.id == row_id else row)


def _then(step: str, *arguments: Any, **fields: Any) -> Callable[[Story], None]:
    """One thing more happened, in the end."""
    return lambda story: getattr(story, step)(*arguments, **fields)


def _lines(execution_id: str, **fields: Any) -> Callable[[Story], None]:
    """The function wrote something else."""

    def change(story: Story) -> None:
        story.lines = [replace(line, **fields) if line.execution_id == execution_id else line for line in story.lines]

    return change


def _silent(execution_id: str, what: str) -> Callable[[Story], None]:
    """The function never wrote that line."""

    def change(story: Story) -> None:
        story.lines = [line for line in story.lines if (line.execution_id, line.what) != (execution_id, what)]

    return change


def _missed(*spans: Missed) -> Callable[[Story], None]:
    """Exactly these spans are on record for their events."""

    def change(story: Story) -> None:
        events = {span.event_id for span in spans}
        story.missed = [span for span in story.missed if span.event_id not in events] + list(spans)

    return change


def _no_troubles(story: Story) -> None:
    story.troubles = []


def _made_by_two(story: Story) -> None:
    """Two nodes fired the same occurrence."""
    story.claim(4.2, "twin", event_id="r", scheduled_for=at(4), fence=3, node_id="n3")
    story.close(4.3, "twin", "failed")


def _second_attempt_by_hand(story: Story) -> None:
    story.execution(20, "o2", event_id="o", scheduled_for=at(1), state="failed", fence=3, attempt=2, abandonments=1)


def _revived(story: Story) -> None:
    """A stale worker records its success over the abandonment."""
    story.close(9, "r4", "succeeded")


def _freed_unchecked(story: Story) -> None:
    """The event was freed while its second attempt ran, and fired again."""
    story.execution_changes = [change for change in story.execution_changes if change.row.id != "r4b"]
    story.claim(6.6, "r4b", event_id="r", scheduled_for=at(4), fence=4, attempt=2, abandonments=1)
    story.claim(6.65, "r5", event_id="r", scheduled_for=at(5), fence=5)
    story.close(6.7, "r4b", "succeeded")
    story.close(6.7, "r5", "succeeded")


def _abandoned_early(story: Story) -> None:
    story.execution_changes = [
        replace(change, at=at(5)) if (change.row.id, change.row.state) == ("r4", "abandoned") else change
        for change in story.execution_changes
    ]


def _lease_cut(story: Story) -> None:
    story.claim(40, "x", event_id="o", scheduled_for=at(40), fence=9)
    story.execution(40.5, "x", lease_expires_at=at(40))
    story.close(41, "x", "succeeded")


def _found_late(story: Story) -> None:
    story.claim(20, "late", event_id="f", scheduled_for=at(20), fence=9)
    story.close(29, "late", "abandoned")


def _vanished(story: Story) -> None:
    """The event moved on in one transaction; the crash came before the one that would have made the execution."""
    story.change_rows(lambda row: None if row.id in ("r4", "r4b") else row)
    story.lines = [line for line in story.lines if line.execution_id not in ("r4", "r4b")]


def _overwritten(status: str, when: float, event_id: str) -> Callable[[Story], None]:
    """Somebody wrote the status that he had read before."""

    def change(story: Story) -> None:
        story.event(when, event_id, status=status)
        last = story.event_changes.pop()
        place = next(n for n, change in enumerate(story.event_changes) if change.at > last.at)
        story.event_changes.insert(place, last)

    return change


def _claimed(execution_id: str, when: float) -> Callable[[Story], None]:
    """It was claimed at another time."""

    def change(story: Story) -> None:
        story.execution_changes = [
            replace(change, at=at(when)) if (change.row.id, change.row.state) == (execution_id, "running") else change
            for change in story.execution_changes
        ]

    return change


def _one_time_ended_without_a_run(story: Story) -> None:
    story.event(0, "never", status="pending", next_execution=at(1))
    story.event(2, "never", status="completed", next_execution=None)


def _moved_back(story: Story) -> None:
    """As if nobody had fired; and without a new version."""
    story.event(50, "p", next_execution=at(60), version=6)
    story.event(51, "p", next_execution=at(50))


BAD: dict[str, list[Callable[[Story], None]]] = {
    "attempts_are_numbered_without_gaps": [_set("r4b", attempt=3), _set("r4b", attempt=1), _made_by_two],
    "an_occurrence_succeeds_once": [_revived, _set("f1", state="succeeded"), _set("f2", state="running")],
    "counters_match_the_chain": [_set("r4b", abandonments=0), _set("f3", failures=2)],
    "no_chain_breaks_off": [
        _set("o", delivery="at_least_once"),
        _without("f3"),
        _set("f3", state="interrupted"),
    ],
    "at_most_once_has_one_attempt": [_second_attempt_by_hand, _then("line", 2, "o1")],
    "nothing_stays_open": [
        _then("claim", 59, "late", event_id="o", scheduled_for=at(59), fence=9),
        _then("event", 59, "o", active_execution_id="o1"),
    ],
    "fences_grow": [
        _set("r4b", fence=3),
        _then("event", 59, "o", fence=1),
        _then("execution", 59, "o1", fence=7),
        _set("r", fence=1),
    ],
    "what_is_closed_stays_as_it_is": [_revived, _then("execution", 50, "o1", state="ready", success=None)],
    "one_attempt_lives_at_once": [_freed_unchecked],
    "only_leases_decide": [_abandoned_early, _lease_cut],
    "no_zombie_outlives_its_lease": [_found_late],
    "an_active_execution_exists": [_vanished, _then("event", 50, "o", active_execution_id="r1")],
    "next_execution_moves_forward": [
        _then("event", 50, "o", next_execution=at(1)),
        _moved_back,
    ],
    "the_row_comes_before_the_start": [
        _without("f3"),
        _lines("r1", fence=2),
        _claimed("r1", 1.5),
        _lines("r1", node_id="n7"),
        _no_troubles,
    ],
    "nothing_starts_twice": [_then("line", 12, "by hand")],
    "nothing_starts_early": [_lines("r1", at=at(0.95)), _claimed("r1", 0.5)],
    "functions_do_not_overlap": [_no_troubles, _silent("f2", "end")],
    "a_success_was_earned": [_lines("r1", how="failed"), _silent("r1", "end"), _lines("f3", how="done")],
    "what_fired_is_on_record": [_vanished, _set("r4", fence=9), _without("o1")],
    "limits_are_kept": [_set("r", max_executions=1)],
    "every_fire_time_has_one_verdict": [
        _vanished,
        _missed(Missed("r", at(2), at(4), 3, "overlap")),
        _missed(Missed("r", at(2), at(3), 7, "overlap"), Missed("r", at(5), at(6), 2, "disabled")),
        _missed(Missed("p", at(40), at(40), 1, "paused")),
    ],
    "nothing_runs_at_other_times": [_set("r4", scheduled_for=at(4.5)), _set("o1", scheduled_for=at(2))],
    "nothing_waits_for_ever": [
        _set("o", status="pending"),
        _then("event", 59, "r", status="pending", next_execution=at(7), version=3),
        _one_time_ended_without_a_run,
    ],
    "an_answered_call_survives": [
        _without("r"),
        _without("by hand"),
        _set("by hand", kind="schedule"),
        _set("p", edit=0),
        _set("p", edit=3),
    ],
    "an_answered_pause_is_kept": [_overwritten("pending", 12, "p"), _claimed("p10", 10.12)],
    "an_answered_resume_is_kept": [_overwritten("paused", 28, "p")],
    "an_answered_cancellation_is_kept": [
        _then("event", 50, "r", status="pending"),
        _then("claim", 50, "again", event_id="r", scheduled_for=at(50), kind="manual", fence=9),
    ],
}

CASES = [(name, number) for name, bad in BAD.items() for number in range(len(bad))]


@pytest.mark.parametrize(("name", "number"), CASES)
def test_a_bad_history_is_found_by_the_invariant_that_it_breaks(name: str, number: int) -> None:
    story = good()
    BAD[name][number](story)
    assert broken(story.evidence()).get(name), f"{name} did not notice"


def test_every_invariant_has_a_bad_history() -> None:
    assert set(BAD) == {invariant.__name__ for invariant in INVARIANTS}
