"""The application context: what modules share, and the order in which they come and go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from fastapi import APIRouter

from modules.core.background import SharedCall, finish_left_alone
from modules.core.clock import Clock, SystemClock
from modules.core.database import Database
from modules.core.errors import ConfigurationError, ModuleError, did_you_mean
from modules.core.ids import new_id
from modules.core.migrations import migrate
from modules.core.module import Module, load_modules
from modules.core.settings import AppSettings, ModuleSettings

S = TypeVar("S", bound=ModuleSettings)
Hook = Callable[[], Awaitable[None]]
logger = logging.getLogger(__name__)

LAST_PATIENCE = 5.0


class UnknownService(ModuleError):
    """No module has registered a service under that name, or it may not be looked up yet."""

    code = "UNKNOWN_SERVICE"


class AppContext:
    """Settings, database, clock and services of one application; `async with AppContext(settings) as context`.

    Phase 1 (`register_modules`) is synchronous and does no I/O; phase 2 (`start`) opens the database, brings its
    schema up to date and starts the modules, dependencies first. `stop` runs in reverse, also after a start that
    failed half-way. `session_id` is new at each start of the process.
    """

    def __init__(self, settings: AppSettings | None = None, *, clock: Clock | None = None) -> None:
        self.settings = settings or AppSettings.load()
        self.clock: Clock = clock or SystemClock()
        self.session_id = new_id()
        self.database = Database(
            self.settings.effective_database_url,
            sqlite_synchronous=self.settings.sqlite_synchronous,
            clock=self.clock,
            pooler=self.settings.database_pooler,
        )
        self.routers: list[APIRouter] = []
        self._services: dict[str, tuple[str, Any]] = {}
        self._modules: list[Module] | None = None
        self._registering: Module | None = None
        self._to_stop: list[Module] = []
        self._background: list[tuple[Hook, Hook]] = []
        self._background_to_stop: list[Hook] = []
        self._starting: asyncio.Future[None] | None = None
        self._stop = SharedCall(self._stop_everything)

    def module_settings(self, module_id: str, model: type[S]) -> S:
        """A module's settings: from code (`AppSettings.module_settings`), then the environment, then .env."""
        return model.load(**self.settings.module_settings.get(module_id, {}))

    def register_service(self, name: str, service: Any) -> None:
        """Offer `service` to the other modules; convention: `<module id>.<what>`."""
        if name in self._services:
            raise ConfigurationError(f"A service called {name!r} is registered already: choose another name.")
        owner = self._registering.MODULE_ID if self._registering else ""
        self._services[name] = (owner, service)

    def get_service(self, name: str) -> Any:
        """The service of that name. Raises UnknownService, which says what is known and what to do."""
        entry = self._services.get(name)
        if entry is None:
            raise UnknownService(
                f"There is no service {name!r}.{did_you_mean(name, self._services)} "
                f"Registered: {', '.join(sorted(self._services)) or 'none yet'}."
            )
        owner, service = entry
        asking = self._registering
        if asking is not None and owner not in (asking.MODULE_ID, *asking.DEPENDS_ON):
            raise UnknownService(
                f"{asking.MODULE_ID!r} looks up {name!r} while registering, but does not depend on {owner!r}: "
                f"add {owner!r} to its DEPENDS_ON, or look it up in start(context)."
            )
        return service

    def add_router(self, router: APIRouter) -> None:
        """Offer a router; the application includes those added in phase 1."""
        self.routers.append(router)

    def add_background(self, start: Hook, stop: Hook) -> None:
        """Announce work that begins when every module has started and ends before the first of them is stopped."""
        self._background.append((start, stop))

    def register_modules(self) -> None:
        """Phase 1 of every module in `settings.modules`. Runs once; later calls do nothing."""
        if self._modules is not None:
            return
        modules = load_modules(self.settings.modules)
        for module in modules:
            self._registering = module
            try:
                module.register(self)
            finally:
                self._registering = None
        self._modules = modules

    async def start(self) -> None:
        """Phase 2. After a failure everything that was started is stopped before the error is raised."""
        self.register_modules()
        starting = self._starting = asyncio.get_running_loop().create_future()
        try:
            await self._start_everything()
        except BaseException:
            starting.set_result(None)
            await self._stop()
            raise
        starting.set_result(None)

    async def _start_everything(self) -> None:
        await self.database.open()
        await migrate(self.database, upgrade=self.settings.auto_migrate)
        for module in self._modules or ():
            self._to_stop.append(module)
            await module.start(self)
        for start, stop in self._background:
            self._background_to_stop.append(stop)
            await start()

    async def stop(self) -> None:
        """Stop background work, then the modules in reverse order, then close the database.

        A start under way is let to its end first. Idempotent, and whoever calls it twice, or gives up waiting, cuts
        nothing short; one failure stops no other stop.
        """
        await self._stop()

    async def _stop_everything(self) -> None:
        if self._starting is not None and self._starting.get_loop() is asyncio.get_running_loop():
            await asyncio.wait((self._starting,))
        try:
            while self._background_to_stop:
                await _go_on_after(self._background_to_stop.pop()(), "background work")
            while self._to_stop:
                module = self._to_stop.pop()
                await _go_on_after(module.stop(self), module.MODULE_ID)
        finally:
            await finish_left_alone(LAST_PATIENCE)
            await self.database.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


async def _go_on_after(stop: Awaitable[None], what: str) -> None:
    try:
        await stop
    except Exception:
        logger.exception("stopping %s failed", what)
