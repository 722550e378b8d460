"""What a cleanup did, or would do. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

ERRORS_SHOWN = 20
SAMPLE_SHOWN = 10


@dataclass(slots=True)
class CleanupReport:
    """Counted as it goes. `complete` is False when the time ran out first; `skipped` were old but had to stay."""

    target: str
    kind: str
    dry_run: bool
    cutoff: datetime
    matched: int = 0
    deleted: int = 0
    bytes: int = 0
    batches: int = 0
    skipped: int = 0
    complete: bool = True
    duration_ms: float = 0.0
    errors: list[str] = field(default_factory=list)
    sample: list[str] = field(default_factory=list)

    def fail(self, problem: str) -> None:
        """Note a problem; only the first 20 are kept."""
        if len(self.errors) < ERRORS_SHOWN:
            self.errors.append(problem[:300])

    def show(self, item: str) -> None:
        """Note an example of what matched; only the first 10 are kept."""
        if len(self.sample) < SAMPLE_SHOWN:
            self.sample.append(item[:300])

    def as_json(self) -> dict[str, Any]:
        """JSON values only; the cutoff in UTC with Z."""
        return {
            "target": self.target,
            "kind": self.kind,
            "dry_run": self.dry_run,
            "cutoff": self.cutoff.isoformat().replace("+00:00", "Z"),
            "matched": self.matched,
            "deleted": self.deleted,
            "bytes": self.bytes,
            "batches": self.batches,
            "skipped": self.skipped,
            "complete": self.complete,
            "duration_ms": round(self.duration_ms, 3),
            "errors": self.errors,
            "sample": self.sample,
        }


def shown(name: str) -> str:
    """A file's name as printable text on one line, escaped as repr does: bytes that are no text, control characters."""
    return "".join(_escaped(character) for character in name)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how os.fsdecode() keeps a byte that is no text
        return f"\\x{ord(character) - 0xDC00:02x}"
    if character.isprintable() and character != "\\":
        return character
    return character.encode("unicode_escape").decode("ascii")


class Budget:
    """Time that a cleanup may take. The first batch is always done, so that a slow database makes some progress."""

    def __init__(self, seconds: float, monotonic: Any) -> None:
        self._monotonic = monotonic
        self._end = monotonic() + seconds

    @property
    def used_up(self) -> bool:
        return bool(self._monotonic() >= self._end)
