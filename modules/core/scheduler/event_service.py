"""The part of the service that publishes events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from modules.core.joined import after_commit, joining
from modules.core.result import returns_result
from modules.core.scheduler import happenings
from modules.core.scheduler.cluster import Cluster
from modules.core.scheduler.dispatcher import Dispatcher
from modules.core.scheduler.input_rules import checked_line, checked_parameters
from modules.core.scheduler.questions import json_object
from modules.core.scheduler.runtime import Runtime
from modules.core.session import current_session_id

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


class EventService:
    """Publishes events; the service builds what this asks."""

    _runtime: Runtime
    cluster: Cluster
    dispatcher: Dispatcher

    @returns_result
    async def publish_event(
        self,
        name: str,
        payload: Mapping[str, Any] | None = None,
        *,
        actor: str | None = None,
        session: AsyncSession | None = None,
    ) -> dict[str, Any]:
        """Start every task that has `on_event` of this name, once; data `{"event", "started", "missed"}`, in tasks.

        Durable on return, or with the caller's transaction where `session` is given. Each run is told `{"name",
        "payload"}` as `context.event`. What is paused, under way or has used up its limit has it on record as missed.
        The event itself is not kept: tasks that are scheduled later do not get it.
        """
        checked_line(name, "name")
        happening = happenings.published(
            name,
            checked_parameters({} if payload is None else json_object(payload, "payload"), "payload"),
            None if actor is None else checked_line(actor, "actor"),
        )
        runtime = self._runtime
        async with joining(runtime.database.url, session):
            now = runtime.clock.now()
            session_id = current_session_id() or runtime.session_id
            done = await runtime.db_ops.publish(name, happening, now, session_id)
            if done.started:
                after_commit(self._something_waits)
        return {"event": name, "started": done.started, "missed": done.missed}

    def _something_waits(self) -> None:
        self.dispatcher.wake()
        self.cluster.tell_due(self._runtime.clock.now())
