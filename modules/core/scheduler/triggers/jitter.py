"""Jitter: a start that is put off by a little, always by the same for the same task and fire time."""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import blake2b

from modules.core.scheduler.triggers.base import Trigger, in_utc


def jitter_of(task_id: str, nominal: datetime, most: timedelta, period: timedelta | None) -> timedelta:
    """By how much the start of this fire time is put off: 0 <= j <= min(most, half the period), the same on every node
    and after every restart, and spread evenly over tasks and fire times. `period` None sets no bound."""
    longest = most if period is None else min(most, period / 2)
    if longest <= timedelta(0):
        return timedelta(0)
    return longest * share_of(f"{task_id} {in_utc(nominal).isoformat()}")


def share_of(key: str) -> float:
    """A number in [0, 1) that looks drawn, and is always the same for the same key."""
    drawn = int.from_bytes(blake2b(key.encode(), digest_size=8).digest())
    return (drawn >> 11) / (1 << 53)  # as many bits as a float holds, so that it never comes out as 1


def period_at(trigger: Trigger, nominal: datetime) -> timedelta | None:
    """How long it is from this fire time to the next, or where it is the last, from the one before."""
    following = trigger.next_after(nominal)
    if following is not None:
        return following - nominal
    before = trigger.previous_before(nominal)
    return None if before is None else nominal - before
