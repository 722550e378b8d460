"""Commands that change tasks and make them run."""

from __future__ import annotations

import getpass
from datetime import datetime
from typing import Annotated, Any

import typer

from modules.cli.local import load_settings, with_service
from modules.cli.output import AsJson, exit_codes, say, show_json
from modules.cli.tasks import DatabaseUrl, TaskId
from modules.core.result import Result
from modules.core.scheduler.service import SchedulerService


@exit_codes
def run(task_id: TaskId, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Run a task now. A running `scheduler serve` takes it on at its next look at the database."""
    started = _control(database_url, lambda service: service.execute_task(task_id))
    _answer(started, f"Execution {started['execution_id']} will be started by a running server.", as_json)


@exit_codes
def pause(
    task_id: TaskId,
    reason: Annotated[str | None, typer.Option(help="Shown with the task.")] = None,
    until: Annotated[
        str | None, typer.Option(help="When it resumes by itself, ISO 8601; without an offset, local time.")
    ] = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Hold a task until it is resumed, or until a time."""
    paused = _control(database_url, lambda service: service.pause_task(task_id, reason, until=until, actor=_user()))
    _answer(paused, f"Task {task_id} is paused{_until(paused.get('until'))}.", as_json)


@exit_codes
def resume(task_id: TaskId, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Let a paused task go on."""
    resumed = _control(database_url, lambda service: service.resume_task(task_id))
    _answer(resumed, f"Task {task_id} goes on.", as_json)


@exit_codes
def cancel(task_id: TaskId, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Cancel a task for good; its history stays."""
    cancelled = _control(database_url, lambda service: service.cancel_task(task_id))
    _answer(cancelled, f"Task {task_id} is cancelled.", as_json)


def _control(database_url: str | None, action: Any) -> dict[str, Any]:
    async def work(service: SchedulerService) -> dict[str, Any]:
        result: Result = await action(service)
        data: dict[str, Any] = result.unwrap()
        return data

    return with_service(load_settings(database_url), work)


def _answer(data: dict[str, Any], sentence: str, as_json: bool) -> None:
    if as_json:
        show_json(data)
    else:
        say(sentence)


def _until(moment: datetime | None) -> str:
    return f" until {moment.isoformat()}" if moment else ""


def _user() -> str | None:
    """Who sits at the command line; None where the system does not know."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return None
