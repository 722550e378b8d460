"""CPU time of one coroutine among many: summed step by step, since the thread's clock alone mixes them all.

The same place knows whose step it is: that is noted for the watch that names who blocks the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any

from modules.core.clock import thread_cpu_seconds


class Stepping:
    """Who runs on the event loop at this moment (`current`, None between steps), and a bell for a watch that rests."""

    __slots__ = ("current", "resting", "wake")

    def __init__(self) -> None:
        self.current: Any = None
        self.resting = False
        self.wake: Callable[[], None] = lambda: None


class Metered:
    """Awaits `coroutine`; `cpu_seconds` is the CPU time of its steps, in which `stepping.current` is `who`."""

    __slots__ = ("_coroutine", "_stepping", "_who", "cpu_seconds")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], stepping: Stepping, who: object) -> None:
        self._coroutine = coroutine
        self._stepping = stepping
        self._who = who
        self.cpu_seconds = 0.0

    def __await__(self) -> Generator[Any, Any, Any]:
        coroutine, stepping, who = self._coroutine, self._stepping, self._who
        sent: Any = None
        thrown: BaseException | None = None
        while True:
            stepping.current = who
            began = thread_cpu_seconds()
            try:
                awaited = coroutine.send(sent) if thrown is None else coroutine.throw(thrown)
            except StopIteration as end:
                return end.value
            finally:
                self.cpu_seconds += thread_cpu_seconds() - began
                stepping.current = None
            sent, thrown = None, None
            try:
                sent = yield awaited
            except BaseException as error:  # handed on into the coroutine, cancellation included
                thrown = error
