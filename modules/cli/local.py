"""The scheduler opened by a command: the database and the services, without dispatching anything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from modules.core.app_context import AppContext
from modules.core.database import Database
from modules.core.errors import ConfigurationError
from modules.core.scheduler.service import SchedulerService
from modules.core.settings import AppSettings

T = TypeVar("T")

EXAMPLES = ("modules.standard.data_export", "modules.standard.user_auth", "modules.standard.file_upload")
ONLY_LOOK = {"enabled": False, "housekeeping": False}


def load_settings(database_url: str | None = None, *, examples: bool = False, **values: Any) -> AppSettings:
    """The application's settings from the environment and .env, with a command's options above them."""
    given = {name: value for name, value in values.items() if value is not None}
    if database_url:
        given["database_url"] = database_url
    settings = AppSettings.load(**given)
    return AppSettings.load(**{**given, "modules": (*settings.modules, *EXAMPLES)}) if examples else settings


def with_context(settings: AppSettings, work: Callable[[AppContext], Awaitable[T]], *, all_modules: bool = False) -> T:
    """Run `work` with the database open and nothing dispatched; the schema must be up to date.

    Only the scheduler's own module is loaded, unless the command needs what the others register.
    """
    refuse_missing_file(settings)
    quiet = settings.module_settings.get("core.scheduler", {}) | ONLY_LOOK
    settings = settings.model_copy(
        update={
            "auto_migrate": False,
            "modules": settings.modules if all_modules else settings.modules[:1],
            "module_settings": {**settings.module_settings, "core.scheduler": quiet},
        }
    )

    async def run() -> T:
        async with AppContext(settings) as context:
            return await work(context)

    return asyncio.run(run())


def with_service(settings: AppSettings, work: Callable[[SchedulerService], Awaitable[T]]) -> T:
    """As with_context, for commands that need the service only."""
    return with_context(settings, lambda context: work(context.get_service("core.scheduler.service")))


def with_database(settings: AppSettings, work: Callable[[Database], Awaitable[T]]) -> T:
    """Run `work` with the database open, whatever state its schema is in."""

    async def run() -> T:
        database = Database(
            settings.effective_database_url,
            sqlite_synchronous=settings.sqlite_synchronous,
            pooler=settings.database_pooler,
        )
        await database.open()
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())


def refuse_missing_file(settings: AppSettings) -> None:
    """A command that only looks must not leave an empty database where somebody mistyped a path."""
    url = Database(settings.effective_database_url).url
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
        raise ConfigurationError(
            f"There is no database at {url.database!r}: run `scheduler serve` or `scheduler db upgrade` first, "
            "or name another with --database-url or APP_DATABASE_URL."
        )
