"""All invariants over the evidence of a run. Pure: values in, sentences out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.chaos.evidence import Evidence
from tests.chaos.invariants import calls, chains, journal, runs, schedules

Invariant = Callable[[Evidence], Iterator[str]]

INVARIANTS: tuple[Invariant, ...] = (
    chains.attempts_are_numbered_without_gaps,
    chains.an_occurrence_succeeds_once,
    chains.counters_match_the_chain,
    chains.no_chain_breaks_off,
    chains.at_most_once_has_one_attempt,
    chains.nothing_stays_open,
    journal.fences_grow,
    journal.what_is_closed_stays_as_it_is,
    journal.one_attempt_lives_at_once,
    journal.only_leases_decide,
    journal.no_zombie_outlives_its_lease,
    journal.an_active_execution_exists,
    journal.next_execution_moves_forward,
    runs.the_row_comes_before_the_start,
    runs.nothing_starts_twice,
    runs.nothing_starts_early,
    runs.functions_do_not_overlap,
    runs.a_success_was_earned,
    schedules.what_fired_is_on_record,
    schedules.limits_are_kept,
    schedules.every_fire_time_has_one_verdict,
    schedules.nothing_runs_at_other_times,
    schedules.nothing_waits_for_ever,
    calls.an_answered_call_survives,
    calls.an_answered_pause_is_kept,
    calls.an_answered_resume_is_kept,
    calls.an_answered_cancellation_is_kept,
)


def broken(evidence: Evidence) -> dict[str, list[str]]:
    """The invariants that do not hold, by name, each with a sentence for every case. Empty: all hold."""
    found = {invariant.__name__: list(invariant(evidence)) for invariant in INVARIANTS}
    return {name: sentences for name, sentences in found.items() if sentences}


def violations(evidence: Evidence) -> list[str]:
    """The same as one list, each sentence with the name of its invariant."""
    return [f"{name}: {sentence}" for name, sentences in broken(evidence).items() for sentence in sentences]
