"""Nodes wake each other for rare events: an earlier task, a change, a word to a node. What is lost, the poll heals.

PostgreSQL carries them by NOTIFY, one at most each 50 ms however much there is to tell; SQLite's nodes, all on one
machine, ring a doorbell on the loopback.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from modules.core.background import backoff_seconds
from modules.core.clock import SystemClock
from modules.core.errors import ModuleError
from modules.core.scheduler.db_ops.notifications import listen
from modules.core.scheduler.doorbell import Doorbell
from modules.core.scheduler.nodes import live
from modules.core.scheduler.runtime import Runtime

logger = logging.getLogger(__name__)

GAP = 0.05
PROOF_PATIENCE = 10.0
CHANGES_AT_ONCE: Final = 100  # a payload has 8000 bytes
PORTS_KNOWN_FOR = 2.0
STOP_PATIENCE = 5.0


class NotHeard(Exception):
    """LISTEN was accepted, and our own notification did not arrive: a pooler stands between."""


@dataclass(slots=True)
class News:
    """What one wake-up carries: the earliest due moment, the events that changed, whether nodes should look."""

    due: datetime | None = None
    changes: list[str] = field(default_factory=list)
    nodes: bool = False

    def __bool__(self) -> bool:
        return self.due is not None or bool(self.changes) or self.nodes

    def to_json(self, sender: str) -> str:
        fields: dict[str, Any] = {"node": sender}
        if self.due is not None:
            fields["due"] = self.due.isoformat()
        if self.changes:
            fields["changes"] = self.changes
        if self.nodes:
            fields["nodes"] = True
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def read(cls, payload: str) -> tuple[str, News]:
        """The sender and what it tells. Raises ValueError for what no node has sent."""
        try:
            told = json.loads(payload)
            due = datetime.fromisoformat(told["due"]) if "due" in told else None
            news = cls(due, [str(event_id) for event_id in told.get("changes", ())], bool(told.get("nodes")))
            sender = str(told["node"])
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError("not of the form that nodes send") from error
        if due is not None and due.tzinfo is None:
            raise ValueError("a moment without a timezone")
        return sender, news


class Wakeups:
    """Tells the other nodes, and calls back for what they tell. Call everything on the event loop that started it.

    `on_reconnect` means that something may have been missed: look at everything. `listening` is whether the others are
    heard now; without it, and between connections, the safety poll finds what they did. Announcing works before
    `start()` as well; what waits to be told is told before `stop()` returns.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        on_due: Callable[[datetime], None],
        on_change: Callable[[str], None],
        on_nodes: Callable[[], None],
        on_reconnect: Callable[[], None],
    ) -> None:
        self._runtime = runtime
        self._on_due, self._on_change, self._on_nodes, self._on_reconnect = on_due, on_change, on_nodes, on_reconnect
        self._news = News()
        self._sending: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._listener: asyncio.Task[None] | None = None
        self._proven = asyncio.Event()
        self._bell: Doorbell | None = None
        self._ports: tuple[float, list[int]] = (float("-inf"), [])
        self._clock = SystemClock()
        self.doorbell_port: int | None = None
        self.failures = 0

    @property
    def listening(self) -> bool:
        """Whether what other nodes announce is heard."""
        if self._bell is not None:
            return self._bell.is_open
        return self._listener is not None and self._proven.is_set()

    @property
    def expected(self) -> bool:
        """Whether it should be: not behind a pooler that loses notifications."""
        return self._listener is not None or self._bell is not None

    async def start(self) -> None:
        """Begin to listen; PostgreSQL's connection is made in the background, and made again when it is lost."""
        self._hurry = asyncio.Event()
        self.failures = 0
        if self._runtime.database.dialect_name == "sqlite":
            await self._open_bell()
        elif self._runtime.database.can_listen and self._listener is None:
            self._proven = asyncio.Event()
            self._listener = asyncio.create_task(self._listen(), name="core.scheduler wake-ups")

    async def stop(self, patience: float = STOP_PATIENCE) -> None:
        """Tell what waits to be told, and hear nothing more. Safe to call twice, and before start()."""
        self._hurry.set()
        if self._listener is not None:
            self._listener.cancel()
        if pending := [task for task in (self._sending, self._listener) if task is not None and not task.done()]:
            _, late = await asyncio.wait(pending, timeout=patience)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=patience)
        self._sending = self._listener = None
        if self._bell is not None:
            self._bell.close()
        self._bell = self.doorbell_port = None
        self._hurry = asyncio.Event()

    def announce_due(self, at: datetime) -> None:
        """Something may be due at that moment that the others do not know of."""
        self._news.due = at if self._news.due is None else min(self._news.due, at)
        self._send_soon()

    def announce_change(self, event_id: str) -> None:
        """This event is no longer as the others may have seen it."""
        self._news.changes.append(event_id)
        self._send_soon()

    def announce_nodes(self) -> None:
        """Something was asked of a node."""
        self._news.nodes = True
        self._send_soon()

    def _send_soon(self) -> None:
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_all(), name="core.scheduler announcements")

    async def _send_all(self) -> None:
        while self._news:
            news = self._take()
            try:
                if self._runtime.database.dialect_name == "sqlite":
                    await self._ring(news)
                else:
                    await self._runtime.db_ops.notify(news.to_json(self._runtime.node_id))
            except (ModuleError, OSError) as error:
                logger.info("other nodes could not be told, and will find out by themselves: %s", error)
            await self._clock.wait(self._hurry, GAP)

    def _take(self) -> News:
        changes = list(dict.fromkeys(self._news.changes))
        news = News(self._news.due, changes[:CHANGES_AT_ONCE], self._news.nodes)
        self._news = News(changes=changes[CHANGES_AT_ONCE:])
        return news

    async def _listen(self) -> None:
        database = self._runtime.database.clone()
        try:
            while True:
                try:
                    began = asyncio.Event()
                    async with asyncio.TaskGroup() as together:
                        together.create_task(listen(database, self._heard, began.set))
                        together.create_task(self._prove(began))
                except Exception as error:
                    self._proven.clear()
                    self.failures += 1
                    delay = backoff_seconds(self.failures)
                    level = logging.WARNING if self.failures == 1 else logging.INFO
                    reason = _innermost(error)
                    logger.log(level, "other nodes are not heard (%s); next try in %.1f s", reason, delay)
                    await database.close()
                    await self._clock.wait(self._hurry, delay)
        finally:
            await database.close()

    async def _prove(self, began: asyncio.Event) -> None:
        """Hear ourselves: a pooler takes LISTEN, and then hands the notifications to somebody else."""
        await began.wait()
        await self._runtime.db_ops.notify(News().to_json(self._runtime.node_id))
        try:
            async with asyncio.timeout(PROOF_PATIENCE):
                await self._proven.wait()
        except TimeoutError:
            raise NotHeard(
                "LISTEN has no effect through this URL: behind PgBouncer in transaction mode set "
                "APP_DATABASE_POOLER=transaction"
            ) from None

    def _heard(self, payload: str) -> None:
        try:
            sender, news = News.read(payload)
        except ValueError:
            logger.debug("a notification that is none of ours was passed over")
            return
        if sender == self._runtime.node_id:
            if not self._proven.is_set():
                self._proven.set()
                self.failures = 0
                self._on_reconnect()
            return
        if news.due is not None:
            self._on_due(news.due)
        for event_id in news.changes:
            self._on_change(event_id)
        if news.nodes:
            self._on_nodes()

    async def _open_bell(self) -> None:
        if self._bell is None:
            bell = Doorbell(self._rung)
            try:
                self.doorbell_port = await bell.open()
            except OSError as error:
                logger.info("no port of the loopback is free for wake-ups, the poll finds what others do: %s", error)
            else:
                self._bell = bell

    async def _ring(self, news: News) -> None:
        bell, own = self._bell or Doorbell(self._rung), self._bell is None
        kinds = b"d" * (news.due is not None) + b"c" * bool(news.changes) + b"n" * news.nodes
        asked, ports = self._ports
        if own or self._clock.monotonic() - asked > PORTS_KNOWN_FOR:
            found = await self._runtime.db_ops.list_nodes(self._runtime.lease_now())
            here = [row for row in live(found.rows, found.now) if row.host == socket.gethostname()[:255]]
            ports = [row.doorbell_port for row in here if row.doorbell_port and row.id != self._runtime.node_id]
            self._ports = (self._clock.monotonic(), ports)
        if ports and own:
            await bell.open()
        bell.ring(ports, kinds)
        if own:
            bell.close()

    def _rung(self, kinds: set[int]) -> None:
        if kinds & set(b"d"):
            self._on_due(self._runtime.clock.now())
        if kinds & set(b"c"):
            self._on_reconnect()  # which event changed is not said
        if kinds & set(b"n"):
            self._on_nodes()


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
