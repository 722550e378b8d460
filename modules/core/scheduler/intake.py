"""New tasks on their way to the database: those that arrive while a transaction is under way share the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
BATCH = 500


class Intake:
    """`add(row)` returns when the row is durable. `insert` stores a batch and answers for each row: None, or the error
    that only this one has."""

    def __init__(self, insert: Callable[[Sequence[Row]], Awaitable[Sequence[Exception | None]]]) -> None:
        self._insert = insert
        self._waiting: deque[tuple[Row, asyncio.Future[None]]] = deque()
        self._writing: asyncio.Task[None] | None = None

    async def add(self, row: Row) -> None:
        """Raises what the database says of this row, and what keeps the whole batch from being stored."""
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, stored))
        if self._writing is None or self._writing.done():
            # A task of its own: a caller that gives up must not leave the others waiting.
            self._writing = asyncio.create_task(self._write(), name="core.scheduler intake")
        await stored

    async def _write(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            try:
                answers = await self._insert([row for row, _ in batch])
            except BaseException as error:
                _tell(batch, [error] * len(batch))
                if not isinstance(error, Exception):
                    raise
            else:
                _tell(batch, answers)


def _tell(batch: Sequence[tuple[Row, asyncio.Future[None]]], answers: Sequence[BaseException | None]) -> None:
    for (_, stored), error in zip(batch, answers, strict=True):
        if stored.done():
            continue  # its caller has given up; the row is stored all the same
        if error is None:
            stored.set_result(None)
        else:
            stored.set_exception(error)
