"""`scheduler serve`: the server, its first key, and what signals do."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modules.app import create_app
from modules.cli.local import load_settings
from modules.cli.output import FAILED, exit_codes, say
from modules.cli.tasks import DatabaseUrl
from modules.core.app_context import AppContext
from modules.core.errors import ConfigurationError, ModuleError
from modules.core.migrations import migrate
from modules.core.scheduler.routes import PREFIX
from modules.core.settings import AppSettings

logger = logging.getLogger(__name__)

GRACEFUL_CONNECTIONS_SECONDS = 5
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@exit_codes
def serve(
    host: Annotated[str | None, typer.Option(help="Default: APP_HOST, or 127.0.0.1.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Default: APP_PORT, or 8000; 0 takes a free one.")
    ] = None,
    examples: Annotated[bool, typer.Option("--examples", help="Load the example modules.")] = False,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Ask for no key; on this machine only.")] = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Run the server: the REST API, and the tasks."""
    settings = load_settings(database_url, examples=examples, host=host, port=port)
    if no_auth:
        own = settings.module_settings.get("core.scheduler", {}) | {"auth_required": False}
        settings = settings.model_copy(update={"module_settings": {**settings.module_settings, "core.scheduler": own}})
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", force=True
    )
    logging.getLogger("alembic.runtime.migration").setLevel(logging.WARNING)
    app = create_app(settings)
    context: AppContext = app.state.context
    listening = _listen(settings)
    with listening:
        address = f"http://{_url_host(settings.host)}:{listening.getsockname()[1]}"
        first_key = asyncio.run(_prepare(context))
        _greet(address, first_key, no_auth)
        quiet = _QuietStart(app)
        server = _Server(uvicorn.Config(quiet, log_config=None, access_log=False, **_UVICORN), context)
        server.run(sockets=[listening])
    if quiet.failure is not None:
        raise quiet.failure
    if not server.started:
        raise typer.Exit(FAILED)


_UVICORN: dict[str, Any] = {"timeout_graceful_shutdown": GRACEFUL_CONNECTIONS_SECONDS, "server_header": False}


class _QuietStart:
    """The application; what keeps it from starting is kept as `failure` instead of logged with its traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.failure: ModuleError | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            error = sys.exception()
            if message["type"] == "lifespan.startup.failed" and isinstance(error, ModuleError):
                self.failure = error
                message = {"type": message["type"]}
            await send(message)

        await self._app(scope, receive, told if scope["type"] == "lifespan" else send)


class _Server(uvicorn.Server):
    """The first signal stops in order; the second cuts short the wait for running tasks; the third gives up."""

    def __init__(self, config: uvicorn.Config, context: AppContext) -> None:
        super().__init__(config)
        self._context = context
        self._signals = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What is loaded by now stays: the collector need not look through all of it whenever many tasks have run.
        gc.collect()
        gc.freeze()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own raises the signal again after an orderly stop, so that a good end would look like a bad one.
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._signals += 1
        self.should_exit = True
        if self._signals == 2:
            self._context.get_service("core.scheduler.service").hurry()
        elif self._signals > 2:
            _end_at_once("stopped at once by a third signal; what was running is recovered by its lease")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if left := self._context.get_service("core.scheduler.service").dispatcher.running:
            # asyncio and threading would wait for them for ever.
            _end_at_once(f"stopped in order, all but {left} task functions, which end with this process")


def _end_at_once(why: str) -> NoReturn:
    logger.error(why)
    logging.shutdown()
    os._exit(FAILED)


async def _prepare(context: AppContext) -> str | None:
    """The schema up to date, and a first admin key where nobody could be let in otherwise; returns that key."""
    keys = context.get_service("core.scheduler.keys")
    await context.database.open()
    try:
        await migrate(context.database, upgrade=context.settings.auto_migrate)
        if not keys.required or await keys.any_exists():
            return None
        made: dict[str, Any] = await keys.create("first key", "admin")
        return str(made["key"])
    finally:
        await context.database.close()


def _listen(settings: AppSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise ConfigurationError(
            f"The server cannot listen on {settings.host}:{settings.port} ({error.strerror}): "
            "choose another with --port or APP_PORT."
        ) from error
    return listening


def _url_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _greet(address: str, first_key: str | None, no_auth: bool) -> None:
    say(f"Scheduler API: {address}{PREFIX}")
    if first_key:
        say(f"Admin key (shown this once): {first_key}")
        say(f'Try: curl -H "Authorization: Bearer {first_key}" {address}{PREFIX}/tasks')
    elif no_auth:
        say("WARNING: no key is asked for; everybody on this machine may schedule and cancel tasks.")
