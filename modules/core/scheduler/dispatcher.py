"""The loop: sleep until something is due, take on what fits, start it when its time has come and a slot is free.

What is known to be due is remembered: a task that is scheduled for later costs no statement, and neither does an
execution that ends. Only a look now and then makes up for what nobody said (another node that scheduled something and
died, a clock that was set).
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count

from modules.core.background import BackgroundLoop
from modules.core.clock import Timer
from modules.core.scheduler import control
from modules.core.scheduler.db_models import ScheduledEvent
from modules.core.scheduler.db_ops import Claim, ClaimRequest, ClaimResult, EventChange, Look
from modules.core.scheduler.fairness import Limit, rank
from modules.core.scheduler.firing import TICK
from modules.core.scheduler.heartbeat import TRUSTED_SHARE
from modules.core.scheduler.job_manager import JobManager
from modules.core.scheduler.pace import Pace
from modules.core.scheduler.recovery import Recovery
from modules.core.scheduler.runtime import Runtime
from modules.core.scheduler.trigger_manager import TriggerManager

logger = logging.getLogger(__name__)

BATCH = 500
MOST_UNRECORDED = 1_000  # outcomes on their way to the database; beyond that, taking on more waits
GATHERING = 0.01  # seconds that a small batch waits for company
HELD_BACK = 1.0  # seconds that a claim may wait here for a slot before others may have it


class Dispatcher:
    """Fires and claims while there are free slots. `tick` returns its own delay; `run_once` is for tests and tools."""

    def __init__(self, runtime: Runtime, job_manager: JobManager, triggers: TriggerManager, recovery: Recovery) -> None:
        self._runtime = runtime
        self._jobs = job_manager.jobs
        self._triggers = triggers
        self._recovery = recovery
        self._pace = Pace()
        self._due: deque[tuple[float, Claim]] = deque()  # they wait for a slot, since when
        self._early: list[tuple[datetime, int, Claim]] = []  # a heap; they wait for their time
        self._order = count()
        self._timer: Timer | None = None
        self._starting = False
        self._one_tick = asyncio.Lock()
        self._hurry = asyncio.Event()
        self._taking = False
        self._changed_meanwhile: set[str] = set()
        self._withdrawn: list[Claim] = []
        self._must_look = True
        self._next_due: datetime | None = None
        self._looked_at = 0.0
        self._small_since: float | None = None
        self.on_given_back: Callable[[], None] = lambda: None  # claims wait again, for any node
        self._jobs.on_slot = self._slot_is_free
        self._jobs.on_due = self.wake
        self.loop = BackgroundLoop("core.scheduler dispatcher", self.tick, runtime.clock)

    @property
    def running(self) -> int:
        """Taken slots."""
        return self._jobs.alive

    @property
    def waiting(self) -> int:
        """Claims that wait for their time or for a slot."""
        return len(self._due) + len(self._early)

    @property
    def takes_on_more(self) -> bool:
        """Whether something that falls due would be started here without delay."""
        free = self.running + len(self._due) < self._runtime.settings.max_concurrent_tasks
        return self.loop.running and free and not self._runtime.draining

    @property
    def waiting_for_the_database(self) -> bool:
        """Whether so many outcomes are not on disk yet that taking on more has to wait."""
        return self._jobs.recorder.waiting > MOST_UNRECORDED

    def start(self) -> None:
        # New ones at each start, which may be in another event loop.
        self._one_tick, self._hurry = asyncio.Lock(), asyncio.Event()
        self._must_look = True
        self._jobs.begin()
        self.loop.start()

    def wake(self, at: datetime | None = None) -> None:
        """Something will be due at `at`; None means that somebody has to look."""
        if at is None:
            self._must_look = True
        elif self._next_due is None or at < self._next_due:
            self._next_due = at
        else:
            return
        self.loop.wake()

    async def tick(self) -> float:
        """Take on what is due and fits; returns the seconds until there will be more."""
        async with self._one_tick:
            withdrawn, self._withdrawn = self._withdrawn, []
            await self._give_back(withdrawn)
            if self._runtime.draining:
                await self.withdraw_all()
                return self._runtime.poll_ceiling_seconds
            await self._give_back_what_waits_long()
            room = self._room()
            if room <= 0:  # a slot that falls free wakes the loop
                return HELD_BACK if self._due or self.waiting_for_the_database else self._ceiling()
            if self._is_known_to_be_idle():
                return self._delay()
            if (more_room_in := self._seconds_to_more_room(room)) > 0:
                return more_room_in
            await self._take(min(room, BATCH), self._look_ahead())
            return min(self._delay(), HELD_BACK) if self._due else self._delay()

    async def run_once(self) -> list[str]:
        """Take on what is due, then wait until all of it is on record; returns the ids of the executions taken on."""
        async with self._one_tick:
            claims: list[Claim] = []
            self._must_look = True
            while self._must_look and not claims:  # what is fired may have to wait, and leave room for more
                claims = await self._take(self._runtime.settings.max_concurrent_tasks, timedelta(0))
        await self._jobs.quiet()
        return [claim.execution_id for claim in claims]

    async def withdraw(self, event_id: str) -> None:
        """Give back what is claimed of this event and has not begun: its task is about to be changed."""
        if self._taking:
            self._changed_meanwhile.add(event_id)
        await self._give_back([claim for claim in self._claims() if claim.event.id == event_id])

    def withdraw_soon(self, event_id: str) -> None:
        """As withdraw, for a change that another node made: nothing of it starts from here on."""
        if self._taking:
            self._changed_meanwhile.add(event_id)
        for claim in self._claims():
            if claim.event.id == event_id:
                self._remove(claim)
                self._withdrawn.append(claim)
        self.wake()

    async def withdraw_all(self) -> None:
        """Give back everything that has not begun: this process stops, or takes on nothing more."""
        await self._give_back(self._claims())

    async def drain(self, seconds: float) -> None:
        """Wait for what runs, up to `seconds` or until `hurry()`. Stop the loop first."""
        if not self.running:
            return
        logger.info("waiting up to %.0f s for %d running tasks", seconds, self.running)
        hurry = asyncio.create_task(self._hurry.wait())
        everything = asyncio.create_task(self._jobs.all_ended())
        try:
            await asyncio.wait((hurry, everything), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurry.cancel()
            everything.cancel()
            await asyncio.wait((hurry, everything))

    def hurry(self) -> None:
        """Stop waiting for running tasks: a second signal says so."""
        self._hurry.set()

    async def settled(self, seconds: float) -> None:
        """Wait until every slot is free, up to `seconds`."""
        everything = asyncio.create_task(self._jobs.all_ended())
        await asyncio.wait((everything,), timeout=seconds)
        everything.cancel()
        await asyncio.wait((everything,))

    def drop(self, execution_ids: set[str]) -> None:
        """Forget claims that have not begun and whose lease was lost."""
        for claim in self._claims():
            if claim.execution_id in execution_ids:
                self._remove(claim)

    # What to do now, as far as it is known without asking.

    def _room(self) -> int:
        """How many more may be taken on. Nothing while enough is in hand, so that batches stay large."""
        self._pace.measure(self._jobs.ended, self._runtime.clock.monotonic())
        slots, ahead = self._runtime.settings.max_concurrent_tasks, self._pace.ahead
        if len(self._due) > ahead // 2 or self.waiting_for_the_database:
            return 0
        return slots + ahead - self.running - len(self._due)

    def _seconds_to_more_room(self, room: int) -> float:
        """Where short tasks end by the hundred, a batch is worth a moment's wait; nothing waits longer than that."""
        now = self._runtime.clock.monotonic()
        if room >= (self._runtime.settings.max_concurrent_tasks + self._pace.ahead) // 4 or not self._pace.ahead:
            self._small_since = None
            return 0.0
        if self._small_since is None:
            self._small_since = now
        if (left := self._small_since + GATHERING - now) <= 0:
            self._small_since = None
        return left

    def _is_known_to_be_idle(self) -> bool:
        if self._must_look or self._ceiling() <= 0:
            return False
        return self._next_due is None or self._next_due > self._runtime.clock.now() + self._look_ahead()

    def _ceiling(self) -> float:
        """Seconds until somebody has to look, whatever is known."""
        since = self._runtime.clock.monotonic() - self._looked_at
        return max(0.0, self._runtime.poll_ceiling_seconds - since)

    def _delay(self) -> float:
        if self._must_look:
            return 0.0
        if self._next_due is None:
            return self._ceiling()
        seconds = (self._next_due - self._look_ahead() - self._runtime.clock.now()).total_seconds()
        return min(max(seconds, 0.0), self._ceiling())

    def _look_ahead(self) -> timedelta:
        return timedelta(seconds=self._runtime.settings.look_ahead_seconds)

    # Taking on.

    async def _take(self, limit: int, look_ahead: timedelta) -> list[Claim]:
        self._must_look, self._next_due = False, None  # what is said from here on comes on top
        runtime = self._runtime
        request = ClaimRequest(
            now=runtime.clock.now(),
            clock=runtime.clock,
            lease=timedelta(seconds=runtime.settings.lease_seconds),
            limit=limit,
            node_id=runtime.node_id,
            session_id=runtime.session_id,
            functions=runtime.registry.keys(),
            excluded_events={claim.event.id for claim in self._jobs.stuck},
            decide=self._triggers.decide_firing,
            start_of=self._triggers.start_of,
            look_ahead=look_ahead,
            end_pause=self._end_pause,
            lease_now=runtime.lease_now(),
            limits=runtime.registry.limits,
            room=self._room_of_modules(),
            head_start=timedelta(seconds=runtime.settings.priority_head_start_seconds),
        )
        self._taking = True
        self._changed_meanwhile.clear()
        try:
            result = await self._trusted(request)
        except BaseException:
            self._must_look = True
            raise
        finally:
            self._taking = False
        self._looked_at = runtime.clock.monotonic()
        if result.look is None:
            self._must_look = True
        else:
            self._note(result.look)
        changed = [claim for claim in result.claims if claim.event.id in self._changed_meanwhile]
        self._accept([claim for claim in result.claims if claim not in changed] if changed else result.claims)
        await self._give_back(changed)
        return result.claims

    async def _trusted(self, request: ClaimRequest) -> ClaimResult:
        """What this process may start: claimed, and held by a lease that can be trusted."""
        runtime = self._runtime
        asked = runtime.clock.monotonic()
        result = await runtime.db_ops.fire_and_claim(request)
        trusted = runtime.settings.lease_seconds * TRUSTED_SHARE
        while result.claims and runtime.clock.monotonic() - asked > trusted:
            # The loop or the database stood still since the lease was written: only what is still ours may start.
            asked = runtime.clock.monotonic()
            ids = [claim.execution_id for claim in result.claims]
            held = await runtime.db_ops.extend_leases(runtime.node_id, ids, runtime.lease_now(), request.lease)
            lost = [claim for claim in result.claims if claim.execution_id not in held]
            if lost:
                logger.warning("%d executions lost their lease before they could start", len(lost))
            result = replace(result, claims=[claim for claim in result.claims if claim.execution_id in held])
        return result

    def _note(self, look: Look) -> None:
        self._recovery.note(look)
        moments = [look.next_due, self._next_due]
        if look.pause_ends is not None:  # nothing is claimed ahead of it
            moments.append(look.pause_ends + self._look_ahead())
        self._next_due = min((moment for moment in moments if moment is not None), default=None)

    def _end_pause(self, event: ScheduledEvent) -> EventChange:
        # What comes due at the very moment that ends the pause runs; a node that was away then is late, not paused.
        last = (event.paused_until or self._runtime.clock.now()) - TICK
        return control.resume(event, lambda event: self._triggers.skip_paused(event, last))

    def _room_of_modules(self) -> dict[Limit, int]:
        return {
            limit: limit.most - self._jobs.held_of_module(limit.module_id)
            for limit in self._runtime.registry.node_limits
        }

    # Starting.

    def _accept(self, claims: list[Claim]) -> None:
        head_start = timedelta(seconds=self._runtime.settings.priority_head_start_seconds)
        now = self._runtime.clock.now()
        for claim in sorted(claims, key=lambda claim: rank(claim.due, claim.event.priority, head_start)):
            self._jobs.hold(claim)
            if claim.due <= now:
                self._due.append((self._runtime.clock.monotonic(), claim))
            else:
                heapq.heappush(self._early, (claim.due, next(self._order), claim))
        self._start_what_may()

    def _start_what_may(self) -> None:
        """Start what is due while there are slots. Never early: a timer that goes off too soon is set again."""
        if self._starting:
            return  # a function that could not be called frees its slot at once, and comes back here
        self._starting = True
        try:
            now = self._runtime.clock.now()
            while self._early and self._early[0][0] <= now:
                self._due.append((self._runtime.clock.monotonic(), heapq.heappop(self._early)[2]))
            while self._due and self.running < self._runtime.settings.max_concurrent_tasks:
                self._jobs.start(self._due.popleft()[1])
        finally:
            self._starting = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._early:
            seconds = (self._early[0][0] - self._runtime.clock.now()).total_seconds()
            self._timer = self._runtime.clock.call_later(max(seconds, 0.0), self._start_what_may)

    def _slot_is_free(self) -> None:
        if self._starting:
            return
        self._start_what_may()
        if len(self._due) <= self._pace.ahead // 2 and self._has_more():
            self.loop.wake()

    def _has_more(self) -> bool:
        return self._must_look or (self._next_due is not None and self._next_due <= self._runtime.clock.now())

    # Giving back.

    def _claims(self) -> list[Claim]:
        return [*(claim for _, claim in self._due), *(claim for _, _, claim in self._early)]

    def _remove(self, claim: Claim) -> None:
        self._due = deque(entry for entry in self._due if entry[1] is not claim)
        self._early = [entry for entry in self._early if entry[2] is not claim]
        heapq.heapify(self._early)
        self._jobs.let_go(claim)

    async def _give_back_what_waits_long(self) -> None:
        """The slots are taken by what runs for long: another node may have some that are free."""
        if not self._due:
            return
        latest = self._runtime.clock.monotonic() - HELD_BACK
        if late := [claim for since, claim in self._due if since <= latest]:
            self._pace.ahead = 0
            await self._give_back(late)

    async def _give_back(self, claims: list[Claim]) -> None:
        if not claims:
            return
        for claim in claims:
            if claim.execution_id in self._jobs.held:
                self._remove(claim)
        await self._runtime.db_ops.release(claims, self._runtime.clock.now())
        self._must_look = True
        self.on_given_back()
