"""Whatever is done to tasks and nodes, in any order: the invariants that hold under kill -9 hold here too."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.chaos.checker import violations
from tests.chaos.client import Client
from tests.chaos.virtual import VirtualNode, World, virtual_world

EXAMPLES = {"sqlite": 60, "postgresql": 8}
MORE = os.environ.get("LIFE_CYCLE_EXAMPLES")
STEPS = 30
MOMENT = 0.001

NODE = st.integers(0, 1)
FAILING = st.sampled_from((0, 0, 1, 2, 9))
DELIVERY = st.sampled_from(("at_least_once", "at_least_once", "at_most_once"))
ATTEMPTS = st.integers(1, 3)
SECONDS = st.sampled_from((0.5, 1.0, 10.0, 31.0, 61.0, 600.0))
INTERVAL = st.sampled_from((1, 10, 60))


class LifeCycle(RuleBasedStateMachine):
    """Two nodes and whoever asks them. A subclass has the `world` and `run`, which waits for a coroutine."""

    world: World
    tasks = Bundle("tasks")

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.world.start_over()

    def teardown(self) -> None:
        assert violations(self.world.evidence()) == []
        self.run(self.world.settle())
        assert violations(self.world.evidence(settled=True)) == []

    def node(self, number: int) -> VirtualNode:
        return self.world.nodes[number]

    def client(self, number: int) -> Client:
        return self.world.client_of(self.node(number))

    # What people do.

    @rule(target=tasks, node=NODE, delay=SECONDS, failing=FAILING, delivery=DELIVERY, attempts=ATTEMPTS)
    def schedule_once(self, node: int, delay: float, failing: int, delivery: str, attempts: int) -> str:
        return self._scheduled(
            node,
            schedule_time=self.world.clock.now() + timedelta(seconds=delay),
            parameters={"failing": failing},
            delivery=delivery,
            retry={"max_attempts": attempts, "backoff": "fixed", "delay_seconds": 5.0, "jitter": False},
        )

    @rule(
        target=tasks, node=NODE, every=INTERVAL, failing=FAILING, delivery=DELIVERY, limit=st.sampled_from((None, 1, 3))
    )
    def schedule_recurring(self, node: int, every: int, failing: int, delivery: str, limit: int | None) -> str:
        return self._scheduled(
            node,
            interval_type="seconds",
            interval_value=every,
            parameters={"failing": failing},
            delivery=delivery,
            max_executions=limit,
            retry={"max_attempts": 3, "backoff": "fixed", "delay_seconds": 0.5, "jitter": False},
        )

    def _scheduled(self, node: int, **fields: Any) -> str:
        task_id = self.run(self.client(node).schedule(**fields))
        assert task_id is not None
        return str(task_id)

    @rule(task=tasks, node=NODE, failing=FAILING)
    def edit_the_parameters(self, task: str, node: int, failing: int) -> None:
        self.run(self.client(node).edit(task, {"failing": failing}))

    @rule(task=tasks, node=NODE, every=INTERVAL)
    def edit_the_interval(self, task: str, node: int, every: int) -> None:
        self.run(self.client(node).edit(task, {}, interval_type="seconds", interval_value=every))

    @rule(task=tasks, node=NODE, delay=SECONDS)
    def edit_the_time(self, task: str, node: int, delay: float) -> None:
        moment = self.world.clock.now() + timedelta(seconds=delay)
        self.run(self.client(node).edit(task, {}, recurring=False, schedule_time=moment))

    @rule(task=tasks, node=NODE, limit=st.sampled_from((1, 2, 5)))
    def edit_the_limit(self, task: str, node: int, limit: int) -> None:
        self.run(self.client(node).edit(task, {}, max_executions=limit))

    @rule(task=tasks, node=NODE)
    def pause(self, task: str, node: int) -> None:
        self.run(self.client(node).pause(task))

    @rule(task=tasks, node=NODE)
    def resume(self, task: str, node: int) -> None:
        self.run(self.client(node).resume(task))

    @rule(task=tasks, node=NODE)
    def cancel(self, task: str, node: int) -> None:
        self.run(self.client(node).cancel(task))

    @rule(task=tasks, node=NODE)
    def execute_now(self, task: str, node: int) -> None:
        self.run(self.client(node).execute(task))

    # What nodes do, and what is done to them.

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule(node=NODE)
    def run_what_is_due(self, node: int) -> None:
        self.run(self.node(node).run_due())

    @rule(node=NODE)
    def claim(self, node: int) -> None:
        self.run(self.node(node).claim())

    @rule(node=NODE)
    def finish(self, node: int) -> None:
        self.run(self.node(node).finish())

    @rule(node=NODE, started=st.booleans())
    def crash(self, node: int, started: bool) -> None:
        self.node(node).crash(started=started)

    @rule(node=NODE)
    def recover(self, node: int) -> None:
        self.run(self.node(node).recover())

    @rule(node=NODE)
    def stop(self, node: int) -> None:
        self.run(self.node(node).stop())


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_invariants_hold_in_any_order(database: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Each example begins with empty tables, goes its way, and lets everything come to its end."""
    url = request.getfixturevalue("sqlite_url" if database == "sqlite" else "postgres_url")
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:

            class OnThisDatabase(LifeCycle):
                world = runner.run(stack.enter_async_context(virtual_world(url, tmp_path)))

                def run(self, work: Coroutine[Any, Any, Any]) -> Any:
                    self.world.advance(MOMENT)  # nothing happens at the same time
                    return runner.run(work)

            run_state_machine_as_test(
                OnThisDatabase,
                settings=settings(
                    max_examples=int(MORE or EXAMPLES[database]), stateful_step_count=STEPS, deadline=None
                ),
            )
        finally:
            runner.run(stack.aclose())
