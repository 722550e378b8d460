"""Where the time of a run goes: cProfile of the event loop's thread, and how busy each thread was."""

from __future__ import annotations

import cProfile
import pstats
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.benchmarks.measure import Meter

TOP = 25
TICKS = 100  # per second, as Linux counts a thread's CPU time in /proc


class Profile:
    """Profiles the thread that enters it, when `wanted`. The profiler itself makes the thread about half as fast."""

    def __init__(self, wanted: object) -> None:
        self._profiler = cProfile.Profile() if wanted else None
        self._thread = 0.0
        self._threads: dict[str, float] = {}

    def __enter__(self) -> Self:
        if self._profiler is not None:
            self._before = threads_seconds()
            self._thread = time.thread_time()
            self._profiler.enable()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._profiler is not None:
            self._profiler.disable()
            self._thread = time.thread_time() - self._thread
            after = threads_seconds()
            self._threads = {name: seconds - self._before.get(name, 0.0) for name, seconds in after.items()}

    def show(self, meter: Meter) -> None:
        """The table on standard error: standard output belongs to the figures."""
        if self._profiler is None:
            return
        out = sys.stderr
        out.write(
            f"\n{meter.elapsed:.2f} s by the clock; CPU: {meter.cpu_seconds:.2f} s in all,"
            f" {self._thread:.2f} s of them in the event loop's thread, which was profiled\n"
        )
        busy = {name: seconds for name, seconds in self._threads.items() if seconds > 0}
        for name, seconds in sorted(busy.items(), key=lambda item: -item[1]):
            out.write(f"  {seconds:8.2f} s  {name}\n")
        pstats.Stats(self._profiler, stream=out).strip_dirs().sort_stats("tottime").print_stats(TOP)


def threads_seconds() -> dict[str, float]:
    """CPU seconds of this process's threads so far, by name; empty where there is no /proc."""
    found = {}
    for thread in threading.enumerate():
        try:
            fields = Path(f"/proc/self/task/{thread.native_id}/stat").read_text(encoding="ascii").rpartition(") ")[2]
        except OSError:
            continue
        user, system = fields.split()[11:13]
        found[f"{thread.name} ({thread.native_id})"] = (int(user) + int(system)) / TICKS
    return found
