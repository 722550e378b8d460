"""Who blocks the event loop: watched from the heartbeat's thread while executions are held, named in log and health.

The loop is sent a call every now and then; one that is not answered for a second is a block, and whoever is being
stepped at that moment has made it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any, Final

from modules.core.clock import Clock, SystemClock
from modules.core.scheduler.cpu_meter import Stepping

logger = logging.getLogger(__name__)

LOOK_EVERY = 0.2
BLOCKED_AFTER = 1.0
RESTS_AFTER = 2.0  # without anything held
REMEMBERED_FOR = 600.0
TOLD_FOR = 60.0  # health can be asked only when the loop is free again

_OURS: Final = f"{Path(__file__).parents[1]}{os.sep}"
_STEPS: Final = str(Path(__file__).with_name("cpu_meter.py"))
_LIBRARY: Final = f"{Path(os.__file__).parent}{os.sep}"
_INSTALLED: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


@dataclass(frozen=True, slots=True)
class Block:
    """The event loop stood still: since when, how long (so far), by whom and where."""

    since: datetime
    seconds: float
    over: bool
    where: str
    function: str | None = None
    task_id: str | None = None
    execution_id: str | None = None

    def culprit(self) -> str:
        """In words: `billing.export (task ..., execution ...) at billing/export.py:41 in build`."""
        if self.function is None:
            return f"code outside of all task functions at {self.where}"
        return f"{self.function} (task {self.task_id}, execution {self.execution_id}) at {self.where}"

    def to_json(self) -> dict[str, Any]:
        return {
            "at": self.since.isoformat(),
            "ms": round(self.seconds * 1000),
            "over": self.over,
            "function": self.function,
            "task_id": self.task_id,
            "execution_id": self.execution_id,
            "where": self.where,
        }


class LoopWatch:
    """`run()` it on the heartbeat's loop; `block` is the longest of the last ten minutes, or the one under way."""

    def __init__(self, stepping: Stepping, busy: Callable[[], bool]) -> None:
        self._stepping = stepping
        self._busy = busy
        self._clock: Clock = SystemClock()
        self._current: Block | None = None
        self._past: deque[tuple[float, Block]] = deque(maxlen=100)
        self._asked = self._answered = 0.0
        self._waits = False

    @property
    def block(self) -> Block | None:
        """What blocked longest of late; one that lasts comes first. From any thread."""
        if (current := self._current) is not None:
            return current
        return max(self._since(REMEMBERED_FOR), key=lambda block: block.seconds, default=None)

    @property
    def complaint(self) -> Block | None:
        """What health should tell of: a block that lasts, or has just ended."""
        if (current := self._current) is not None:
            return current
        return max(self._since(TOLD_FOR), key=lambda block: block.seconds, default=None)

    async def run(self, main_loop: asyncio.AbstractEventLoop, main_thread: int, noticed: Callable[[], None]) -> None:
        """Watch `main_loop`, which runs in that thread, until cancelled; `noticed()` when a block begins and ends."""
        woken, never = asyncio.Event(), asyncio.Event()
        own_loop = asyncio.get_running_loop()
        self._stepping.wake = lambda: _call(own_loop, woken.set)
        self._waits, self._asked, self._answered = False, 0.0, 0.0
        idle_since = self._clock.monotonic()
        try:
            while True:
                now = self._clock.monotonic()
                if self._waits:
                    self._judge(now, main_thread, noticed)
                    await self._clock.wait(never, LOOK_EVERY)
                    continue
                self._note_answer(noticed)
                if self._busy():
                    idle_since, self._asked, self._waits = now, now, True
                    _call(main_loop, self._answer)
                elif now - idle_since > RESTS_AFTER:
                    woken.clear()
                    self._stepping.resting = True
                    if not self._busy():  # as of after the word that we rest
                        await woken.wait()
                    self._stepping.resting = False
                    idle_since = self._clock.monotonic()
                    continue
                await self._clock.wait(never, LOOK_EVERY)
        finally:
            self._stepping.resting = False
            self._current = None

    def _answer(self) -> None:
        """On the watched loop."""
        self._answered = self._clock.monotonic()
        self._waits = False

    def _judge(self, now: float, main_thread: int, noticed: Callable[[], None]) -> None:
        lasted = now - self._asked
        if self._current is not None:
            self._current = replace(self._current, seconds=lasted)
        elif lasted >= BLOCKED_AFTER:
            self._current = self._seen(lasted, main_thread)
            logger.warning(
                "the event loop has been blocked for %.1f s by %s: nothing else runs meanwhile; write what blocks as a "
                "plain `def`, which runs in a thread",
                lasted,
                self._current.culprit(),
            )
            noticed()

    def _note_answer(self, noticed: Callable[[], None]) -> None:
        """The loop is free: what was blocked is over, and what was not noticed meanwhile is noticed now."""
        lasted, self._asked = self._answered - self._asked, self._answered
        block, self._current = self._current, None
        if block is not None:
            logger.warning("the event loop is free again after %.1f s: it was blocked by %s", lasted, block.culprit())
        elif lasted >= BLOCKED_AFTER:
            block = Block(self._began(lasted), lasted, True, "an unknown place")
            logger.warning(
                "the event loop stood still for %.1f s and its watch with it: this process was suspended or starved, "
                "or something held the interpreter",
                lasted,
            )
        if block is not None:
            self._past.append((self._clock.monotonic(), replace(block, seconds=lasted, over=True)))
            noticed()

    def _began(self, lasted: float) -> datetime:
        return self._clock.now() - timedelta(seconds=lasted)

    def _seen(self, lasted: float, main_thread: int) -> Block:
        runner = self._stepping.current
        since = self._began(lasted)
        where = _where(sys._current_frames().get(main_thread))
        block = Block(since, lasted, False, where)
        if runner is None:
            return block
        context = runner.context
        return replace(block, function=runner.function_name, task_id=context.task_id, execution_id=context.execution_id)

    def _since(self, seconds: float) -> list[Block]:
        earliest = self._clock.monotonic() - seconds
        return [block for ended, block in self._past.copy() if ended >= earliest]


def _where(frame: FrameType | None) -> str:
    """The innermost place in the user's own code; inside a library where there is none."""
    frames: list[FrameType] = []
    while frame is not None and frame.f_code.co_filename != _STEPS:
        frames.append(frame)
        frame = frame.f_back
    if not frames:
        return "an unknown place"
    not_ours = [one for one in frames if not one.f_code.co_filename.startswith((_OURS, _LIBRARY, "<"))]
    own = [one for one in not_ours if not any(part in one.f_code.co_filename for part in _INSTALLED)]
    found = next(iter(own or not_ours or frames))
    place = Path(found.f_code.co_filename)
    return f"{place.parent.name}/{place.name}:{found.f_lineno} in {found.f_code.co_name}"


def _call(loop: asyncio.AbstractEventLoop, what: Callable[[], Any]) -> None:
    with contextlib.suppress(RuntimeError):  # it was closed
        loop.call_soon_threadsafe(what)
