"""CPU time of one coroutine among many: summed step by step, since the thread's clock alone mixes them all."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any

from modules.core.clock import thread_cpu_seconds


class Metered:
    """Awaits `coroutine` and adds up the CPU time of its steps in `cpu_seconds`."""

    __slots__ = ("_coroutine", "cpu_seconds")

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self.cpu_seconds = 0.0

    def __await__(self) -> Generator[Any, Any, Any]:
        coroutine = self._coroutine
        sent: Any = None
        thrown: BaseException | None = None
        while True:
            began = thread_cpu_seconds()
            try:
                awaited = coroutine.send(sent) if thrown is None else coroutine.throw(thrown)
            except StopIteration as end:
                return end.value
            finally:
                self.cpu_seconds += thread_cpu_seconds() - began
            sent, thrown = None, None
            try:
                sent = yield awaited
            except BaseException as error:  # handed on into the coroutine, cancellation included
                thrown = error
