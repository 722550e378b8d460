"""What a scheduler says about itself: counts for people, and whether all is well, with the reasons when not. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Health = Literal["ok", "degraded", "down"]


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
        return reasons

    def health(self) -> Health:
        """down: no work can be accepted or done here; degraded: it goes on, but somebody should look."""
        if not self.database_answers or (self.enabled and not self.processing):
            return "down"
        return "degraded" if self.reasons() else "ok"
