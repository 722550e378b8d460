"""What the task functions wrote, held against the tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise

from tests.chaos.evidence import Evidence
from tests.chaos.invariants.journal import claims, closed_at


def the_row_comes_before_the_start(evidence: Evidence) -> Iterator[str]:
    """Whatever started has its row, made before, which says the same of it and was running at that moment."""
    for line in (line for lines in evidence.starts.values() for line in lines):
        row = evidence.execution.get(line.execution_id)
        if row is None:
            yield f"Execution {line.execution_id} of event {line.task_id} was started and has no row."
            continue
        told = line.task_id, line.scheduled_for, line.attempt, line.fence, line.node_id
        if told != (row.event_id, row.scheduled_for, row.attempt, row.fence, row.node_id):
            yield f"The function was told other things than the row holds ({told}): {row}."
        history = evidence.execution_history.get(line.execution_id, [])
        before = [claim for claim in claims(history) if claim.at <= line.at + evidence.rules.clock_step]
        if not before or before[-1].row.node_id != line.node_id:
            yield f"Started at {line.at} by node {line.node_id}, which had not claimed it: {row}."
            continue
        close = closed_at(history)
        gone = close is not None and close.at + evidence.rules.clock_step < line.at
        # A process that stood still between the claim and the start cannot know.
        if close and gone and not evidence.was_suspended(line.process, before[-1].at, line.at):
            yield f"Started at {line.at}, when it had been closed at {close.at} as {close.row.state}: {row}."


def nothing_starts_twice(evidence: Evidence) -> Iterator[str]:
    """An execution, which is one attempt, starts at most once."""
    for execution_id, lines in evidence.starts.items():
        if len(lines) > 1:
            yield f"Execution {execution_id} of event {lines[0].task_id} was started {len(lines)} times."


def nothing_starts_early(evidence: Evidence) -> Iterator[str]:
    """No function starts before its time, and no claim is made more than the look-ahead before it."""
    for line in (line for lines in evidence.starts.values() for line in lines):
        row = evidence.execution.get(line.execution_id)
        if row is None:
            continue
        due = row.run_at if row.attempt > 1 else row.scheduled_for
        if line.at < due:
            yield f"Started at {line.at}, {(due - line.at).total_seconds():.6f} s before {due}: {row}."
        for claim in claims(evidence.execution_history.get(line.execution_id, [])):
            if claim.at + evidence.rules.clock_step < due - evidence.rules.look_ahead:
                yield f"Claimed at {claim.at} for {due}: {row}."


def functions_do_not_overlap(evidence: Evidence) -> Iterator[str]:
    """Under skip, two functions of one event never run at the same time; one whose process stood still could not
    know that its lease was gone."""
    runs: dict[str, list[tuple[datetime, datetime | None, str]]] = defaultdict(list)
    for execution_id, (start, *_) in evidence.starts.items():
        end = next((line.at for line in evidence.ends.get(execution_id, ())), evidence.killed_at(start.process))
        claimed = [claim.at for claim in claims(evidence.execution_history.get(execution_id, []))]
        if not evidence.was_suspended(start.process, max(claimed, default=start.at), end or start.at):
            runs[start.task_id].append((start.at, end, execution_id))
    for task_id, of_task in runs.items():
        event = evidence.event.get(task_id)
        if event is not None and event.overlap != "skip":
            continue
        for (begin, end, first), (later, _, second) in pairwise(sorted(of_task, key=lambda run: run[0])):
            if end is None or end > later:
                yield (
                    f"Execution {second} of event {task_id} started at {later}, while {first} ran ({begin} to {end})."
                )


def a_success_was_earned(evidence: Evidence) -> Iterator[str]:
    """What is recorded as succeeded ended so, under that fence; what is recorded as failed did not end well."""
    for row in evidence.executions:
        if row.state not in ("succeeded", "failed"):
            continue
        wanted = "done" if row.state == "succeeded" else "failed"
        ends = evidence.ends.get(row.id, ())
        if not any(line.how == wanted and line.fence == row.fence for line in ends):
            yield f"Recorded as {row.state}, but its function said {[line.how for line in ends]}: {row}."
