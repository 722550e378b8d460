"""What somebody was told holds, whatever died afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from tests.chaos.evidence import Call, Evidence
from tests.chaos.invariants.journal import claims

FOR_EVER = datetime(9999, 1, 1, tzinfo=UTC)


def an_answered_call_survives(evidence: Evidence) -> Iterator[str]:
    """A scheduled task exists, an execution by hand is on record, the last answered edit is the one that is stored."""
    for call in evidence.calls:
        if call.answer is not True:
            continue
        if call.what == "schedule" and call.task_id not in evidence.event:
            yield f"Task {call.task_id} was answered as scheduled at {call.answered}; it does not exist."
        if call.what == "execute":
            row = evidence.execution.get(str(call.detail))
            if row is None or (row.event_id, row.kind) != (call.task_id, "manual"):
                yield f"Execution {call.detail} by hand of task {call.task_id} was answered; it is not on record."
    for task_id, calls in evidence.calls_on.items():
        edits = [call for call in calls if call.what == "edit" and call.answer is not False]
        answered = [number for number, call in enumerate(edits) if call.answer]
        event = evidence.event.get(task_id)
        if not answered or event is None:
            continue
        # Nobody knows of the later ones whether they were made.
        possible = [call.detail for call in edits[answered[-1] :]]
        if event.edit not in possible:
            yield f"Task {task_id} holds edit {event.edit}; the last one that was answered is {possible[0]}."


def an_answered_pause_is_kept(evidence: Evidence) -> Iterator[str]:
    """From the answer of a pause to the next resume or cancellation: paused, and no claim but by hand."""
    for task_id, pause, until in _periods(evidence, "pause", ended_by=("resume", "cancel")):
        yield from _status_in_between(evidence, task_id, "paused", pause, until)
        yield from _claims_in_between(evidence, task_id, ("manual",), pause, until)


def an_answered_resume_is_kept(evidence: Evidence) -> Iterator[str]:
    """From the answer of a resume to the next pause, a task is not paused."""
    for task_id, resume, until in _periods(evidence, "resume", ended_by=("pause",)):
        for change in evidence.event_history.get(task_id, ()):
            if resume.answered and resume.answered < change.at < until and change.row.status == "paused":
                yield f"Task {task_id} was paused at {change.at}, after a resume answered at {resume.answered}."


def an_answered_cancellation_is_kept(evidence: Evidence) -> Iterator[str]:
    """From the answer of a cancellation on: cancelled, and no claim at all."""
    for task_id, cancel, until in _periods(evidence, "cancel", ended_by=()):
        yield from _status_in_between(evidence, task_id, "cancelled", cancel, until)
        yield from _claims_in_between(evidence, task_id, (), cancel, until)


def _periods(evidence: Evidence, what: str, ended_by: tuple[str, ...]) -> Iterator[tuple[str, Call, datetime]]:
    """Each answered call of that kind, and when the next call was asked for that may undo it."""
    for task_id, calls in evidence.calls_on.items():
        for number, call in enumerate(calls):
            if call.what == what and call.answer is True:
                later = (after.asked for after in calls[number + 1 :] if after.what in ended_by)
                yield task_id, call, next(later, FOR_EVER)


def _status_in_between(evidence: Evidence, task_id: str, wanted: str, call: Call, until: datetime) -> Iterator[str]:
    assert call.answered is not None
    for change in evidence.event_history.get(task_id, ()):
        if call.answered < change.at < until and change.row.status != wanted:
            yield f"Task {task_id} was {wanted}, answered at {call.answered}; at {change.at} it is {change.row.status}."


def _claims_in_between(
    evidence: Evidence, task_id: str, allowed: tuple[str, ...], call: Call, until: datetime
) -> Iterator[str]:
    assert call.answered is not None
    for row in evidence.executions:
        if row.event_id != task_id or row.kind in allowed:
            continue
        for claim in claims(evidence.execution_history.get(row.id, [])):
            if call.answered < claim.at < until:
                yield f"Claimed at {claim.at}, after a {call.what} answered at {call.answered}: {row}."
