"""How long nobody dispatched, and what that left overdue, in words. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

# Up to a minute late is on time: what is shorter is none.
SHORTEST: Final = timedelta(minutes=1)
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True, slots=True)
class Overdue:
    """Fire times that fell into a downtime, of how many tasks, and how many of them run all the same. Not `complete`,
    these are only the first tasks of more."""

    tasks: int = 0
    fire_times: int = 0
    to_run: int = 0
    complete: bool = True

    @property
    def missed(self) -> int:
        return self.fire_times - self.to_run

    def with_task(self, fire_times: int, to_run: int) -> Overdue:
        """The same and one more task."""
        if not fire_times:
            return self
        return Overdue(self.tasks + 1, self.fire_times + fire_times, self.to_run + to_run, self.complete)


def in_words(down: timedelta, overdue: Overdue | None) -> str:
    """ "down 2 h 14 min: 37 fire times of 3 tasks; 3 will run, 34 recorded as missed"."""
    said = f"down {duration(down)}"
    if overdue is None:
        return said
    if not overdue.fire_times:
        return f"{said}: no fire time fell into it"
    more = "" if overdue.complete else "at least "
    return (
        f"{said}: {more}{_counted(overdue.fire_times, 'fire time')} of {more}{_counted(overdue.tasks, 'task')}; "
        f"{overdue.to_run} will run, {overdue.missed} recorded as missed"
    )


def duration(length: timedelta) -> str:
    """The two largest units: "2 h 14 min", "3 d", "1 min 5 s"."""
    left = max(0, round(length.total_seconds()))
    parts = []
    for size, unit in _UNITS:
        number, left = divmod(left, size)
        parts.append((number, unit))
    first = next((index for index, (number, _) in enumerate(parts) if number), len(parts) - 1)
    return " ".join(
        f"{number} {unit}" for number, unit in parts[first : first + 2] if number or first == len(parts) - 1
    )


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
