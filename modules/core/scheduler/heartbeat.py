"""Heartbeats from a thread of their own: a task that blocks the event loop must not cost the others their leases."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import timedelta

from modules.core.background import finish_left_alone, within
from modules.core.clock import SystemClock
from modules.core.errors import Unavailable
from modules.core.scheduler.cluster_clock import ClusterClock
from modules.core.scheduler.db_ops import DbOps, Heard, NodeReport
from modules.core.scheduler.loop_watch import LoopWatch
from modules.core.scheduler.nodes import heartbeat_interval
from modules.core.scheduler.runtime import Runtime

logger = logging.getLogger(__name__)

# A lease is trusted for this share of its length, counted from before the request that extended it.
TRUSTED_SHARE = 0.8
MINIMUM_PATIENCE = 1.0
LAST_PATIENCE = 5.0
TOLERANCE = 0.01


class Heartbeat:
    """Extends the leases of `executions()` every lease/4, and shows every 30 s that an idle node lives.

    On the event loop that started it, it says `lost(ids)` for those that this node no longer holds, and `told(heard)`
    for what each heartbeat brought back.
    """

    def __init__(
        self,
        runtime: Runtime,
        watch: LoopWatch,
        executions: Callable[[], Collection[str]],
        lost: Callable[[Collection[str]], None],
        told: Callable[[Heard], None],
    ) -> None:
        self._runtime = runtime
        self._watch = watch
        self._executions = executions
        self._lost = lost
        self._told = told
        self._report: NodeReport | None = None
        self._thread: threading.Thread | None = None
        self._thread_loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._wake = asyncio.Event()
        self._ended = asyncio.Event()
        self._beating: asyncio.Task[None] | None = None
        self.failures = 0

    def start(self, report: NodeReport) -> None:
        """Start the thread, which speaks for the node of that report; call it on the loop that runs the tasks."""
        if self._thread is None:
            self._report = report
            self._stop, self._wake, self._ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
            self._thread_loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._run,
                args=(asyncio.get_running_loop(), threading.get_ident(), self._thread_loop),
                name="core.scheduler heartbeat",
                daemon=True,
            )
            self._thread.start()

    def beat_now(self) -> None:
        """Do not wait for the next turn: there is something to say or to hear."""
        if self._thread is not None and self._thread_loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._thread_loop.call_soon_threadsafe(self._wake.set)

    async def stop(self, patience: float) -> None:
        """End the thread and wait for it; a statement that hangs is given up after `patience` seconds. Safe to call
        twice, and before start()."""
        thread, self._thread = self._thread, None
        if thread is None or self._thread_loop is None:
            return
        for end in (self._ask_to_end, self._give_up):
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._thread_loop.call_soon_threadsafe(end)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._ended.wait()
                thread.join()
                return
        logger.error("the heartbeat's thread does not end; the stop goes on without it")

    def _ask_to_end(self) -> None:
        self._stop.set()
        self._wake.set()

    def _run(self, main_loop: asyncio.AbstractEventLoop, main_thread: int, own_loop: asyncio.AbstractEventLoop) -> None:
        try:
            with contextlib.suppress(asyncio.CancelledError), asyncio.Runner(loop_factory=lambda: own_loop) as runner:
                runner.run(self._beat_on(main_loop, main_thread))
        finally:
            _tell(main_loop, self._ended.set)

    def _give_up(self) -> None:
        if self._beating is not None:
            self._beating.cancel()

    async def _beat_on(self, main_loop: asyncio.AbstractEventLoop, main_thread: int) -> None:
        self._beating = asyncio.current_task()
        # What blocks, the other nodes hear at once: this one may not answer.
        watching = asyncio.create_task(self._watch.run(main_loop, main_thread, noticed=self._wake.set))
        # Real time even under an injected clock: a lease protects against real silence.
        clock = SystemClock()
        database = self._runtime.database.clone()
        statements = DbOps(database)
        lease = self._runtime.settings.lease_seconds
        between_looks = heartbeat_interval(lease, busy=True)
        # Until when each execution's lease may be relied on. A new one was claimed after the look before.
        trusted: dict[str, float] = {}
        looked_at = said_at = clock.monotonic()  # the node has just joined
        try:
            while not self._stop.is_set():
                began = clock.monotonic()
                held = set(self._executions())
                trusted = {name: trusted.get(name, looked_at + lease * TRUSTED_SHARE) for name in held}
                looked_at = began
                busy = bool(held) or self._runtime.draining
                if self._wake.is_set() or began - said_at >= heartbeat_interval(lease, busy=busy) - TOLERANCE:
                    self._wake.clear()
                    try:
                        # A statement that hangs is a heartbeat that failed: the lease does not wait for it.
                        patience = max(min(trusted.values(), default=began + lease) - began, MINIMUM_PATIENCE)
                        heard = await within(patience, self._say(statements, held))
                    except Exception as error:
                        self.failures += 1
                        now = clock.monotonic()
                        left = max(min(trusted.values(), default=now) - now, 0.0)
                        what = "heartbeat failed (%s); leases are trusted for %.1f s more"
                        logger.log(logging.ERROR, what, error, left, exc_info=not isinstance(error, Unavailable))
                        gone = {name for name, until in trusted.items() if until <= now}
                    else:
                        self.failures = 0
                        said_at = began
                        trusted = dict.fromkeys(held, began + lease * TRUSTED_SHARE)
                        gone = held - heard.held
                        _tell(main_loop, self._told, heard)
                    if gone:
                        _tell(main_loop, self._lost, gone)
                # Also an idle node looks that often: what it takes on meanwhile has a lease to be extended.
                await clock.wait(self._wake, between_looks)
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
            await finish_left_alone(LAST_PATIENCE)
            await database.close()

    async def _say(self, statements: DbOps, held: set[str]) -> Heard:
        await statements.database.open()
        runtime = self._runtime
        assert self._report is not None
        machine, offset_ms = runtime.clock, None
        if isinstance(runtime.clock, ClusterClock):
            machine = runtime.clock.machine
            offset_ms = runtime.clock.offset_ms
        report = replace(
            self._report,
            running=len(held),
            state="draining" if runtime.draining else "running",
            clock_offset_ms=offset_ms,
            loop_block=block.to_json() if (block := self._watch.block) else None,
        )
        lease = timedelta(seconds=runtime.settings.lease_seconds)
        heard = await statements.heartbeat(report, held, runtime.lease_now(), lease, machine)
        if heard.clock_offset is not None and isinstance(runtime.clock, ClusterClock):
            runtime.clock.measured(heard.clock_offset)
        return heard


def _tell(loop: asyncio.AbstractEventLoop, what: Callable[..., None], *arguments: object) -> None:
    with contextlib.suppress(RuntimeError):  # that loop was closed without a stop
        loop.call_soon_threadsafe(what, *arguments)
