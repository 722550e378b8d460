"""Occurrences and their attempts, as the history has them in the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.chaos.evidence import OPEN, Event, Evidence, Execution

FAILED = ("failed", "timed_out")


def attempts_are_numbered_without_gaps(evidence: Evidence) -> Iterator[str]:
    """(event, scheduled_for, kind, attempt) is unique, and the attempts at an occurrence are 1, 2, 3 ..."""
    for chain in evidence.chains.values():
        numbers = [execution.attempt for execution in chain]
        if numbers != list(range(1, len(chain) + 1)):
            yield f"The attempts at one occurrence are numbered {numbers}: {chain[0]}."


def an_occurrence_succeeds_once(evidence: Evidence) -> Iterator[str]:
    """At most one recorded success an occurrence; a success is the end of its chain, and so is a cancellation."""
    for chain in evidence.chains.values():
        successes = [execution for execution in chain if execution.success]
        if len(successes) > 1:
            yield f"One occurrence has {len(successes)} recorded successes: {chain[0]}."
        for execution in chain[:-1]:
            if execution.state in ("succeeded", "cancelled"):
                yield f"There was another attempt after one that {execution.state}: {execution}."
            if execution.state in OPEN:
                yield f"An attempt is {execution.state} although a later one exists: {execution}."


def counters_match_the_chain(evidence: Evidence) -> Iterator[str]:
    """Each attempt knows how many before it failed and how many were abandoned."""
    for chain in evidence.chains.values():
        for number, execution in enumerate(chain):
            before = [earlier.state for earlier in chain[:number]]
            counted = sum(state in FAILED for state in before), before.count("abandoned")
            if (execution.failures, execution.abandonments) != counted:
                told = f"{execution.failures} failures and {execution.abandonments} abandonments"
                yield f"{execution} counts {told} before it; the history has {counted[0]} and {counted[1]}."


def no_chain_breaks_off(evidence: Evidence) -> Iterator[str]:
    """No occurrence is lost half-way: a failure with attempts left, an abandonment or an interruption is followed."""
    for chain in evidence.chains.values():
        event = evidence.event.get(chain[0].event_id)
        if event is not None and (why := _why_unfinished(evidence, event, chain)):
            yield f"The last attempt at an occurrence {why}, and no other follows: {chain[-1]}."


def _why_unfinished(evidence: Evidence, event: Event, chain: Sequence[Execution]) -> str | None:
    last = chain[-1].state
    if event.status == "cancelled" or event.delivery == "at_most_once" or last in ("succeeded", "cancelled"):
        return None
    if last == "interrupted":
        return "was interrupted"
    states = [execution.state for execution in chain]
    if last == "abandoned" and states.count("abandoned") < evidence.rules.max_abandonments:
        return f"was abandoned, the {states.count('abandoned')}. of {evidence.rules.max_abandonments} that are allowed"
    # The retry of a recurring task yields to its next fire time.
    failures = sum(state in FAILED for state in states)
    if last in FAILED and not event.recurring and failures < event.max_attempts:
        return f"{last.replace('_', ' ')}, the {failures}. of {event.max_attempts}"
    return None


def at_most_once_has_one_attempt(evidence: Evidence) -> Iterator[str]:
    """Under at_most_once an occurrence has one row and its function starts at most once."""
    for chain in evidence.chains.values():
        event = evidence.event.get(chain[0].event_id)
        if event is None or event.delivery != "at_most_once":
            continue
        if len(chain) > 1:
            yield f"An occurrence under at_most_once has {len(chain)} attempts: {chain[0]}."
        starts = sum(len(evidence.starts.get(execution.id, ())) for execution in chain)
        if starts > 1:
            yield f"An occurrence under at_most_once was started {starts} times: {chain[0]}."


def nothing_stays_open(evidence: Evidence) -> Iterator[str]:
    """Once everything had its time to end, no execution is ready or running, and no event thinks that one is."""
    if evidence.settled_at is None:
        return
    for execution in evidence.executions:
        if execution.state in OPEN:
            yield f"Still {execution.state} when everything had had its time to end: {execution}."
    for event in evidence.events:
        if event.active_execution_id is not None:
            yield f"Event {event.id} still waits for execution {event.active_execution_id}, which is not open."
