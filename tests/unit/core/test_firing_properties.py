"""Whatever was missed: each fire time has exactly one verdict, the order is kept, and the work is bounded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from modules.core.scheduler.firing import LateRules, Start, decide, jittered, no_jitter
from modules.core.scheduler.triggers import Trigger, trigger_from_spec

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
TICK = timedelta(microseconds=1)
SPECS = st.sampled_from(
    [
        {"interval": "1 second", "schedule_time": NOON},
        {"interval": "17 seconds", "schedule_time": NOON},
        {"interval": "1 minute", "schedule_time": NOON},
        {"interval": "1 hour", "schedule_time": NOON},
        {"interval": "1 day", "schedule_time": NOON, "timezone": "Europe/Berlin"},
        {"cron_expression": "*/7 9-17 * * mon-fri", "timezone": "America/New_York"},
        {"interval": "1 minute", "schedule_time": NOON, "end_time": NOON + timedelta(minutes=10)},
    ]
)
RULES = st.builds(
    LateRules,
    catch_up=st.sampled_from(["none", "latest", "all"]),
    max_lateness=st.none() | st.integers(0, 7200).map(lambda seconds: timedelta(seconds=seconds)),
    limit=st.integers(1, 12),
)
DOWN = st.integers(0, 7200) | st.integers(0, 90)
REMAINING = st.none() | st.integers(1, 20)
JITTER = st.integers(0, 3600)


@dataclass
class Story:
    """What became of the fire times of a task that was due at `due` and was next looked at at `now`."""

    ran: list[datetime] = field(default_factory=list)
    missed: list[datetime] = field(default_factory=list)
    counted: int = 0


def told(
    trigger: Trigger, due: datetime, now: datetime, rules: LateRules, remaining: int | None, starts: Start
) -> Story:
    """Decide again and again, no time passing, until nothing is due any more."""
    story = Story()
    following: datetime | None = due
    while following is not None and following <= now:
        fired = decide(trigger, following, now, rules, remaining=remaining, starts=starts)
        for span in fired.missed:
            story.missed += fire_times(trigger, span.from_time, span.until_time)
            story.counted += span.count
        if fired.scheduled_for is not None:
            assert fired.due == starts(fired.scheduled_for)
            story.ran.append(fired.scheduled_for)
            remaining = None if remaining is None else remaining - 1
        assert fired.next_execution is None or fired.next_execution > following, "it never moves on"
        following = fired.next_execution
    return story


def fire_times(trigger: Trigger, first: datetime, last: datetime) -> list[datetime]:
    found: list[datetime] = []
    moment = trigger.next_after(first - TICK)
    while moment is not None and moment <= last:
        found.append(moment)
        moment = trigger.next_after(moment)
    return found


@settings(max_examples=300, deadline=None)
@given(SPECS, RULES, DOWN, REMAINING, JITTER)
def test_each_fire_time_has_one_verdict_in_order(
    spec: dict[str, object], rules: LateRules, down: int, remaining: int | None, jitter: int
) -> None:
    trigger = trigger_from_spec(spec)
    due = trigger.next_after(NOON - TICK)
    assert due is not None
    now = due + timedelta(seconds=down)
    starts = jittered(trigger, "a task", jitter) if jitter else no_jitter
    story = told(trigger, due, now, rules, remaining, starts)
    assert story.ran == sorted(set(story.ran))
    assert story.counted == len(story.missed)
    assert sorted(story.ran + story.missed) == fire_times(trigger, due, now)
    assert remaining is None or len(story.ran) <= remaining
    too_late = now - max(rules.max_lateness or timedelta(days=999), timedelta(minutes=1))
    assert all(starts(moment) >= too_late for moment in story.ran)
    on_time = [moment for moment in fire_times(trigger, due, now) if starts(moment) >= now - timedelta(minutes=1)]
    late = [moment for moment in story.ran if moment not in on_time]
    assert len(late) <= {"none": 0, "latest": 1, "all": rules.limit}[rules.catch_up]
    if rules.catch_up != "latest" and remaining is None:
        assert set(on_time) <= set(story.ran), "what is on time runs"


class Counting:
    """A trigger that counts the questions it is asked."""

    def __init__(self, trigger: Trigger) -> None:
        self._trigger = trigger
        self.questions = 0

    def __getattr__(self, name: str) -> Callable[..., object]:
        self.questions += 1
        answer: Callable[..., object] = getattr(self._trigger, name)
        return answer


@settings(max_examples=50, deadline=None)
@given(RULES, st.integers(60, 10 * 366 * 86_400), REMAINING)
def test_the_work_does_not_grow_with_the_downtime(rules: LateRules, down: int, remaining: int | None) -> None:
    trigger = Counting(trigger_from_spec({"interval": "1 second", "schedule_time": NOON}))
    fired = decide(trigger, NOON, NOON + timedelta(seconds=down), rules, remaining=remaining)  # type: ignore[arg-type]
    assert trigger.questions <= 12 + rules.limit
    assert len(fired.missed) <= 3


def test_a_year_of_every_second_is_one_span() -> None:
    trigger = trigger_from_spec({"interval": "1 second", "schedule_time": NOON})
    year = timedelta(days=365)
    fired = decide(trigger, NOON, NOON + year, LateRules(), remaining=None)
    [span] = fired.missed
    assert (span.from_time, span.until_time) == (NOON, NOON + year - timedelta(seconds=1))
    assert span.count == 365 * 86_400
    assert (fired.scheduled_for, fired.next_execution) == (NOON + year, NOON + year + timedelta(seconds=1))
