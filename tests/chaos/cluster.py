"""The processes of a chaos run, and what is done to them. They are forked from a warm parent: a start is cheap."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess

from tests.chaos import node
from tests.chaos.evidence import Trouble

PATIENCE = 20.0


class Cluster:
    """`size` processes, whoever dies; `plan_for(number)` says how each starts. `troubles` is what was done to them."""

    def __init__(self, size: int, plan_for: Callable[[int], node.NodePlan]) -> None:
        self._size = size
        self._plan_for = plan_for
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([node.__name__])
        self._processes: dict[int, BaseProcess] = {}
        self._busy: set[int] = set()  # suspended or stopping
        self._known_dead: set[int] = set()
        self._started = 0
        self.troubles: list[Trouble] = []

    @property
    def targets(self) -> list[int]:
        """The processes that live and to which nothing is being done."""
        alive = (number for number, process in self._processes.items() if process.is_alive())
        return [number for number in alive if number not in self._busy]

    def fill(self) -> None:
        """Start as many as are missing; who died by himself is written down as killed."""
        for number, process in list(self._processes.items()):
            if not process.is_alive() and number not in self._busy:
                del self._processes[number]
                if number not in self._known_dead:
                    self._note("killed", number)
        while len(self._processes) < self._size:
            self._started += 1
            plan = self._plan_for(self._started)
            process = self._context.Process(target=node.main, args=(plan,), daemon=True)
            process.start()
            self._processes[self._started] = process

    def kill(self, number: int) -> None:
        """As the kernel does when memory is short."""
        self._note("killed", number)
        self._processes[number].kill()
        self._processes[number].join(PATIENCE)

    async def suspend(self, number: int, seconds: float) -> None:
        """Let a process stand still: it holds leases of which it cannot know that they run out."""
        process, begin = self._processes[number], datetime.now(UTC)
        self._busy.add(number)
        self._signal(process, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._signal(process, signal.SIGCONT)
            self.troubles.append(Trouble("suspended", begin, datetime.now(UTC), number))
            self._busy.discard(number)

    async def stop(self, number: int) -> None:
        """Ask a process to end in order, as a service manager does."""
        process = self._processes[number]
        self._busy.add(number)
        self._signal(process, signal.SIGTERM)
        await asyncio.to_thread(process.join, PATIENCE)
        self._busy.discard(number)
        if not process.is_alive():
            self._note("stopped", number)

    async def stop_all(self) -> None:
        """End everything, in order if they let themselves be ended."""
        await asyncio.gather(*(self.stop(number) for number in self._processes))
        for process in self._processes.values():
            process.kill()
            process.join(PATIENCE)

    def _signal(self, process: BaseProcess, number: int) -> None:
        if process.is_alive() and process.pid is not None:
            os.kill(process.pid, number)

    def _note(self, what: str, number: int) -> None:
        now = datetime.now(UTC)
        self._known_dead.add(number)
        self.troubles.append(Trouble(what, now, now, number))
