"""How far ahead of the free slots to claim. Pure.

Short tasks end faster than a transaction can fetch the next ones, so as many are fetched ahead as end in a tenth of a
second. Long tasks are not fetched ahead at all: another node may have a slot for them.
"""

from __future__ import annotations

AHEAD_SECONDS = 0.1
MOST_AHEAD = 500
_SHORTEST_LOOK = 0.001


class Pace:
    """Measures how fast executions end; `ahead` is how many to hold beyond the free slots."""

    def __init__(self) -> None:
        self.ahead = 0
        self._ended = 0
        self._since = 0.0

    def measure(self, ended: int, monotonic: float) -> None:
        """`ended` executions have ended in all by now. Moves by halves, so that one odd moment is no trend."""
        elapsed = monotonic - self._since
        if elapsed < _SHORTEST_LOOK:
            return
        rate = (ended - self._ended) / elapsed
        self._ended, self._since = ended, monotonic
        self.ahead = min(MOST_AHEAD, (self.ahead + int(rate * AHEAD_SECONDS)) // 2)
