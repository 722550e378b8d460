"""What a scheduler says about itself: counts for people, and whether all is well, with the reasons when not. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

UNHEARD_BEFORE_DEGRADED: Final = 3
Health = Literal["ok", "degraded", "down"]


def apart(offset: timedelta) -> str:
    """How a clock stands that is to be put forward by `offset`: "600.0 s behind"."""
    return f"{abs(offset.total_seconds()):.1f} s {'behind' if offset > timedelta(0) else 'ahead of'}"


@dataclass(frozen=True, slots=True)
class Vitals:
    """What health is judged by, as read at one moment."""

    enabled: bool
    processing: bool
    database_answers: bool
    dispatcher_failures: int
    recorder_failures: int
    heartbeat_failures: int
    recovery_failures: int
    stuck: int
    clock_offset: timedelta | None = None  # the database's clock minus ours, where somebody has to look after it
    lease: float = 0.0
    other_leases: tuple[float, ...] = ()
    loop_block: str | None = None  # how long, and by whom
    unheard: int = 0  # failures in a row to listen to the other nodes
    trouble: str | None = None  # what kept the last write to the database from being done

    def reasons(self) -> list[str]:
        """Everything that is not as it should be, each with what to do."""
        reasons = []
        if not self.database_answers:
            reasons.append("The database does not answer: check that it runs and can be reached.")
        if self.trouble:
            reasons.append(self.trouble)
        if self.enabled and not self.processing:
            reasons.append("Background processing has stopped: restart this process.")
        for part in ("dispatcher", "recorder", "heartbeat", "recovery"):
            failures = getattr(self, f"{part}_failures")
            if failures:
                reasons.append(f"The {part} has failed {failures} times in a row and tries again: see the log.")
        if self.stuck:
            reasons.append(f"{self.stuck} task functions ignore cancellation and hold their slots: see GET /status.")
        if self.clock_offset is not None:
            reasons.append(
                f"This machine's clock is {apart(self.clock_offset)} the database's, which is followed instead: "
                "mend the machine's time synchronisation (NTP)."
            )
        if self.other_leases:
            others = ", ".join(f"{seconds:g}" for seconds in self.other_leases)
            reasons.append(
                f"Other nodes have leases of {others} s, this one of {self.lease:g} s: give all nodes the same "
                "CORE_SCHEDULER_LEASE_SECONDS. Until then each execution goes by the lease that it was given."
            )
        if self.loop_block is not None:
            reasons.append(
                f"The event loop was blocked for {self.loop_block}: write what blocks as a plain `def`, which runs in "
                "a thread."
            )
        if self.unheard >= UNHEARD_BEFORE_DEGRADED:
            reasons.append(
                "Other nodes are not heard, so what they schedule is found by polling only: see the log; behind "
                "PgBouncer in transaction mode set APP_DATABASE_POOLER=transaction."
            )
        return reasons

    def health(self) -> Health:
        """down: no work can be accepted or done here; degraded: it goes on, but somebody should look."""
        if not self.database_answers or (self.enabled and not self.processing):
            return "down"
        return "degraded" if self.reasons() else "ok"
