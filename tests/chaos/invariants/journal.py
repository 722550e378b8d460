"""What the journal of changes shows: who held what, and when. Times are those of the database's clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from tests.chaos.evidence import OPEN, Change, Evidence, Execution


def fences_grow(evidence: Evidence) -> Iterator[str]:
    """Each new execution of an event has a higher fence than all before it; no fence ever goes back or changes."""
    highest: dict[str, int] = {}
    seen: dict[str, int] = {}
    for change in evidence.execution_changes:
        row = change.row
        if row.id in seen:
            if row.fence != seen[row.id]:
                yield f"The fence of an execution changed from {seen[row.id]} to {row.fence}: {row}."
            continue
        seen[row.id] = row.fence
        if row.fence <= highest.get(row.event_id, 0):
            yield f"A new execution has fence {row.fence}, and an older one has {highest[row.event_id]}: {row}."
        highest[row.event_id] = max(row.fence, highest.get(row.event_id, 0))
    for event_id, history in evidence.event_history.items():
        for before, after in pairwise(history):
            if after.row.fence < before.row.fence:
                yield f"The fence of event {event_id} went back from {before.row.fence} to {after.row.fence}."
        if history[-1].row.fence < highest.get(event_id, 0):
            yield f"Event {event_id} has fence {history[-1].row.fence}, an execution of it {highest[event_id]}."


def what_is_closed_stays_as_it_is(evidence: Evidence) -> Iterator[str]:
    """A stale worker changes nothing: a closed execution never changes again."""
    for history in evidence.execution_history.values():
        closed: Execution | None = None
        for change in history:
            if closed is not None and change.row != closed:
                yield f"An execution that had ended as {closed.state} became {change.row.state}: {change.row}."
            if change.row.state not in OPEN:
                closed = closed or change.row


def one_attempt_lives_at_once(evidence: Evidence) -> Iterator[str]:
    """Under skip, no execution of an event becomes running while another one of it runs."""
    running: dict[str, set[str]] = {}
    for change in evidence.execution_changes:
        row = change.row
        mine = running.setdefault(row.event_id, set())
        if row.state != "running":
            mine.discard(row.id)
            continue
        event = evidence.event.get(row.event_id)
        if mine - {row.id} and row.id not in mine and (event is None or event.overlap == "skip"):
            yield f"At {change.at} an execution began while {', '.join(sorted(mine))} of the same event ran: {row}."
        mine.add(row.id)


def only_leases_decide(evidence: Evidence) -> Iterator[str]:
    """An execution is abandoned only after its lease has run out, and no lease is made shorter."""
    for history in evidence.execution_history.values():
        for before, after in pairwise(history):
            lease = before.row.lease_expires_at
            if before.row.state != "running" or lease is None:
                continue
            if after.row.state == "abandoned" and after.at + evidence.rules.clock_step < lease:
                yield f"Abandoned at {after.at}, its lease was good until {lease}: {after.row}."
            if after.row.state == "running":
                later = after.row.lease_expires_at
                if later is None or later < lease:
                    yield f"The lease until {lease} was cut to {later}: {after.row}."


def no_zombie_outlives_its_lease(evidence: Evidence) -> Iterator[str]:
    """A running execution whose lease ran out is closed within the recovery interval; an outage is waited for."""
    rules = evidence.rules
    for history in evidence.execution_history.values():
        for before, after in pairwise(history):
            lease = before.row.lease_expires_at
            if before.row.state != "running" or lease is None:
                continue
            # After an outage the loops may wait as long again: their waits double.
            allowed = rules.recovery + rules.patience + 2 * evidence.outage_between(before.at, after.at)
            if after.at > lease + allowed:
                yield f"Nobody noticed until {after.at} that the lease had run out at {lease}: {after.row}."


def an_active_execution_exists(evidence: Evidence) -> Iterator[str]:
    """What an event calls its active execution is on record, is one of its own, and is open at that moment or later."""
    for event_id, history in evidence.event_history.items():
        for change in history:
            active = change.row.active_execution_id
            if active is None:
                continue
            known = evidence.execution_history.get(active, [])
            if not known or known[0].row.event_id != event_id:
                yield f"Event {event_id} waited for execution {active}, which there never was."
                break


def next_execution_moves_forward(evidence: Evidence) -> Iterator[str]:
    """The next fire time never goes back and never returns from nothing, except by an edit (which has a version)."""
    for event_id, history in evidence.event_history.items():
        for before, after in pairwise(history):
            then, now = before.row.next_execution, after.row.next_execution
            if after.row.version == before.row.version and now is not None and (then is None or now < then):
                yield f"The next fire time of event {event_id} went from {then} to {now} without an edit."


def claims(history: Iterable[Change[Execution]]) -> list[Change[Execution]]:
    """The changes by which an execution became running. There are several where a claim was given back unstarted."""
    found, state = [], ""
    for change in history:
        if change.row.state == "running" != state:
            found.append(change)
        state = change.row.state
    return found


def closed_at(history: Iterable[Change[Execution]]) -> Change[Execution] | None:
    """The change by which an execution was closed."""
    return next((change for change in history if change.row.state not in OPEN), None)
