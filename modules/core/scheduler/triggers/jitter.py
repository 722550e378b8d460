"""Starts moved a little, so that not everything begins at the full hour; the fire times themselves stay."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final

from modules.core.scheduler.triggers.base import Trigger
from modules.core.scheduler.triggers.errors import InvalidTrigger

LONGEST_SECONDS: Final = 86_400.0
_MICROSECOND: Final = timedelta(microseconds=1)


def checked_jitter(value: object) -> float:
    """Seconds from 0 to a day. Raises InvalidTrigger."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidTrigger("jitter_seconds must be a number of seconds, such as 30.")
    if not 0 <= value <= LONGEST_SECONDS:
        raise InvalidTrigger(f"jitter_seconds must be from 0 to {LONGEST_SECONDS:.0f} (a day).")
    return float(value)


def widest_jitter(trigger: Trigger, nominal: datetime, jitter_seconds: float) -> timedelta:
    """How far the start may move: `jitter_seconds`, but at most half the time until the next fire time, so that starts
    keep their order."""
    wanted = timedelta(seconds=jitter_seconds)
    following = trigger.next_after(nominal)
    return wanted if following is None else min(wanted, (following - nominal) / 2)


def start_of(trigger: Trigger, task_id: str, nominal: datetime, jitter_seconds: float | None) -> datetime:
    """When the run of the fire time `nominal` (UTC) starts: the same answer for the same task and time, on every node
    and after every restart; from `nominal` on, by at most `widest_jitter`."""
    if not jitter_seconds:
        return nominal
    widest = widest_jitter(trigger, nominal, jitter_seconds)
    digest = blake2b(f"{task_id} {nominal.isoformat()}".encode(), digest_size=8).digest()
    steps = widest // _MICROSECOND
    return nominal + int.from_bytes(digest) * (steps + 1) // 2**64 * _MICROSECOND
